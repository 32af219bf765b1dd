"""Which items have a picture that can be gone by."""

from __future__ import annotations

from eddyline.adapters.vectors import Filter, Match


def shown_in(space: str) -> Filter:
    """Items whose picture is ready, and of this space: a vector that is left of a removed one doesn't count."""
    return Filter(must=(Match("image.state", ("ready",)), Match("image.space", (space,))))
