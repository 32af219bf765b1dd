"""Whom to audit: everyone, one person, or a sample that is the same every time."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

from eddyline.model.events import Identify, Transfer
from eddyline.model.ids import Person
from eddyline.profiler import ParsedPersonEvent


@dataclass(frozen=True, slots=True)
class Everyone:
    """All of whom the log or the store knows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """So many people of those in the log: the same ones for the same `seed`, as long as nobody is new."""

    people: int
    seed: int = 0


Who: TypeAlias = Everyone | Sample | Person


def choose(who: Who, events: Iterable[ParsedPersonEvent]) -> dict[Person, Set[Person]]:
    """Choose among those whom the events are about; each comes with the anonymous ids that became theirs."""
    people: dict[Person, None] = {}
    twins: defaultdict[Person, set[Person]] = defaultdict(set)
    for event in events:
        people[event.person] = None
        if isinstance(event, Identify):
            people[event.user] = None
            twins[event.user].add(event.person)
        elif isinstance(event, Transfer):
            twins[event.person].add(Person("a", event.anonymous_id))
    nobody = frozenset[Person]()
    return {person: twins.get(person, nobody) for person in _chosen(who, people)}


def _chosen(who: Who, people: Iterable[Person]) -> Iterable[Person]:
    if isinstance(who, Everyone):
        return people
    if isinstance(who, Person):
        return [who]
    seed = who.seed
    return heapq.nsmallest(who.people, people, lambda person: blake2b(f"{seed} {person.key}".encode()).digest())
