"""From what people add to the measures to the rows that are written. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from eddyline.insights.impression_attribution import Contribution, measure_contribution, remember_days
from eddyline.insights.moments import NOBODY, Moments
from eddyline.insights.person_log import PersonLog
from eddyline.insights.retention import is_expired
from eddyline.insights.rows import SECONDS, Cell, CellAddition, CellKey, Row, VariantKey, window_start
from eddyline.settings import InsightsSettings

_NOTHING = CellAddition()


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
    _cells: dict[CellKey, CellAddition] = field(default_factory=dict)
    _changes: dict[VariantKey, list[_TotalsChange]] = field(default_factory=dict)

    def add(self, person: str, log: PersonLog, before: Contribution) -> None:
        """Book what a person adds beyond `before`, and note in their log their totals, and the days on which they were
        there."""
        after = measure_contribution(person, log, self.settings)
        for key in before.cells.keys() | after.cells.keys():
            self._add_change(key, before.cells.get(key, _NOTHING), after.cells.get(key, _NOTHING))
        for variant in before.totals.keys() | after.totals.keys():
            self._change_totals(log, variant, before, after)
        remember_days(log, after)

    def apply(self, load: Callable[[CellKey | VariantKey], Row | None]) -> dict[bytes, bytes | None]:
        """Return the rows as they are now, by key. `load`: gives a row as it was."""
        rows: dict[bytes, bytes | None] = {}
        for key, addition in self._cells.items():
            known = load(key)
            cell = known if isinstance(known, Cell) else Cell()
            cell.add(addition)
            rows[key.to_bytes()] = cell.to_bytes()
        for variant, changes in self._changes.items():
            known = load(variant)
            moments = known if isinstance(known, Moments) else Moments()
            for change in changes:
                moments = moments.moved(*change)
            rows[variant.to_bytes()] = moments.to_bytes()
        return rows

    def _add_change(self, key: CellKey, before: CellAddition, after: CellAddition) -> None:
        """Book the change of a cell; that of a minute in the windows of all sizes."""
        if before == after:
            return
        for size in SECONDS if key.size == "minute" else (key.size,):
            coarser = CellKey(size, window_start(key.start, size), key.dimensions)
            if not is_expired(coarser, self.settings, self.now):
                self._cells.setdefault(coarser, CellAddition()).add_change(before, after)

    def _change_totals(self, log: PersonLog, variant: VariantKey, before: Contribution, after: Contribution) -> None:
        was, now = before.totals.get(variant, NOBODY), after.totals.get(variant, NOBODY)
        known = log.totals.get(variant)
        totals = tuple(total + new - old for total, new, old in zip(known or NOBODY, now, was, strict=True))
        if totals == known:
            return
        log.totals[variant] = totals
        at = after.times.get(variant, before.times.get(variant, self.now))
        self._changes.setdefault(variant, []).append(_TotalsChange(known, totals, at, variant in after.units))
