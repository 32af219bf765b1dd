"""Candidates: one table of all that the sources found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import LANDMARK, Vector
from eddyline.model.ranking.distinct import Sameness
from eddyline.model.ranking.seeded_random import item_hashes
from eddyline.model.trends import trend_tau

Column: TypeAlias = NDArray[np.float64]
"""A number for each candidate, shape (n)."""


class Hit(NamedTuple):
    """An item on a source's list. `vector`: its content, where it was asked for."""

    item_id: str
    score: float
    payload: Mapping[str, Any]
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """n items, in columns. `scores`: by source, shape (n), nan where the source didn't list the item.

    `floors`: the score at the end of a source's list, where that was full: what isn't on it is at or below.
    """

    item_ids: Sequence[str]
    payloads: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Column] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    vectors: Sequence[Vector | None] = ()
    """One each, or none at all."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def kept(self, keep: NDArray[np.bool_]) -> Candidates:
        """Return some of them; the floors stay the sources' own."""
        if keep.all():
            return self
        kept = keep.tolist()
        return Candidates(
            list(compress(self.item_ids, kept)),
            list(compress(self.payloads, kept)),
            {name: column[keep] for name, column in self.scores.items()},
            self.floors,
            list(compress(self.vectors, kept)),
        )

    def hashes(self) -> NDArray[np.uint64]:
        """Return a hash of each id, for draws."""
        return item_hashes(self.item_ids)

    def by_id(self) -> NDArray[np.intp]:
        """Return the rows in the order of their ids."""
        return np.array(sorted(range(len(self)), key=self.item_ids.__getitem__), np.intp)

    def normalised(self, source: str) -> Column:
        """Bring a source's scores to 0…1 by its own list, min-max: the best is 1, the floor (or else the last) is 0,
        and so is what isn't on it."""
        scores = self.scores[source]
        is_listed = ~np.isnan(scores)
        listed, normalised = scores[is_listed], np.zeros_like(scores)
        if len(listed):
            best = float(listed.max())
            floor = min(self.floors.get(source, math.inf), float(listed.min()))
            is_flat = best - floor <= 1e-9 * abs(best)
            normalised[is_listed] = 1.0 if is_flat else ((listed - floor) / (best - floor)).clip(0.0, 1.0)
        return normalised

    def counts(self, window: str, now: float) -> Column:
        """Return decayed counts of people who chose each, shape (n), in a trend window, at `now` (epoch seconds)."""
        logarithms = np.array([payload.get("trend", _NONE).get(window, -math.inf) for payload in self.payloads])
        return np.exp(np.minimum(700.0, logarithms - trend_time(now, window)))

    def chosen(self) -> Column:
        """Return how often each was chosen, ever."""
        return np.fromiter((payload.get("trend", _NONE).get("count", 0) for payload in self.payloads), np.float64)

    def listed_at(self) -> Column:
        """Return when each was published, or else first arrived, in epoch seconds; -inf where unknown."""
        return np.array([payload.get("listed_at", -math.inf) for payload in self.payloads], np.float64)

    def prices(self) -> Column:
        """Return the price of each; nan where there is none."""
        return np.array([payload.get("offer", _NONE).get("price", math.nan) for payload in self.payloads], np.float64)

    def ratings(self) -> tuple[Column, Column]:
        """Return the mean rating of each in 0…1 of its scale, and of how many people; 0 of 0 where there is none."""
        rated = [payload.get("meta", _NONE).get("rating") or _UNRATED for payload in self.payloads]
        rows = [[rating["value"], rating["count"], rating["scale"], rating["least"]] for rating in rated]
        value, count, highest, lowest = np.array(rows, np.float64).reshape(-1, 4).T
        return np.where(count > 0, (value - lowest) / (highest - lowest), 0.0), count

    def categories(self) -> NDArray[np.intp]:
        """Return a number for the category of each; -1 where there is none."""
        return number_values([payload.get("meta", _NONE).get("category") for payload in self.payloads])

    def attribute(self, name: str) -> NDArray[np.intp]:
        """Return a number for the value of this attribute of each; -1 where there is none."""
        return number_values(
            [payload.get("meta", _NONE).get("attributes", _NONE).get(name) for payload in self.payloads]
        )

    def sameness(self, rows: NDArray[np.intp]) -> Sameness:
        """Return which of these rows look alike, and which are parts of which series."""
        return Sameness.from_payloads([self.payloads[row] for row in rows.tolist()])

    def shares(self, mix: Mapping[str, float]) -> Column:
        """Return the share of each one's category in a mix, shape (n); 0 where there is none."""
        return np.array([mix.get(payload.get("meta", _NONE).get("category"), 0.0) for payload in self.payloads])


_NONE: Mapping[str, Any] = {}
_UNRATED: Mapping[str, float] = {"value": 0.0, "count": 0.0, "scale": 1.0, "least": 0.0}


def merge_candidates(lists: Mapping[str, Sequence[Hit]], depth: int, unscored: Iterable[str] = ()) -> Candidates:
    """Merge the sources' lists, each at most `depth` long. `unscored`: sources whose scores mean nothing."""
    rows: dict[str, int] = {}
    merged: list[Hit] = []
    for hits in lists.values():
        for hit in hits:
            if hit.item_id not in rows:
                rows[hit.item_id] = len(rows)
                merged.append(hit)
    scores, floors = {}, {}
    for name in lists.keys() - set(unscored):
        column = np.full(len(rows), np.nan)
        for hit in lists[name]:
            column[rows[hit.item_id]] = hit.score
        scores[name] = column
        if len(lists[name]) >= depth:
            floors[name] = lists[name][-1].score
    vectors = _of_one_size([hit.vector for hit in merged])
    return Candidates([hit.item_id for hit in merged], [hit.payload for hit in merged], scores, floors, vectors)


def _of_one_size(vectors: Sequence[Vector | None]) -> Sequence[Vector | None]:
    """Leave out those of another length than the first, since lists that are shared may be of the generation before;
    empty where there are none."""
    size = next((len(vector) for vector in vectors if vector is not None), None)
    if size is None:
        return ()
    return [None if vector is None or len(vector) != size else vector for vector in vectors]


def score_by_neighbours(
    neighbours: Iterable[tuple[Iterable[str], float]], is_hidden: Callable[[str], bool]
) -> list[tuple[str, float]]:
    """Sum the similarities of the people who chose an item lately, by item, best first. `neighbours`: each one's recent
    items, and how similar that person is.

    User-based neighbours (Resnick et al., "GroupLens", CSCW 1994).
    """
    sums: dict[str, float] = {}
    for recents, similarity in neighbours:
        for item_id in recents:
            if not is_hidden(item_id):
                sums[item_id] = sums.get(item_id, 0.0) + similarity
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def number_values(values: Iterable[Any]) -> NDArray[np.intp]:
    """Return the same number for the same value, several values at once being one; -1 for None."""
    numbers: dict[Any, int] = {None: -1}
    plain = (tuple(value) if isinstance(value, list) else value for value in values)
    return np.array([numbers.setdefault(value, len(numbers)) for value in plain], np.intp)


def trend_time(now: float, window: str) -> float:
    """Return the logarithm of a forward-decayed count of one, now (epoch seconds)."""
    return (now - LANDMARK) / trend_tau(window)
