r"""The metrics of an evaluation, and their confidence intervals.

Of each request there is one relevant item: the one that came next. With its rank r on the list (nothing where it isn't
among the first k):

$$HR@k = [r \le k] \qquad nDCG@k = 1 / \log_2(r + 1) \qquad MRR@k = 1 / r$$

and of each list, whatever came next:

- *diversity*: 1 minus the mean cosine of all pairs of its items' content vectors;
- *divergence*: how far its categories are from those that the person chose before (see `divergence`);
- *novelty*: the mean of -log2 of an item's share of all events so far, (n + 1) / (N + number of items);
- *coverage*, of all lists together: the share of the items that were recommended at least once.

Intervals are percentile bootstraps over people (Efron, "Bootstrap methods", 1979): whole people are drawn with
replacement, since one person's requests aren't independent, and the same people for every strategy, so that
differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eddyline.model.distance import normalise_rows
from eddyline.model.ranking.diversity import SMOOTHING

Floats = NDArray[np.float64]

METRICS = ("hr", "ndcg", "mrr", "coverage", "diversity", "divergence", "novelty")
RESAMPLES = 1000
LEVEL = 0.95
AT_ONCE = 4_000_000
"""Most cells of a table of resamples that are in memory at once."""
LISTS_AT_ONCE = 1024
"""Most lists whose items' vectors are in memory at once."""


@dataclass(frozen=True, slots=True)
class StrategyLists:
    """One strategy's answers to n requests, columnar.

    `items` (n, k): places of items, -1 where a list is shorter. `rank` (n): of the item that came, from 1; 0 where it
    isn't on the list. `diversity`, `novelty`, `divergence` (n): not a number where there is nothing to have any of.
    """

    items: NDArray[np.int32]
    rank: NDArray[np.int32]
    diversity: Floats
    novelty: Floats
    divergence: Floats

    def where(self, chosen: NDArray[np.bool_]) -> StrategyLists:
        """Return the lists of some requests."""
        return StrategyLists(
            self.items[chosen],
            self.rank[chosen],
            self.diversity[chosen],
            self.novelty[chosen],
            self.divergence[chosen],
        )

    def means(self) -> dict[str, Floats]:
        """Compute the metrics that are means over requests: their values (n)."""
        found = self.rank > 0
        rank = np.where(found, self.rank, 1).astype(np.float64)
        return {
            "hr": found.astype(np.float64),
            "ndcg": found / np.log2(rank + 1),
            "mrr": found / rank,
            "diversity": self.diversity,
            "novelty": self.novelty,
            "divergence": self.divergence,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval that holds it in 95 % of resamples; not a number where nothing was to be measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SliceMetrics:
    """A strategy on a slice: each metric, and its difference to the first strategy (None for the first itself)."""

    strategy: str
    slice: str
    requests: int
    people: int
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Estimate] | None


