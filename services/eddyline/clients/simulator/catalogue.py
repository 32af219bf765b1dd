"""Items: made-up ones, whose topics are known, and those that are there already, by their categories and tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias

from eddyline.clients.simulator.vocabulary import CROSSED, CROSSING, DESCRIPTION, TITLES, VOCABULARY, generic_words
from eddyline.model.events import format_timestamp

Json: TypeAlias = dict[str, Any]

DAY = 86_400.0
MEAN_AGE_DAYS: Final = 60.0
CROSSED_SHARE: Final = 0.35
"""Share of made-up items that are about two topics."""
SECOND_SHARE: Final = (0.2, 0.5)
"""Bounds of the share of an item's second topic."""
QUALITY_SPREAD: Final = 0.5
"""Standard deviation of the quality, in logits."""
MAX_TOPICS: Final = 24
"""Most topics of a catalogue that is there already: its most frequent categories and tags."""


@dataclass(frozen=True, slots=True)
class SimulatedItem:
    """Hidden truth about an item.

    `topics`: shares by name, which add up to 1; empty where it is about nothing that anybody cares for.
    `quality`: what makes it more attractive than others to everyone, in logits.
    """

    item_id: str
    topics: Mapping[str, float]
    quality: float
    price: float


@dataclass(frozen=True, slots=True)
class GeneratedItem:
    """A made-up item, and how it is told to Eddyline (without `published_at`). `age`: days at the begin of a run."""

    item: SimulatedItem
    state: Json
    age_days: float

    def published(self, at: float) -> Json:
        """Give the item's full state, published at this time in epoch seconds."""
        return {**self.state, "published_at": format_timestamp(at)}


def generate_item(item_id: str, random: Random, topics: Sequence[str] = tuple(VOCABULARY)) -> GeneratedItem:
    """Make an item up, about one of the topics, or two."""
    names = random.sample(topics, min(2, len(topics)))
    about = [VOCABULARY.get(name) or generic_words(name) for name in names]
    subjects = [random.choice(words.subjects) for words in about]
    first, second = random.sample(about[0].activities, 2)
    title = random.choice(TITLES).format(subject=subjects[0])
    description = DESCRIPTION.format(topic=names[0].lower(), subject=subjects[0], first=first, second=second)
    shares, tags = {names[0]: 1.0}, [names[0], subjects[0]]
    if len(names) == 2 and random.random() < CROSSED_SHARE:
        share = random.uniform(*SECOND_SHARE)
        title = random.choice(CROSSED).format(subject=subjects[0], other=subjects[1])
        doing = random.choice(about[1].activities)
        description += CROSSING.format(topic=names[1].lower(), subject=subjects[1], first=doing)
        shares, tags = {names[0]: 1.0 - share, names[1]: share}, [*tags, names[1], subjects[1]]
    price = round(random.lognormvariate(3.0, 0.6), 2)
    state = {
        "item_id": item_id,
        "title": title[0].upper() + title[1:],
        "description": description,
        "category": names[0],
        "tags": list(dict.fromkeys(tags)),
        "price": price,
        "language": "en",
    }
    item = SimulatedItem(item_id, shares, random.gauss(0.0, QUALITY_SPREAD), price)
    return GeneratedItem(item, state, random.expovariate(1.0 / MEAN_AGE_DAYS))


def generate_catalogue(count: int) -> list[GeneratedItem]:
    """Make the first `count` items of the one catalogue: the same for every seed, so that it is embedded once."""
    return [generate_item(f"sim-item-{number}", Random(f"catalogue/{number}")) for number in range(count)]


def catalogue_topics(states: Iterable[Mapping[str, Any]]) -> list[str]:
    """List what a catalogue is about: the names that most of its items have as their category or a tag."""
    counts: Counter[str] = Counter()
    for state in states:
        counts.update(dict.fromkeys(_names(state), 1))
    return [name for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_TOPICS]]


def item_from_state(state: Mapping[str, Any], known: Collection[str]) -> SimulatedItem:
    """Read an item as Eddyline has it: about those of the `known` topics that are its category or its tags, all alike,
    and twice as much about one that is both. Its quality, and its price where it has none, follow from its id."""
    names = [name for name in _names(state) if name in known]
    random = Random(f"quality/{state['item_id']}")
    quality, price = random.gauss(0.0, QUALITY_SPREAD), round(random.lognormvariate(3.0, 0.6), 2)
    given = state.get("price")
    price = float(given) if isinstance(given, int | float) else price
    shares = {name: names.count(name) / len(names) for name in dict.fromkeys(names)}
    return SimulatedItem(str(state["item_id"]), shares, quality, price)


def _names(state: Mapping[str, Any]) -> list[str]:
    category = state.get("category")
    return [*([str(category)] if category else []), *dict.fromkeys(str(tag) for tag in state.get("tags") or ())]
