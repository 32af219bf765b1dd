"""How many points go into one request to Qdrant, and how many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from eddyline.adapters.vectors.rest_client import QdrantError, QdrantTooLarge, QdrantUnprocessable
from eddyline.errors import TooLarge

WRITE_BATCH_POINTS, READ_BATCH_POINTS = 200, 500
"""Points in one request to a server."""
UNPROCESSABLE = frozenset({400, 422})
"""What Qdrant answers to a vector of another dimension, or a value that it can't read."""
Each = TypeVar("Each")


def in_batches(items: Sequence[Each], size: int) -> Iterator[Sequence[Each]]:
    """Split the items into runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def write_in_halves(batch: Sequence[Each], write: Callable[[Sequence[Each]], None]) -> None:
    """Write a batch; where its request is too large, the halves of it.

    Raises `TooLarge` for one that is alone, and `QdrantUnprocessable` where Qdrant refuses what is in it.
    """
    try:
        write(batch)
    except QdrantTooLarge as error:
        if len(batch) <= 1:
            raise TooLarge(str(error)) from error
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            write_in_halves(half, write)
    except QdrantError as error:
        if error.status in UNPROCESSABLE:
            raise QdrantUnprocessable(str(error), error.status) from error
        raise
