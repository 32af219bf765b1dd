"""The text that stands for an item, or for a newcomer's answers, in embedding space.

The template is versioned: changing it changes every vector, so it is part of the `space` (DESIGN §3) and a change
means embedding all items again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

TEMPLATE_VERSION = 1


def item_text(title: str, description: str | None, category: str | None, tags: Iterable[str]) -> str:
    """Template 1: the title, then the description, the category and the tags, one a line, empty ones left out.

    >>> item_text("Toy Story", None, "Animation", ["pixar", "fun"])
    'Toy Story\\nCategory: Animation\\nTags: pixar, fun'
    """
    listed = ", ".join(tag.strip() for tag in tags if tag.strip())
    lines = [
        title.strip(),
        (description or "").strip(),
        f"Category: {category.strip()}" if category and category.strip() else "",
        f"Tags: {listed}" if listed else "",
    ]
    return "\n".join(line for line in lines if line)


def onboarding_text(interests: Iterable[str], goals: Iterable[str], experience: str | None) -> str:
    """A newcomer's answers as one text, in the same template; empty where nothing was answered.

    >>> onboarding_text(["science fiction", "space"], [], "beginner")
    'Interests: science fiction, space\\nExperience: beginner'
    """
    lines = [
        ("Interests", ", ".join(interests)),
        ("Goals", ", ".join(goals)),
        ("Experience", (experience or "").strip()),
    ]
    return "\n".join(f"{name}: {answer}" for name, answer in lines if answer)


def content_hash(text: str, space: str) -> str:
    """Tells whether a text was already embedded in this space."""
    return hashlib.blake2b(f"{space}\0{text}".encode(), digest_size=16).hexdigest()
