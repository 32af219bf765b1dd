"""What must be stored in the end, from the list of events alone: no fold, no batches, no order of partitions.

Each accumulator is written out as the sum that it stands for, S = Σ w x e^-(T-t)/tau, over everything that the person
did; that sum is what `decay` computes step by step, and what no crash may change.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tests.chaos.stream import Event
from tests.support.fakes import text_vector
from tests.support.poison import INVALID

from eddyline.model.placed_time import place_of
from eddyline.settings import EventSettings, ProfileSettings

HOUR, DAY = 3600.0, 86_400.0


@dataclass(frozen=True)
class CountedInteraction:
    """An interaction that counts: signed weight, when, and its record."""

    item: str
    type: str
    weight: float
    at: float
    event: Event


@dataclass(frozen=True)
class Sum:
    """An accumulator, valid for `time`."""

    vector: NDArray[np.float64]
    weight: float
    time: float


@dataclass
class Expected:
    """What is expected of one person. `uncertain`: interactions that may be in or not, since their item came when the
    deadline had passed."""

    interactions: list[CountedInteraction] = field(default_factory=list)
    uncertain: list[CountedInteraction] = field(default_factory=list)
    forward: str | None = None
    is_alone: bool = True
    """Whether nothing of it ever was another's, or erased: then it is known which of its interactions make activity."""


Place: TypeAlias = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True)
class Poisoned:
    """A record that must become a dead letter, for this reason."""

    key: bytes | None
    value: bytes | None
    reason: str = INVALID
    name: str = ""


@dataclass
class Truth:
    """All that must be so when everything is handled."""

    people: Mapping[str, Expected]
    poison: dict[Place, Poisoned]
    """By place: each must be a dead letter."""
    never: set[str]
    """Event ids whose item never came: each must be a dead letter."""
    maybe_dead: set[str]
    """Event ids that may be dead letters: the erased person's who waited, and those of late items past the deadline."""
    erased: list[Event] = field(default_factory=list)
    """Accepted, and forgotten with their person."""

    @property
    def accepted(self) -> int:
        """Distinct events that are to be folded."""
        return sum(len(person.interactions) for person in self.people.values())

    @classmethod
    def of(
        cls, events: Sequence[Event], people: Sequence[str], put_at: Mapping[str, float], settings: ProfileSettings
    ) -> Truth:
        """`put_at`: when each late item was in the store, in epoch seconds."""
        owners = _Owners(events)
        expected = {key: Expected(forward=owners.forward.get(key)) for key in people}
        truth = cls(expected, {}, set(), set())
        for event in events:
            if event.kind == "poison":
                truth.poison["interactions", *event.place] = Poisoned(event.key.encode(), event.value)
            elif event.kind == "interaction" and event.repeats is None:
                truth._take(event, owners, put_at, settings)
        for key in owners.involved:
            expected[key].is_alone = False
        return truth

    def activity(self) -> dict[str, tuple[int, int]]:
        """How many distinct records of activity there must be of each item: (at least, at most).

        A person counts once an hour for an item, and all interactions but those of days ago are within one hour. Where
        a profile was merged, erased, or waited for the item, the order decides which of its interactions count: one at
        least, each at most.
        """
        bounds: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for person in self.people.values():
            sure = Counter(interaction.item for interaction in person.interactions if interaction.weight > 0)
            unsure = Counter(interaction.item for interaction in person.uncertain if interaction.weight > 0)
            for item in sure | unsure:
                exact = person.is_alone and not item.startswith("late")
                most = 1 if exact else sure[item] + unsure[item]
                least, so_far = bounds[item]
                bounds[item] = (least + min(1, sure[item]), so_far + most)
        for event in self.erased:
            if weight_of(event) > 0:
                least, so_far = bounds[event.item]
                bounds[event.item] = (least, so_far + 1)
        return dict(bounds)

    def _take(self, event: Event, owners: _Owners, put_at: Mapping[str, float], settings: ProfileSettings) -> None:
        owner = owners.of(event)
        at = event.arrived if event.timestamp is None else min(event.timestamp, event.arrived)
        is_erased = at <= owners.erased_at.get(owner, -math.inf)
        if event.item.startswith("never"):
            assert event.event_id is not None
            (self.maybe_dead if is_erased else self.never).add(event.event_id)
            return
        if is_erased:
            self.erased.append(event)
            if event.event_id is not None:
                self.maybe_dead.add(event.event_id)
            return
        interaction = CountedInteraction(event.item, event.type, weight_of(event), at, event)
        waited = put_at.get(event.item, 0.0) - event.sent
        if waited < settings.pending_seconds:
            self.people[owner].interactions.append(interaction)
            return
        self.people[owner].uncertain.append(interaction)
        if event.event_id is not None:
            self.maybe_dead.add(event.event_id)


class _Owners:
    """Whose each event is in the end."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._identified: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.erased_at: dict[str, float] = {}
        for event in events:
            if event.kind == "identify" and event.repeats is None:
                self._identified[event.key].append((event.number, event.user))
            elif event.kind == "erased":
                assert event.timestamp is not None
                self.erased_at[event.key] = event.timestamp
        last = {visitor: marks[-1][1] for visitor, marks in self._identified.items()}
        self.forward = {visitor: user for visitor, user in last.items() if user not in self.erased_at}
        users = {user for marks in self._identified.values() for _, user in marks}
        self.involved = users | set(self._identified) | set(self.erased_at)

    def of(self, event: Event) -> str:
        """A visitor's events are those of the user they were identified as last before, or else first after."""
        marks = self._identified.get(event.key, [])
        before = [user for number, user in marks if number < event.number]
        return before[-1] if before else marks[0][1] if marks else event.key


def weight_of(event: Event) -> float:
    """The signed weight, by the default settings."""
    settings = EventSettings()
    if event.type == "rating":
        assert event.rating is not None
        return (event.rating - settings.rating_neutral) * settings.rating_scale
    return settings.weights[event.type]


def sum_of(interactions: Sequence[CountedInteraction], half_life: float) -> Sum | None:
    """The accumulator that these interactions make; None where none weighs anything. `half_life` in seconds."""
    heavy = [interaction for interaction in interactions if interaction.weight]
    if not heavy:
        return None
    rate = math.log(2) / half_life
    time = max(interaction.at for interaction in heavy)
    faded = [math.exp(-rate * (time - interaction.at)) for interaction in heavy]
    vectors = np.asarray([interaction.weight * text_vector(interaction.item) for interaction in heavy])
    weight = math.fsum(abs(interaction.weight) * fade for interaction, fade in zip(heavy, faded, strict=True))
    return Sum(np.asarray(faded) @ vectors, weight, time)


def newest(interactions: Sequence[CountedInteraction], size: int) -> dict[str, tuple[float, int]]:
    """The newest distinct items of these interactions, when, and where the author of each had put it: what happened at
    one time is in the order of the log."""
    entries: dict[str, tuple[float, int]] = {}
    for interaction in interactions:
        entry = interaction.at, place_of(*interaction.event.place)
        entries[interaction.item] = max(entry, entries.get(interaction.item, entry))
    return dict(sorted(entries.items(), key=lambda each: each[1], reverse=True)[:size])
