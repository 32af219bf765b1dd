"""A stored profile beside what the log says it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from eddyline.model.distance import distance_of
from eddyline.model.profile import SETS as SET_NAMES
from eddyline.model.profile import VECTORS, Profile, TimeConstants
from eddyline.model.profile.stored import BEFORE
from eddyline.offline.audit.reference import SETS, Deed, Life, Vectors, decayed, first_heard, newest, shown
from eddyline.settings import Profile as ProfileSettings

TOLERANCE = 1e-5
"""Of the weight, or of the sum of the weights."""
SECONDS = 1e-5
"""Times that are nearer than this are the same: what is passed on is told to the microsecond."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something of a person that isn't what the log says, by how much, and how much would be let pass."""

    person: str
    field: str
    stored: Any
    expected: Any
    by: float
    tolerance: float = 0.0


@dataclass(slots=True)
class Comparison:
    """What differs; and the largest difference of a sum or weight, in tolerances, whether it is let pass or not."""

    differences: list[Difference] = field(default_factory=list)
    largest: float = 0.0


def compare(
    stored: Profile, life: Life, deeds: Sequence[Deed], waiting: int, vectors: Vectors, settings: ProfileSettings
) -> Comparison:
    """`deeds`: those of the life that are folded by now; `waiting`: how many still wait for their item."""
    found = Comparison()
    _compare_sums(found, stored, deeds, vectors, TimeConstants.of(settings))
    _compare_numbers(found, stored, life, deeds, waiting)
    _compare_sets(found, stored, deeds, settings)
    _compare_shown(found, stored, life, settings)
    _compare_standing(found, stored, life)
    _compare_unit(found, stored, life, deeds)
    return found


def _compare_sums(
    found: Comparison, stored: Profile, deeds: Sequence[Deed], vectors: Vectors, taus: TimeConstants
) -> None:
    latest = max((deed.did.time for deed in deeds if deed.did.weight), default=0.0)
    distance = distance_of(stored.space)
    lengths = [float(np.linalg.norm(vectors[item])) for item in {deed.did.item_id for deed in deeds if deed.did.weight}]
    longest = max([1.0, *lengths])
    for name in VECTORS:
        accumulator, tau = getattr(stored, name), getattr(taus, name)
        now = max(latest, accumulator.time)
        total, weight = decayed(deeds, vectors, tau, now, distance)
        faded = float(np.exp((accumulator.time - now) / tau))
        stored_weight = accumulator.weight * faded
        tolerance = TOLERANCE * max(weight, stored_weight)
        _note(found, stored, f"{name} weight", stored_weight, weight, abs(stored_weight - weight), tolerance)
        if total is None and accumulator.sum is None:
            continue
        there = np.zeros(1) if accumulator.sum is None else accumulator.sum * faded
        should = np.zeros(1) if total is None else total
        by = float(np.max(np.abs(there - should))) if there.size in (1, should.size) or should.size == 1 else np.inf
        _note(found, stored, name, float(np.linalg.norm(there)), float(np.linalg.norm(should)), by, tolerance * longest)


def _note(
    found: Comparison, profile: Profile, name: str, stored: float, expected: float, by: float, tolerance: float
) -> None:
    if by > 0:
        found.largest = max(found.largest, by / tolerance if tolerance else np.inf)
    if not by <= tolerance:
        found.differences.append(Difference(profile.person.key, name, stored, expected, by, tolerance))


def _compare_numbers(found: Comparison, stored: Profile, life: Life, deeds: Sequence[Deed], waiting: int) -> None:
    evidence = sum(abs(deed.did.weight) for deed in deeds)
    tolerance = TOLERANCE * max(evidence, stored.evidence)
    _note(found, stored, "evidence", stored.evidence, evidence, abs(evidence - stored.evidence), tolerance)
    last_seen = max((0.0, *(deed.did.time for deed in deeds)))
    for name, there, should, allowed in (
        ("events", stored.events, len(deeds), 0.0),
        ("pending", len(stored.pending), waiting, 0.0),
        ("last_seen", stored.last_seen, last_seen, SECONDS),
        ("erased_at", stored.erased_at, life.erased_at, SECONDS),
    ):
        by = abs((there or 0) - (should or 0))
        if by > allowed or (there is None) != (should is None):
            found.differences.append(Difference(stored.person.key, name, there, should, by, allowed))


def _compare_sets(found: Comparison, stored: Profile, deeds: Sequence[Deed], settings: ProfileSettings) -> None:
    for name in SET_NAMES:
        there: Mapping[str, float] = getattr(stored, name).times
        should = newest(deeds, settings.recents if name == "recents" else settings.seen, SETS[name])
        wrong = [
            item
            for item in sorted(there.keys() | should.keys())
            if item not in there or item not in should or abs(there[item] - should[item]) > SECONDS
        ]
        if wrong:
            kept, wanted = ({item: each[item] for item in wrong if item in each} for each in (there, should))
            found.differences.append(Difference(stored.person.key, name, kept, wanted, by=len(wrong)))


def _compare_shown(found: Comparison, stored: Profile, life: Life, settings: ProfileSettings) -> None:
    there, should = stored.shown.to_plain(), shown(life.seen, settings.shown)
    wrong = sorted(item for item in there.keys() | should.keys() if there.get(item) != should.get(item))
    if wrong:
        kept, wanted = ({item: each[item] for item in wrong if item in each} for each in (there, should))
        found.differences.append(Difference(stored.person.key, "shown", kept, wanted, by=len(wrong)))


def _compare_unit(found: Comparison, stored: Profile, life: Life, deeds: Sequence[Deed]) -> None:
    """A profile of before this was kept can't be compared."""
    there, should = stored.unit, first_heard(deeds, life)
    if there is None or should is None:
        same = there == should
    else:
        same = there[0] == BEFORE or (abs(there[0] - should[0]) <= SECONDS and there[1] == should[1])
    if not same:
        found.differences.append(Difference(stored.person.key, "unit", there, should, by=1))


def _compare_standing(found: Comparison, stored: Profile, life: Life) -> None:
    for name, there, should in _standing(stored, life):
        if there != should:
            found.differences.append(Difference(stored.person.key, name, there, should, by=1))


def _standing(stored: Profile, life: Life) -> Iterator[tuple[str, Any, Any]]:
    yield "forward", stored.forward and stored.forward.key, life.forward and life.forward.key
    yield "twins", list(stored.twins), life.twins
    yield "onboarded", stored.onboarded, life.onboarded
    told = stored.onboarding is not None or bool(stored.segment or stored.attributes)
    yield "answers", told, life.told
    yield "twins not erased", [], [anonymous.key for anonymous in life.orphans]
