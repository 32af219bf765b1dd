"""Candidates: one table of all that the sources found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import LANDMARK, Vector
from eddyline.model.trends import trend_tau


class Hit(NamedTuple):
    """An item on a source's list. `vector`: its content, where it was asked for."""

    item_id: str
    score: float
    payload: Mapping[str, Any]
    vector: Vector | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """n items, in columns. `scores`: by source, shape (n), nan where the source didn't list the item.

    `floors`: the score at the end of a source's list, where that was full: who isn't on it is at or below.
    """

    item_ids: Sequence[str]
    payloads: Sequence[Mapping[str, Any]]
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    vectors: Sequence[Vector | None] = ()
    """One each, or none at all."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def kept(self, keep: NDArray[np.bool_]) -> Candidates:
        """Some of them; the floors stay the sources' own."""
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

    def counts(self, window: str, now: float) -> NDArray[np.float64]:
        """Decayed counts of people who chose each, shape (n), in a trend window, at `now` (epoch seconds)."""
        logarithms = np.array([payload.get("trend", _NONE).get(window, -math.inf) for payload in self.payloads])
        return np.exp(np.minimum(700.0, logarithms - trend_time(now, window)))

    def chosen(self) -> NDArray[np.float64]:
        """How often each was chosen, ever."""
        return np.fromiter((payload.get("trend", _NONE).get("count", 0) for payload in self.payloads), np.float64)

    def listed_at(self) -> NDArray[np.float64]:
        """Publication, or else first arrival, of each, in epoch seconds; -inf where unknown."""
        return np.array([payload.get("listed_at", -math.inf) for payload in self.payloads], np.float64)

    def prices(self) -> NDArray[np.float64]:
        """The price of each; nan where there is none."""
        return np.array([payload.get("offer", _NONE).get("price", math.nan) for payload in self.payloads], np.float64)

    def ratings(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean rating of each in 0…1 of its scale, and of how many it is; 0 of 0 where there is none."""
        rated = [payload.get("meta", _NONE).get("rating") or _UNRATED for payload in self.payloads]
        rows = [[one["value"], one["count"], one["scale"], one["least"]] for one in rated]
        value, count, scale, least = np.array(rows, np.float64).reshape(-1, 4).T
        return np.where(count > 0, (value - least) / (scale - least), 0.0), count

    def categories(self) -> NDArray[np.intp]:
        """A number for the category of each; -1 where there is none."""
        numbers: dict[str | None, int] = {None: -1}
        names = [payload.get("meta", _NONE).get("category") for payload in self.payloads]
        return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.intp)


_NONE: Mapping[str, Any] = {}
_UNRATED: Mapping[str, float] = {"value": 0.0, "count": 0.0, "scale": 1.0, "least": 0.0}


def merge_candidates(lists: Mapping[str, Sequence[Hit]], depth: int, unscored: Iterable[str] = ()) -> Candidates:
    """The union of the sources' lists, each at most `depth` long. `unscored`: sources whose scores mean nothing."""
    rows: dict[str, int] = {}
    found: list[Hit] = []
    for listed in lists.values():
        for one in listed:
            if one.item_id not in rows:
                rows[one.item_id] = len(rows)
                found.append(one)
    scores, floors = {}, {}
    for name in lists.keys() - set(unscored):
        column = np.full(len(rows), np.nan)
        for one in lists[name]:
            column[rows[one.item_id]] = one.score
        scores[name] = column
        if len(lists[name]) >= depth:
            floors[name] = lists[name][-1].score
    vectors = _of_one_size([one.vector for one in found])
    return Candidates([one.item_id for one in found], [one.payload for one in found], scores, floors, vectors)


def _of_one_size(vectors: Sequence[Vector | None]) -> Sequence[Vector | None]:
    """Without those of another length than the first, since lists that are shared may be of the generation before;
    empty where there are none."""
    size = next((len(vector) for vector in vectors if vector is not None), None)
    if size is None:
        return ()
    return [None if vector is None or len(vector) != size else vector for vector in vectors]


def score_by_neighbours(
    neighbours: Iterable[tuple[Iterable[str], float]], is_hidden: Callable[[str], bool]
) -> list[tuple[str, float]]:
    """What people chose lately, given as (recent items, likeness): the sum of their likenesses by item, best first.

    User-based neighbours (Resnick et al., "GroupLens", CSCW 1994).
    """
    sums: dict[str, float] = {}
    for recents, likeness in neighbours:
        for item_id in recents:
            if not is_hidden(item_id):
                sums[item_id] = sums.get(item_id, 0.0) + likeness
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def trend_time(now: float, window: str) -> float:
    """The logarithm of a forward-decayed count of one, now."""
    return (now - LANDMARK) / trend_tau(window)
