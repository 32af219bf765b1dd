r"""Affinity rows: what each item learnt of those that people chose before it. Pure; the same code serves and evaluates.

A *row* belongs to one item i. It is a triple (a, c, t): a sparse vector of weights by the dimension of a recent item
(`model.ids.item_dimension`; items that share a dimension are summed), the count of how often i came, and the time both
are valid for. When i comes at time $t_e$, and the person's recents were $j_0, j_1, …$, newest first, it learns

$$p(k) = 2^{-k/h} + s\,2^{-k/H} \quad\text{for } j_k$$

with the half-lives h and H in positions and the slow weight s (`RECENT_HALF_LIFE`, `SLOW_HALF_LIFE`, `SLOW_WEIGHT`).
Everything fades with a half-life of T:

$$t' = \max(t, t_e)$$
$$a'_j = a_j\,2^{-(t'-t)/T} + p(k_j)\,2^{-(t'-t_e)/T}$$
$$c' = c\,2^{-(t'-t)/T} + 2^{-(t'-t_e)/T}$$

That is the decayed accumulator of `model.decay`: *merging* two rows is the same formula, commutative and associative,
so the order of events doesn't matter, late ones included. A row is only faded when something is merged into it; an idle
one keeps its shape. When it has more than `max_row_entries` it is cut to the largest `pruned_row_entries`: the one
step that forgets, and the one that is not commutative.

What is stored, and multiplied with a person's recents to find what comes next, is the logarithm of the row over its
*divisor*, in units of u (`EVIDENCE_UNIT`):

$$v_j = \ln\left(1 + \frac{a_j}{u\,(c + smoothing)^{damping}}\right)$$

So an item that several recent ones lead to a little comes before one that a single one leads to often. The row is
recovered from v, c, t, u and the divisor; v is float32, so to some 1e-7 of each weight, at each write.

Sequential item-to-item neighbours with positional decay: Ludewig and Jannach, "Evaluation of session-based
recommendation algorithms", UMUAI 2018 (SR and S-kNN); the divisor is the damped one of item-based filtering
(Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004); the logarithm the sublinear scaling of
weights in text retrieval (Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 6.4.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import DAY
from eddyline.settings import AffinitySettings

RECENT_HALF_LIFE, SLOW_HALF_LIFE = 3.0, 20.0
"""Positions after which a recent item's weight halves, when an item learns from it: of its two parts."""
SLOW_WEIGHT = 0.7
"""The slower part of the newest recent item's weight, beside 1."""
BACKWARD_WEIGHT = 0.8
"""Factor of what recent items learn of the one that came after them."""
EVIDENCE_UNIT = 0.3
"""Weight of a row, over its divisor, that is stored as ln 2: well below it a weight counts as it is, well above it by
its logarithm."""
SEED_WEIGHT = 1.0
"""How many events of its own a new item's seed counts as."""


@dataclass(frozen=True, slots=True)
class AffinityRow:
    """(a, c, t). `indices` distinct, with one weight each; `time` in epoch seconds, 0 before the first event."""

    indices: NDArray[np.uint32]
    weights: NDArray[np.float64]
    count: float = 0.0
    time: float = 0.0

    @classmethod
    def from_weights(cls, weights: Mapping[int, float], count: float = 0.0, time: float = 0.0) -> AffinityRow:
        """Return the row with these weights by dimension."""
        return cls(
            np.fromiter(weights.keys(), dtype=np.uint32, count=len(weights)),
            np.fromiter(weights.values(), dtype=np.float64, count=len(weights)),
            count,
            time,
        )

    def stored(self, settings: AffinitySettings) -> NDArray[np.float32]:
        """Return v: the logarithm of the weights over the divisor, in the order of `indices`."""
        return scaled(self.weights / divisor(self.count, settings))


NO_ROW = AffinityRow.from_weights({})


def restore_row(
    indices: NDArray[np.uint32],
    values: NDArray[np.float32],
    divided_by: float,
    count: float,
    time: float,
    unit: float | None = EVIDENCE_UNIT,
) -> AffinityRow:
    """Invert `AffinityRow.stored`. `divided_by`, `unit`: the divisor and the unit that were in force, whatever they are
    now; None: no logarithm was taken then."""
    quotients = values.astype(np.float64)
    if unit is not None:
        quotients = np.expm1(quotients) * unit
    return AffinityRow(indices, quotients * divided_by, count, time)


