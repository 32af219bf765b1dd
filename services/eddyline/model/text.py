"""The text that stands for an item, or for a newcomer's answers, in embedding space.

The template is versioned: changing it changes every vector, so it is part of the `space`, and a change means
re-embedding all items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from eddyline.model.plain_text import plain_text
from eddyline.settings import TemplateSettings

DEFAULT_VERSION = "t2"
RENDERING = 2
"""How fields become lines. To be raised with it: the versions of all templates but the default one follow."""
REPEATED: Literal["repeat"] = "repeat"

Parts: TypeAlias = tuple[tuple[str, float], ...]
"""What stands for one item: texts that are embedded one by one, and the weight of each; at least one."""


@dataclass(frozen=True, slots=True)
class TemplateField:
    """A field of an item (or `attributes.<name>`), what is put before it, and what it counts for."""

    name: str
    label: str = ""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Template:
    """Which fields of an item are embedded, in which order.

    `repeat`: one text, a field a line, repeated as often as its weight says. `average`: a text for each field, whose
    vectors are averaged by weight.
    """

    fields: tuple[TemplateField, ...]
    mode: Literal["repeat", "average"] = REPEATED

    @classmethod
    def from_settings(cls, settings: TemplateSettings) -> Template:
        """Return the template that is set."""
        fields = [
            TemplateField(name, settings.labels.get(name, ""), float(settings.weights.get(name, 1.0)))
            for name in settings.fields
        ]
        return cls(tuple(fields), settings.mode)

    @property
    def version(self) -> str:
        """`t2` is the default; any other has `t` and 8 hex digits of a hash of its definition."""
        if self == DEFAULT:
            return DEFAULT_VERSION
        definition = [RENDERING, self.mode, [[field.name, field.label, field.weight] for field in self.fields]]
        return f"t{hashlib.blake2b(json.dumps(definition).encode(), digest_size=4).hexdigest()}"

    def parts(self, item: Mapping[str, Any]) -> Parts:
        """Return the texts of an item, given as its stored `meta`, with their weights.

        An item that has none of the fields is embedded by its title: a vector of nothing would be near everything.

        >>> DEFAULT.parts({"title": "Toy Story", "category": "Animation", "tags": ["pixar", "fun"]})
        (('Toy Story\\nCategory: Animation\\nTags: pixar, fun', 1.0),)
        """
        lines = [(_line(field, item), field.weight) for field in self.fields]
        parts = tuple((line, weight) for line, weight in lines if line)
        if not parts:
            return ((_as_text(item.get("title")), 1.0),)
        if self.mode != REPEATED:
            return parts
        return (("\n".join(line for line, weight in parts for _ in range(round(weight))), 1.0),)


def _line(field: TemplateField, item: Mapping[str, Any]) -> str:
    group, _, name = field.name.partition(".")
    value = (item.get(group) or {}).get(name) if name else item.get(group)
    text = _as_text(value)
    return f"{field.label}: {text}" if text and field.label else text


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(text for one in value if (text := _as_text(one)))
    return plain_text(str(value))


DEFAULT = Template.from_settings(TemplateSettings())


def onboarding_text(interests: Iterable[str], goals: Iterable[str], experience: str | None) -> str:
    """Return a newcomer's answers as one text, without markup; empty where nothing was answered.

    >>> onboarding_text(["science fiction", "space"], [], "beginner")
    'Interests: science fiction, space\\nExperience: beginner'
    """
    lines = [
        ("Interests", _as_text(list(interests))),
        ("Goals", _as_text(list(goals))),
        ("Experience", _as_text(experience)),
    ]
    return "\n".join(f"{name}: {answer}" for name, answer in lines if answer)


def content_hash(text: str, space: str) -> str:
    """Return what tells whether a text was already embedded in this space."""
    return hashlib.blake2b(f"{space}\0{text}".encode(), digest_size=16).hexdigest()


def parts_hash(parts: Parts, space: str) -> str:
    """Return what tells whether an item's texts, with these weights, were already embedded in this space."""
    if len(parts) == 1:  # a weight of one alone changes nothing
        return content_hash(parts[0][0], space)
    return content_hash(json.dumps(parts, ensure_ascii=False), space)


def single_parts(texts: Sequence[str]) -> list[Parts]:
    """Return each text as the only part of something."""
    return [((text, 1.0),) for text in texts]
