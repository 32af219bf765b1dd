"""From what people add to the measures to the rows that are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from eddyline.model.experiments.moments import NOBODY, Moments
from eddyline.model.insights.person_log import CellSums, Contribution, PersonLog, measure_contribution, remember_days
from eddyline.model.insights.rows import SECONDS, Cell, CellKey, Dimensions, Size, VariantKey, retention_seconds
from eddyline.settings import InsightsSettings

Name = TypeVar("Name", str, int)


def is_expired(key: CellKey, settings: InsightsSettings, now: float) -> bool:
    """Whether a window isn't kept any more at `now` (epoch seconds)."""
    return key.start + SECONDS[key.size] + retention_seconds(settings)[key.size] <= now


@dataclass(slots=True)
class _CellAddition:
    """What is added to a cell."""

    sums: CellSums = field(default_factory=CellSums)
    people: set[str] = field(default_factory=set)


class _TotalsChange(NamedTuple):
    """A person's totals of a variant, before (None: none yet) and after, by a list of time `at`."""

    before: tuple[float, ...] | None
    after: tuple[float, ...]
    at: float
    is_unit: bool


@dataclass(slots=True)
class RowUpdates:
    """Collects what people add, until it is applied to the rows. `now`: epoch seconds; windows that aren't kept any
    more are left out."""

    settings: InsightsSettings
    now: float
    _cells: dict[CellKey, _CellAddition] = field(default_factory=dict)
    _moves: dict[VariantKey, list[_TotalsChange]] = field(default_factory=dict)

    def add(self, name: str, person: PersonLog, before: Contribution) -> Contribution:
        """Book what `person` (called `name`) adds beyond `before`, and keep their totals and days. Returns what they
        add now."""
        after = measure_contribution(person, self.settings)
        for key in before.minutes.keys() | after.minutes.keys():
            self._add_minute(name, *key, before.minutes.get(key), after.minutes.get(key))
        for start, whose in before.days.keys() | after.days.keys():
            old, new = before.days.get((start, whose)), after.days.get((start, whose))
            if new != old:
                into = self._cell("day", start, whose)
                if into is not None:
                    _difference(into.sums.counts, old or {}, new or {})
        for variant in before.variants.keys() | after.variants.keys():
            self._move(person, variant, before, after)
        remember_days(person, after)
        return after

    def take(self, other: RowUpdates) -> None:
        """Book all that is in the other one."""
        for key, addition in other._cells.items():
            into = self._cells.setdefault(key, _CellAddition())
            into.sums.counts.update(addition.sums.counts)
            into.sums.took.update(addition.sums.took)
            into.sums.shown.update(addition.sums.shown)
            into.sums.clicked.update(addition.sums.clicked)
            into.sums.items |= addition.sums.items
            into.people |= addition.people
        for variant, moves in other._moves.items():
            self._moves.setdefault(variant, []).extend(moves)

    def apply(
        self, cell: Callable[[CellKey], Cell | None], variant: Callable[[VariantKey], Moments | None]
    ) -> dict[CellKey | VariantKey, Cell | Moments]:
        """The rows as they are now. `cell`, `variant`: give the rows as they were."""
        rows: dict[CellKey | VariantKey, Cell | Moments] = {}
        for key, addition in self._cells.items():
            row = cell(key) or Cell()
            row.counts.update(addition.sums.counts)
            row.took.update(addition.sums.took)
            row.shown.update(addition.sums.shown)
            row.clicked.update(addition.sums.clicked)
            row.people.add(sorted(addition.people))
            row.items.add(sorted(addition.sums.items))
            rows[key] = row
        for name, moves in self._moves.items():
            moments = variant(name) or Moments()
            for move in moves:
                moments = moments.moved(*move)
            rows[name] = moments
        return rows

    def _add_minute(
        self, name: str, minute: int, whose: Dimensions, old: CellSums | None, new: CellSums | None
    ) -> None:
        if new == old:
            return
        was, now = old or CellSums(), new or CellSums()
        for size, seconds in SECONDS.items():
            into = self._cell(size, minute // seconds * seconds, whose)
            if into is None:
                continue
            _difference(into.sums.counts, was.counts, now.counts)
            _difference(into.sums.took, was.took, now.took)
            _difference(into.sums.shown, was.shown, now.shown)
            _difference(into.sums.clicked, was.clicked, now.clicked)
            into.sums.items |= now.items - was.items
            if now.is_there and not was.is_there:
                into.people.add(name)

    def _cell(self, size: Size, start: int, whose: Dimensions) -> _CellAddition | None:
        key = CellKey(size, start, whose)
        return None if is_expired(key, self.settings, self.now) else self._cells.setdefault(key, _CellAddition())

    def _move(self, person: PersonLog, variant: VariantKey, before: Contribution, after: Contribution) -> None:
        was = before.variants.get(variant, NOBODY)
        now = after.variants.get(variant, NOBODY)
        known = person.totals.get(variant)
        totals = tuple(total + new - old for total, new, old in zip(known or NOBODY, now, was, strict=True))
        if totals == known:
            return
        person.totals[variant] = totals
        at = after.times.get(variant, before.times.get(variant, self.now))
        self._moves.setdefault(variant, []).append(_TotalsChange(known, totals, at, variant in after.units))


def _difference(into: Counter[Name], old: Mapping[Name, int], new: Mapping[Name, int]) -> None:
    for name in old.keys() | new.keys():
        into[name] += new.get(name, 0) - old.get(name, 0)