def scaled(quotients: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the logarithm, in units of `EVIDENCE_UNIT`, of weights over their divisor."""
    return np.asarray(np.log1p(quotients / EVIDENCE_UNIT), dtype=np.float32)


def divisor(count: float, settings: AffinitySettings) -> float:
    """Return (c + smoothing)^popularity_damping."""
    return float((count + settings.smoothing) ** settings.popularity_damping)


@lru_cache(maxsize=1024)
def positional_weights(count: int) -> NDArray[np.float64]:
    """Return p(0), p(1), … p(count - 1), read-only."""
    positions = np.arange(count)
    weights = np.asarray(0.5 ** (positions / RECENT_HALF_LIFE) + SLOW_WEIGHT * 0.5 ** (positions / SLOW_HALF_LIFE))
    weights.setflags(write=False)
    return weights


def forward_update(recents: NDArray[np.uint32], time: float) -> AffinityRow:
    """What an item learns when it comes after these recents, given by their dimensions, newest first, at `time`."""
    weights = positional_weights(len(recents))
    dimensions = np.concatenate((recents, next_dimensions(recents[:1])))
    return AffinityRow(*_summed(dimensions, np.concatenate((weights, _NEXT_WEIGHT[: len(recents)]))), 1.0, time)


def next_dimensions(dimensions: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the dimensions in which rows learn that their item came right after these: a permutation of all 32-bit
    numbers, so that no two items meet that don't meet already."""
    return np.asarray(dimensions * np.uint32(0x9E3779B1) ^ np.uint32(0x5BD1E995), np.uint32)


_NEXT_WEIGHT = np.ones(1)


def backward_update(follower: int, position: int, time: float) -> AffinityRow:
    """What the recent item at `position` learns, the other way round, when the item of dimension `follower` comes after
    it at `time`.

    It didn't come itself, so its count stays.
    """
    weight = BACKWARD_WEIGHT * float(positional_weights(position + 1)[-1])
    return AffinityRow.from_weights({follower: weight}, 0.0, time)


def fold(row: AffinityRow, updates: Iterable[AffinityRow], settings: AffinitySettings) -> AffinityRow:
    """Return the row with what was learnt (`forward_update`, `backward_update`), cut when it has grown."""
    return prune(merge([row, *updates], settings), settings)


def merge(rows: Sequence[AffinityRow], settings: AffinitySettings) -> AffinityRow:
    """Return the row of all their events together: commutative and associative.

    A row of time 0 has had no event (a `seed_row`): it begins to fade with its first.
    """
    time = max((row.time for row in rows), default=0.0)
    shares = [decay_factor(time - row.time, settings) if row.time else 1.0 for row in rows]
    weights = np.concatenate([row.weights * share for row, share in zip(rows, shares, strict=True)])
    indices, summed = _grouped(np.concatenate([row.indices for row in rows]), weights)
    count = sum(row.count * share for row, share in zip(rows, shares, strict=True))
    return AffinityRow(indices, summed, count, time)


def decay_factor(seconds: float, settings: AffinitySettings) -> float:
    """Return what is left of a weight after so long: 2^(-seconds / T)."""
    return float(0.5 ** (seconds / (settings.half_life_days * DAY)))


def prune(row: AffinityRow, settings: AffinitySettings) -> AffinityRow:
    """Cut a row of more than `max_row_entries` to its largest `pruned_row_entries`; of equals, keep the lower
    dimensions."""
    if len(row.indices) <= settings.max_row_entries:
        return row
    kept = np.sort(np.lexsort((row.indices, -row.weights))[: settings.pruned_row_entries])
    return AffinityRow(row.indices[kept], row.weights[kept], row.count, row.time)


def seed_row(neighbours: Sequence[tuple[AffinityRow, float]], settings: AffinitySettings) -> AffinityRow:
    r"""Return the row that a new item begins with, from (row, similarity) of the n nearest items by content with a row.

    $$a = \frac{m}{n} \sum_j s_j^+ \frac{a_j}{c_j}$$

    $a_j / c_j$ being what neighbour j learns from one event in the mean, and m the `SEED_WEIGHT`: as if the item had
    come m times already, after what its neighbours come after, less where they are less alike. The count stays 0, and
    nothing is learnt of a row without one, so no seed grows from seeds. After n events of its own, the seed has about
    m / (m + n) of the row, at most.
    """
    experienced = [(row, similarity) for row, similarity in neighbours if row.count > 0]
    parts = [
        AffinityRow(row.indices, row.weights * (SEED_WEIGHT * similarity / (len(experienced) * row.count)))
        for row, similarity in experienced
        if similarity > 0
    ]
    return prune(merge([NO_ROW, *parts], settings), settings)


def _summed(
    dimensions: NDArray[np.uint32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return the distinct dimensions, and the sum of the weights of each."""
    is_distinct = len(set(dimensions.tolist())) == len(dimensions)
    return (dimensions, weights) if is_distinct else _grouped(dimensions, weights)


def _grouped(
    indices: NDArray[np.uint32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Return the distinct indices, ascending, and the sum of the weights of each. (`np.unique` takes twice as long.)"""
    if not len(indices):
        return indices, weights
    order = indices.argsort(kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.add.reduceat(weights[order], starts)
