"""The result of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a person's profile, or of an item's row, that isn't what the log says, by how much, and how much is
    tolerated."""

    person: str
    """Their key; of a row `item <item_id>`."""
    field: str
    stored: Any
    expected: Any
    by: float
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Someone who can't be compared, and why."""

    person: str
    why: tuple[str, ...]


@dataclass(slots=True)
class AuditReport:
    """Result of an audit. It is clean when nobody differs."""

    records: int = 0
    """Read from the log."""
    invalid: int = 0
    """Of these, dead letters: they count for nobody."""
    compared: int = 0
    """People whose profile was compared, those that differ among them."""
    older: int = 0
    """People whose profile owes something to records that the log no longer has."""
    apart: list[Inconclusive] = field(default_factory=list)
    """People who differ, though it may be right: what they did can't be worked out any more."""
    differences: list[Difference] = field(default_factory=list)
    largest: float = 0.0
    """The largest difference of a sum or a weight that was tolerated, in tolerances."""
    rows_compared: int = 0
    """Items whose row was compared, those that differ among them."""
    rows_older: int = 0
    """Items whose row began before what the log of `activity` still holds."""
    row_differences: list[Difference] = field(default_factory=list)

    @property
    def differing(self) -> list[str]:
        """Return the keys of the people who differ."""
        return list(dict.fromkeys(difference.person for difference in self.differences))

    @property
    def is_clean(self) -> bool:
        """Whether nobody differs, and no row."""
        return not self.differences and not self.row_differences
