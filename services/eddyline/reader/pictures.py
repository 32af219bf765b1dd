"""Which items have a picture that can be gone by."""

from __future__ import annotations

from eddyline.adapters.vectors import Filter, Match


def with_ready_image(space: str) -> Filter:
    """Items whose picture is ready, and of this space: a vector that is left of a removed one doesn't count."""
    return Filter(must=(Match("image.state", ("ready",)), Match("image.space", (space,))))
