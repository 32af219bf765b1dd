"""Ids of points and dimensions: the same on every machine, for ever, since they are stored."""

from __future__ import annotations

from hashlib import blake2b
from uuid import UUID, uuid5

NAMESPACE = UUID("9f3b6c52-6f0e-5f6c-9a53-2b8f5a1d7e40")
"""Never change it: every stored id is made from it."""


def point_id(name: str) -> str:
    """The id of the point that holds `name`: an item's id, or a typed person key (`u:42`, `a:f00`)."""
    return str(uuid5(NAMESPACE, name))


def dimension_of(item_id: str) -> int:
    """The item's sparse dimension, 0 … 2³²-1. Where two items share one, their weights are summed."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=4).digest(), "big")
