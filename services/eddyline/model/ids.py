"""How things are named: typed person keys, point ids, sparse dimensions."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

NAMESPACE = uuid.UUID("6f1d6b0e-4b0c-5a53-9a57-0d8a2c1b7e11")
"""Root of all point ids. Never changes: stored points would be lost."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone: a signed-in user (`u`) or an anonymous visitor (`a`)."""

    kind: Literal["u", "a"]
    id: str

    @property
    def key(self) -> str:
        """The typed person key, e.g. `u:42`: the record key on `interactions`."""
        return f"{self.kind}:{self.id}"

    @classmethod
    def named(cls, user_id: str | None, anonymous_id: str | None) -> Person | None:
        """Return whom these ids name: the user where both are given, nobody where neither is."""
        if user_id is not None:
            return cls("u", user_id)
        return None if anonymous_id is None else cls("a", anonymous_id)

    @classmethod
    def from_key(cls, key: str) -> Person:
        """Invert `key`. Raises ValueError when it isn't one."""
        kind, colon, name = key.partition(":")
        if kind == "u" and colon and name:
            return cls("u", name)
        if kind == "a" and colon and name:
            return cls("a", name)
        raise ValueError(f"{key!r} is not a person key: it must be u:<user_id> or a:<anonymous_id>")


# A reader hides hundreds of seen items in every answer, and a uuid5 takes some 6 µs.
@lru_cache(maxsize=65_536)
def item_point_id(item_id: str) -> str:
    """Return the point id of an item: uuid5 of its id."""
    return str(uuid.uuid5(NAMESPACE, "item:" + item_id))


@lru_cache(maxsize=65_536)
def person_point_id(person: Person) -> str:
    """Return the point id of a profile: uuid5 of the typed person key."""
    return str(uuid.uuid5(NAMESPACE, "person:" + person.key))


def blend_point_id(strategy: str, partition: int) -> str:
    """Return the point id of what a strategy has learnt of a partition of `activity`."""
    return str(uuid.uuid5(NAMESPACE, f"blend:{partition}:{strategy}"))


@lru_cache(maxsize=65_536)
def item_dimension(item_id: str) -> int:
    """Return the sparse dimension that stands for an item: a stable 32-bit hash (collisions are summed)."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=4).digest(), "big")


@lru_cache(maxsize=1024)  # looked up and then remembered: twice in a row for every event
def fingerprint(text: str) -> int:
    """Return a stable 53-bit hash, exact in JSON numbers: enough to tell a few hundred ids of one person apart."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 11
