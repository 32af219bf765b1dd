"""Whom to audit: everyone, one person, or a sample that is the same every time."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from eddyline.adapters.kafka import Record
from eddyline.errors import InvalidEvent
from eddyline.model.events import Identify, Transfer, parse_person_event
from eddyline.model.ids import Person


@dataclass(frozen=True, slots=True)
class Everyone:
    """All of whom the log or the store knows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """So many people of those in the log: the same ones for the same `seed`, as long as nobody is new."""

    people: int
    seed: int = 0


Who: TypeAlias = Everyone | Sample | Person


class Choice:
    """People in the log: one, or the `size` of the smallest hash, with their anonymous ids."""

    def __init__(self, size: int, seed: int, only: Person | None = None) -> None:
        self._size, self._seed, self._only = size, seed, only
        self.people: dict[Person, set[Person]] = {} if only is None else {only: set()}
        self._hashes: list[tuple[int, str]] = []
        """Negative, so that the largest hash is the first to go."""

    def offer(self, record: Record) -> None:
        """Consider whom a record is about."""
        try:
            event = parse_person_event(record.value)
        except InvalidEvent:
            return
        self._consider(event.person)
        if isinstance(event, Identify):
            self._consider(event.user)
            self._link(event.user, event.person)
        elif isinstance(event, Transfer):
            self._link(event.person, Person("a", event.anonymous_id))

    def _consider(self, person: Person) -> None:
        if self._only is not None or person in self.people:
            return
        digest = blake2b(f"{self._seed} {person.key}".encode(), digest_size=8).digest()
        entry = (-int.from_bytes(digest, "big"), person.key)
        if len(self._hashes) < self._size:
            heapq.heappush(self._hashes, entry)
        elif entry > self._hashes[0]:
            del self.people[Person.from_key(heapq.heapreplace(self._hashes, entry)[1])]
        else:
            return
        self.people[person] = set()

    def _link(self, user: Person, anonymous: Person) -> None:
        if user in self.people:
            self.people[user].add(anonymous)
