"""How many points go into one request to Qdrant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

WRITE_BATCH_POINTS, READ_BATCH_POINTS = 200, 500
"""Points in one request to a server."""
Each = TypeVar("Each")


def in_batches(items: Sequence[Each], size: int) -> Iterator[Sequence[Each]]:
    """Split the items into runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
