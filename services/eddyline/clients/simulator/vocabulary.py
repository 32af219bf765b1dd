"""Words for a made-up catalogue: nouns and activities by topic, from `vocabulary.toml`, and texts to put them in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class TopicWords:
    """Words about a topic: nouns for titles, and activities."""

    subjects: Sequence[str]
    activities: Sequence[str]


def generic_words(topic: str) -> TopicWords:
    """Make words for a topic of another catalogue: its name, and what fits anything."""
    return TopicWords((topic,), ("seeing it for the first time", "coming back to it", "telling friends about it"))


_FILE = files("eddyline.clients.simulator").joinpath("vocabulary.toml")
VOCABULARY: Final[Mapping[str, TopicWords]] = {
    topic: TopicWords(**words) for topic, words in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()
}

TITLES: Final = (
    "{subject}: a beginner's guide",
    "What nobody tells you about {subject}",
    "The story of {subject}",
    "Ten lessons from a life with {subject}",
    "{subject}, step by step",
    "Why {subject} still matter",
    "An evening with {subject}",
    "Better {subject} in a month",
)
CROSSED: Final = (
    "{subject} meets {other}",
    "From {subject} to {other}",
    "{subject} for people who love {other}",
)
DESCRIPTION: Final = "About {topic}: {subject}, {first} and {second}."
CROSSING: Final = " With a look at {topic}: {subject} and {first}."
