"""A stored profile beside the one that a replay of the log gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eddyline.maintenance.audit.audit_report import Difference
from eddyline.model.decay import Accumulator, Vector
from eddyline.model.newest_items import NewestItems
from eddyline.model.placed_time import UNPLACED
from eddyline.model.profile import SETS, VECTORS, Profile, TimeConstants
from eddyline.model.profile.codec import UNKNOWN_TIME

TOLERANCE = 1e-5
"""Of the weight, or of the sum of the weights."""
SECONDS = 1e-5
"""Times that are nearer than this are the same: what is passed on is told to the microsecond."""


@dataclass(slots=True)
class Comparison:
    """The differences, and the largest one of a sum or weight, in tolerances, whether it is tolerated or not."""

    differences: list[Difference] = field(default_factory=list)
    largest: float = 0.0


def compare(stored: Profile, expected: Profile, longest: float) -> Comparison:
    """Compare two profiles of a person; `longest`: the length of the longest item vector, at least 1."""
    found = Comparison()
    _compare_sums(found, stored, expected, longest)
    _compare_numbers(found, stored, expected)
    for name in SETS:
        _compare_set(found, stored, name, getattr(stored.seen, name), getattr(expected.seen, name))
    _compare_items(found, stored, "shown", stored.seen.shown.minutes, expected.seen.shown.minutes)
    for name, there, should in _exact(stored, expected):
        if there != should:
            found.differences.append(Difference(stored.person.key, name, there, should, by=1))
    return found


def _compare_sums(found: Comparison, stored: Profile, expected: Profile, longest: float) -> None:
    taus = TimeConstants.from_settings(stored.settings)
    for name, one, other, tau in zip(VECTORS, stored.taste.sums, expected.taste.sums, taus, strict=True):
        now = max(one.time, other.time)
        there, should = (each.weight_at(now, tau) for each in (one, other))
        tolerance = TOLERANCE * max(there, should)
        _note(found, stored, f"{name} weight", there, should, abs(there - should), tolerance)
        ours, theirs = _sum_at(one, now, tau), _sum_at(other, now, tau)
        by = (
            float(np.max(np.abs(ours - theirs))) if 1 in (ours.size, theirs.size, ours.size / theirs.size) else math.inf
        )
        lengths = float(np.linalg.norm(ours)), float(np.linalg.norm(theirs))
        _note(found, stored, name, *lengths, by, tolerance * longest)


def _sum_at(accumulator: Accumulator, now: float, tau: float) -> Vector:
    if accumulator.sum is None:
        return np.zeros(1)
    return accumulator.sum * math.exp((accumulator.time - now) / tau)


def _note(
    found: Comparison, profile: Profile, name: str, stored: float, expected: float, by: float, tolerance: float
) -> None:
    if by > 0:
        found.largest = max(found.largest, by / tolerance if tolerance else math.inf)
    if not by <= tolerance:
        found.differences.append(Difference(profile.person.key, name, stored, expected, by, tolerance))


def _compare_numbers(found: Comparison, stored: Profile, expected: Profile) -> None:
    evidence, due = stored.taste.evidence, expected.taste.evidence
    _note(found, stored, "evidence", evidence, due, abs(evidence - due), TOLERANCE * max(evidence, due))
    for name, there, should, allowed in (
        ("events", stored.events, expected.events, 0.0),
        ("pending", len(stored.delivery.pending), len(expected.delivery.pending), 0.0),
        ("last_seen", stored.last_seen, expected.last_seen, SECONDS),
        ("erased_at", stored.identity.erased_at, expected.identity.erased_at, SECONDS),
    ):
        by = abs((there or 0) - (should or 0))
        if by > allowed or (there is None) != (should is None):
            found.differences.append(Difference(stored.person.key, name, there, should, by, allowed))


def _compare_set(found: Comparison, profile: Profile, name: str, stored: NewestItems, expected: NewestItems) -> None:
    """Compare the items, their times and, of items of the same time, the order.

    Of what was folded before places were kept, neither the order is known nor, of a time, which had to go first.
    """
    is_open = {
        time for time, place in stored.entries.values() if place == UNPLACED and len(stored.entries) == stored.size
    }
    there, should = (
        {item: time for item, time in one.times.items() if item in other.entries or time not in is_open}
        for one, other in ((stored, expected), (expected, stored))
    )
    _compare_items(found, profile, name, there, should)
    placed = {item for item, (_, place) in stored.entries.items() if place != UNPLACED and item in expected.entries}
    order, due = ([item for item in each.newest_first() if item in placed] for each in (stored, expected))
    wrong = sum(one != other for one, other in zip(order, due, strict=True))
    if there == should and wrong:
        found.differences.append(Difference(profile.person.key, f"order of {name}", order, due, by=wrong))


def _compare_items(
    found: Comparison, stored: Profile, name: str, there: Mapping[str, Any], should: Mapping[str, Any]
) -> None:
    wrong = [item for item in sorted(there.keys() | should.keys()) if not _is_same(there.get(item), should.get(item))]
    if wrong:
        of_stored, of_expected = ({item: each[item] for item in wrong if item in each} for each in (there, should))
        found.differences.append(Difference(stored.person.key, name, of_stored, of_expected, by=len(wrong)))


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SECONDS
    return bool(one == other)


def _exact(stored: Profile, expected: Profile) -> Iterator[tuple[str, Any, Any]]:
    one, other = stored.identity, expected.identity
    yield "forward", one.merged_into and one.merged_into.key, other.merged_into and other.merged_into.key
    yield "twins", list(one.linked_anonymous_ids), list(other.linked_anonymous_ids)
    yield "onboarded", _listed(stored.delivery.users_position), _listed(expected.delivery.users_position)
    yield "answers", _answers(stored), _answers(expected)
    there, should = one.first_seen, other.first_seen
    if there is not None and should is not None:
        # A profile of before this was kept can't be compared.
        same = there[0] == UNKNOWN_TIME or (_is_same(there[0], should[0]) and there[1] == should[1])
        there = should if same else there
    yield "unit", _listed(there), _listed(should)


def _listed(fields: tuple[Any, ...] | None) -> list[Any] | None:
    """Return the fields as JSON can hold them."""
    return None if fields is None else list(fields)


def _answers(profile: Profile) -> tuple[Any, ...]:
    """Give what is compared of the answers: of a vector only that it is there, since its model may be older."""
    identity = profile.identity
    return profile.taste.onboarding is not None, identity.segment, dict(identity.attributes)
