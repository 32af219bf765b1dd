r"""Sums over people, from which means, variances and covariances come.

The unit of an experiment is the person: their clicks hang together, so a test that took each impression for a draw of
its own would be too sure. For every person p there is one vector $x_p$ of totals; kept are the number of people,
$\sum_p x_p$ and $\sum_p x_p x_p^T$. When a person's totals change from x to y, y - x and $yy^T - xx^T$ are added, so
the moments are exact at any time, and those of several partitions add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

TOTALS = ("requests", "impressions", "clicks", "conversions", "revenue", "dwell_ms", "dwells")
"""What is summed for each person, in the order of the vectors. `revenue` in the unit of the events' `value`."""
PAIRS = tuple((i, j) for i in range(len(TOTALS)) for j in range(i, len(TOTALS)))
"""The upper triangle, row by row."""
NOBODY: tuple[float, ...] = (0.0,) * len(TOTALS)


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over a variant's people. `sums`: by `TOTALS`; `products`: by `PAIRS`. `since`, `until`: epoch seconds of the
    first and the last list that was counted."""

    people: int = 0
    sums: tuple[float, ...] = NOBODY
    products: tuple[float, ...] = (0.0,) * len(PAIRS)
    since: float | None = None
    until: float | None = None
    units: int = 0
    """People who were assigned by their own key. Somebody who signs in is two people, and one unit."""

    def moved(
        self, before: tuple[float, ...] | None, after: tuple[float, ...], at: float, is_unit: bool = True
    ) -> Moments:
        """Return the moments with one person's totals changed, by a list of time `at`; `before` None: a new person.
        `is_unit`: whether they were assigned by their own key."""
        old = NOBODY if before is None else before
        return Moments(
            self.people + (before is None),
            tuple(total + new - was for total, new, was in zip(self.sums, after, old, strict=True)),
            tuple(
                total + after[i] * after[j] - old[i] * old[j]
                for total, (i, j) in zip(self.products, PAIRS, strict=True)
            ),
            at if self.since is None else min(self.since, at),
            at if self.until is None else max(self.until, at),
            self.units + (before is None and is_unit),
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.people + other.people,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.products, other.products, strict=True)),
            min((t for t in (self.since, other.since) if t is not None), default=None),
            max((t for t in (self.until, other.until) if t is not None), default=None),
            self.units + other.units,
        )

    def total(self, name: str) -> float:
        """The sum over all people."""
        return self.sums[TOTALS.index(name)]

    def product(self, one: str, other: str) -> float:
        """The sum over all people of the product of two totals."""
        i, j = sorted((TOTALS.index(one), TOTALS.index(other)))
        return self.products[PAIRS.index((i, j))]

    def to_bytes(self) -> bytes:
        """Serialize the value of the row."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Moments:
        """Parse what `to_bytes` wrote. Raises something for what is none, or can't be added up."""
        plain = orjson.loads(data)
        sums, products = tuple(plain["sums"]), tuple(plain["products"])
        return cls() + cls(int(plain["people"]), sums, products, plain["since"], plain["until"], int(plain["units"]))
