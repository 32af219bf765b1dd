"""Cutting long things short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Part = TypeVar("Part")


def in_batches(all_of_them: Iterable[Part], size: int) -> Iterator[list[Part]]:
    """The parts, at most `size` at a time."""
    iterator = iter(all_of_them)
    while batch := list(islice(iterator, size)):
        yield batch