def measure(
    name: str,
    person: NDArray[np.int64],
    lists: Mapping[str, StrategyLists],
    items: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[SliceMetrics]:
    """Measure every strategy on a slice. `person` (n): of each request; `items`: how many could be recommended."""
    people, owner = np.unique(person, return_inverse=True)
    first = next(iter(lists), None)
    drawn = {
        strategy: _Bootstrap.from_lists(one, owner, len(people), items, seed, resamples)
        for strategy, one in lists.items()
    }
    measured = []
    for strategy, one in drawn.items():
        metrics = {metric: _estimate(one.value[metric], one.resampled[metric]) for metric in METRICS}
        differences = None
        if first is not None and strategy != first:
            base = drawn[first]
            differences = {
                metric: _estimate(
                    one.value[metric] - base.value[metric], one.resampled[metric] - base.resampled[metric]
                )
                for metric in METRICS
            }
        measured.append(SliceMetrics(strategy, name, len(person), len(people), metrics, differences))
    return measured


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    """Each metric's value, and its values in the resamples (the same people in the same resample, always)."""

    value: dict[str, float]
    resampled: dict[str, Floats]

    @classmethod
    def from_lists(
        cls, lists: StrategyLists, owner: NDArray[np.int64], people: int, items: int, seed: int, resamples: int
    ) -> _Bootstrap:
        means = lists.means()
        columns = np.stack([means[name] for name in means], axis=1) if len(owner) else np.zeros((0, len(means)))
        sums, counts = _per_person(columns, owner, people)
        covered, starts, by = _recommended(lists.items, owner)
        shares: list[NDArray[np.float64]] = []
        coverage: list[Floats] = []
        for weights in _resamples(people, resamples, seed):
            with np.errstate(invalid="ignore"):
                shares.append(weights @ sums / (weights @ counts))
            present = weights[:, by] > 0
            seen = np.logical_or.reduceat(present, starts, axis=1) if len(by) else np.zeros((len(weights), 0))
            coverage.append(np.asarray(seen.sum(axis=1) / items, dtype=np.float64))
        with np.errstate(invalid="ignore"):
            estimate = sums.sum(axis=0) / counts.sum(axis=0)
        value = {name: float(estimate[index]) for index, name in enumerate(means)}
        value["coverage"] = len(covered) / items if len(owner) else float("nan")
        drawn = np.concatenate(shares) if shares else np.zeros((0, len(means)))
        resampled = {name: drawn[:, index] for index, name in enumerate(means)}
        # A resample has only some 63 % of the people, so it covers less: the interval keeps its width, not its place.
        some = np.concatenate(coverage) if coverage else np.zeros(0)
        resampled["coverage"] = some + (value["coverage"] - some.mean() if len(some) else 0.0)
        return cls(value, resampled)


def _per_person(columns: Floats, owner: NDArray[np.int64], people: int) -> tuple[Floats, Floats]:
    """Sum and count per person (people, metrics) what is a number."""
    known = ~np.isnan(columns)
    sums, counts = np.zeros((people, columns.shape[1])), np.zeros((people, columns.shape[1]))
    np.add.at(sums, owner, np.where(known, columns, 0.0))
    np.add.at(counts, owner, known.astype(np.float64))
    return sums, counts


def _recommended(
    lists: NDArray[np.int32], owner: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the items that anybody got; where each one's people begin; and those people, item after item."""
    pairs = np.stack([lists.ravel().astype(np.int64), np.repeat(owner, lists.shape[1])], axis=1)
    pairs = np.unique(pairs[pairs[:, 0] >= 0], axis=0)
    covered, starts = np.unique(pairs[:, 0], return_index=True)
    return covered, starts.astype(np.int64), pairs[:, 1]


def _resamples(people: int, count: int, seed: int) -> Iterator[Floats]:
    """Draw how often each person is drawn, some resamples at a time: (resamples, people)."""
    if people == 0:
        return
    random = np.random.default_rng(seed)
    each = max(1, AT_ONCE // people)
    for start in range(0, count, each):
        size = min(each, count - start)
        yield random.multinomial(people, np.full(people, 1.0 / people), size=size).astype(np.float64)


def _estimate(value: float, resampled: Floats) -> Estimate:
    known = resampled[~np.isnan(resampled)]
    if np.isnan(value) or len(known) == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def diversity(content: NDArray[np.float32], lists: NDArray[np.int32]) -> Floats:
    """Compute 1 - the mean cosine of all pairs of a list's items; not a number for fewer than two.

    `content`: the items' vectors; `lists`: places of items (requests, k), -1 where a list is shorter. The sum of all
    pairs' cosines is (|sum of the rows' directions|^2 - their own) / 2.
    """
    parts = [np.zeros(0)]
    for start in range(0, len(lists), LISTS_AT_ONCE):
        places = lists[start : start + LISTS_AT_ONCE]
        present = places >= 0
        rows = np.zeros((*places.shape, content.shape[1]))
        rows[present] = normalise_rows(content[places[present]].astype(np.float64))
        total, count = rows.sum(axis=1), present.sum(axis=1)
        own = np.einsum("nkd,nkd->n", rows, rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (np.einsum("nd,nd->n", total, total) - own) / (count * (count - 1))
        parts.append(np.where(count > 1, 1.0 - mean, np.nan))
    return np.concatenate(parts)


def novelty(lists: NDArray[np.int32], counts: NDArray[np.int64], totals: NDArray[np.int64], items: int) -> Floats:
    """Average -log2((n + 1) / (total + items)) over each list's items; not a number for none.

    `counts` (requests, k): the n of each; `totals` (requests): all events so far.
    """
    present = lists >= 0
    information = -np.log2((counts + 1.0) / (totals + items)[:, np.newaxis])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, information, 0.0).sum(axis=1) / present.sum(axis=1))


def divergence(
    lists: NDArray[np.int32], categories: NDArray[np.int64], chosen: Iterable[NDArray[np.float64]]
) -> Floats:
    r"""Compute $KL(p \| q)$ of each list, in nats; not a number for a person without a choice of known category.

    p are the shares of the categories among what the person chose before, $q = (1 - \alpha) q' + \alpha p$, q' being
    those of the list (Steck, "Calibrated recommendations", RecSys 2018). `categories`: each item's number, -1 for none;
    `chosen`: for each request, how often the person chose each category.
    """
    found = np.full(len(lists), np.nan)
    for row, counts in enumerate(chosen):
        total = counts.sum()
        if not total:
            continue
        places = lists[row][lists[row] >= 0]
        known = categories[places]
        listed = np.bincount(known[known >= 0], minlength=len(counts)) / max(1, len(places))
        p = counts / total
        q = (1.0 - SMOOTHING) * listed + SMOOTHING * p
        present = p > 0
        found[row] = p[present] @ np.log(p[present] / q[present])
    return found
