"""The searches of the vector store, done exactly in memory: items by dense vectors, sparse rows and payload fields.

Items are places 0…n-1 in the log's list. They are all there from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eddyline.evaluation.inverted_index import Floats, Integers, InvertedIndex
from eddyline.model.affinity import next_dimensions
from eddyline.model.decay import add_to_decayed_count, decayed_count_at
from eddyline.model.distance import Distance, similarities
from eddyline.model.events import Content
from eddyline.model.ids import item_dimension
from eddyline.model.ranking import Candidates, RecentItemDetails
from eddyline.model.ranking.candidates import Column, number_values, trend_time
from eddyline.model.ranking.distinct import Sameness
from eddyline.model.ranking.seeded_random import item_hashes
from eddyline.model.trends import POPULARITY, TREND_HALF_LIVES, trend_tau


class SearchResult(NamedTuple):
    """What a source found: places of items, the best first, and their scores."""

    places: Integers
    scores: NDArray[np.floating]


class ItemIndex:
    """Content vectors (float32, compared by `distance`), affinity rows, trends and dates of all items."""

    def __init__(self, items: Sequence[Content], content: Floats, distance: Distance = Distance.COSINE) -> None:
        self.items, self.content, self.distance = items, content, distance
        self._columns = np.ascontiguousarray(content.T)  # a third faster to multiply with
        self.item_ids = [item.item_id for item in items]
        self.place_of = {item_id: place for place, item_id in enumerate(self.item_ids)}
        dimensions = np.fromiter(map(item_dimension, self.item_ids), np.uint32)
        self.affinity = InvertedIndex(len(items), np.concatenate((dimensions, next_dimensions(dimensions))).tolist())
        self.trends: Mapping[str, NDArray[np.float64]] = {
            window: np.full(len(items), -np.inf) for window in TREND_HALF_LIVES
        }
        """Logarithms of forward-decayed counts, minus infinity where there are none."""
        self.chosen = np.zeros(len(items))
        """How often each was chosen, ever."""
        self.fixed = _FixedColumns.from_items(items)
        self._listed = _DescendingOrder(self.fixed.listed_at)
        self._orders: dict[str, _DescendingOrder] = {}
        self._attributes: dict[str, NDArray[np.intp]] = {}

    def count(self, item: int, time: float) -> None:
        """Count that someone chose the item."""
        for window, logarithms in self.trends.items():
            known = float(logarithms[item])
            value = add_to_decayed_count(None if known == -np.inf else known, 1.0, time, trend_tau(window))
            if window in self._orders:
                self._orders[window].move(item, known, value)
            logarithms[item] = value
        self.chosen[item] += 1

    def popularity(self, item: int, now: float) -> float:
        """Compute the item's decayed count over about a quarter."""
        known = float(self.trends[POPULARITY][item])
        return decayed_count_at(None if known == -np.inf else known, now, trend_tau(POPULARITY))

    def detail(self, item_id: str) -> RecentItemDetails:
        """Give what ranking reads of a recent item. There are no pictures."""
        item = self.items[self.place_of[item_id]]
        return RecentItemDetails(item.price, category=item.category)

    def attribute(self, name: str) -> NDArray[np.intp]:
        """Number the values of an own attribute, shape (items); -1 where there is none."""
        if name not in self._attributes:
            self._attributes[name] = number_values([item.attributes.get(name) for item in self.items])
        return self._attributes[name]

    def similarities(self, vectors: Sequence[NDArray[np.floating]]) -> Floats:
        """Compare every query vector with every item: (vectors, items)."""
        if self.distance is Distance.EUCLID:
            return np.stack([similarities(vector, self.content, self.distance) for vector in vectors])
        return np.asarray(np.stack(vectors).astype(np.float32, copy=False) @ self._columns)

    def listed_at(self, now: float) -> Column:
        """Return when each was published, in epoch seconds; -inf where unknown.

        Items are there from the start, whatever the date they are listed with: one that isn't over yet says nothing.
        """
        return np.where(self.fixed.listed_at <= now, self.fixed.listed_at, -np.inf)

    def first_by(self, field: str, now: float, depth: int, is_blocked: NDArray[np.bool_]) -> SearchResult:
        """Find the first `depth` by a `trend.<window>` or `listed_at`, largest first, equals by place: none that is
        blocked, mask (items), and none without a value."""
        if field == "listed_at":
            places = self._listed.first(depth, is_blocked, now)
            return SearchResult(places, self.fixed.listed_at[places])
        window = field.removeprefix("trend.")
        if window not in self._orders:
            self._orders[window] = _DescendingOrder(self.trends[window])
        places = self._orders[window].first(depth, is_blocked)
        return SearchResult(places, self.trends[window][places])


def top(scores: NDArray[np.floating], depth: int, blocked: Integers) -> SearchResult:
    """Find the best `depth` scores above minus infinity, best first, equals by place; none of `blocked`, places."""
    left = scores.copy()
    left[blocked] = -np.inf
    if depth < len(left):
        # All that are as good as the last one, so that equals are told apart by their place alone.
        worst = np.partition(left, len(left) - depth)[len(left) - depth]
        found = np.flatnonzero(left >= worst) if worst > -np.inf else np.flatnonzero(left > -np.inf)
    else:
        found = np.flatnonzero(left > -np.inf)
    places = found[np.argsort(-left[found], kind="stable")][:depth]
    return SearchResult(places, scores[places])


class _DescendingOrder:
    """Places by their values, largest first, equals by place; those at minus infinity are left out.

    Values only grow.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        known = np.flatnonzero(values > -np.inf)
        order = known[np.argsort(-values[known], kind="stable")]
        self._count = len(order)
        self._places = np.zeros(len(values), dtype=np.int64)
        self._negated = np.zeros(len(values))
        self._places[: self._count], self._negated[: self._count] = order, -values[order]

    def move(self, place: int, before: float, value: float) -> None:
        """Put a place where its new value belongs."""
        old = self._count if before == -np.inf else self._find(place, before, self._count)
        if old == self._count:
            self._count += 1
        new = self._find(place, value, old)
        for array, entry in ((self._places, place), (self._negated, -value)):
            array[new + 1 : old + 1] = array[new:old]
            array[new] = entry

    def first(self, depth: int, is_blocked: NDArray[np.bool_], largest: float = np.inf) -> Integers:
        """Return the first `depth` that aren't blocked, nor above `largest`."""
        begin = int(np.searchsorted(self._negated[: self._count], -largest))
        reach, count = depth, self._count - begin
        while True:
            reach = min(2 * reach, count)
            places = self._places[begin : begin + reach]
            left = places[~is_blocked[places]]
            if len(left) >= depth or reach == count:
                return left[:depth]

    def _find(self, place: int, value: float, end: int) -> int:
        """Find where, before `end`, a place of this value is, or belongs."""
        negated = self._negated[:end]
        low = int(np.searchsorted(negated, -value, side="left"))
        high = int(np.searchsorted(negated, -value, side="right"))
        return low + int(np.searchsorted(self._places[low:high], place))


@dataclass(frozen=True, slots=True)
class _FixedColumns:
    """What ranking reads of the items and no event changes, shape (n) each."""

    ids: NDArray[np.object_]
    id_ranks: Integers
    hashes: NDArray[np.uint64]
    listed_at: Column
    prices: Column
    ratings: Column
    raters: Column
    categories: NDArray[np.intp]
    sameness: Sameness

    @classmethod
    def from_items(cls, items: Sequence[Content]) -> _FixedColumns:
        """Take them from the items as the store's payloads have them."""
        payloads = [
            {"meta": item.model_dump(include={"title", "category", "rating", "attributes"})}
            | ({} if item.price is None else {"offer": {"price": item.price}})
            for item in items
        ]
        item_ids = [item.item_id for item in items]
        columns = Candidates(item_ids, payloads)
        id_ranks = np.empty(len(items), dtype=np.int64)
        id_ranks[columns.by_id()] = np.arange(len(items))
        return cls(
            np.array(item_ids, dtype=np.object_),
            id_ranks,
            item_hashes(item_ids),
            np.asarray([_listed_at(item) for item in items], dtype=np.float64),
            columns.prices(),
            *columns.ratings(),
            columns.categories(),
            Sameness.from_payloads(payloads),
        )


@dataclass(frozen=True, slots=True)
class IndexedCandidates(Candidates):
    """Candidates by their places: their columns are taken from the index's, without an object each.

    `trends`, `times_chosen`: the index's columns, as they were when it was searched, at `now` (epoch seconds).
    """

    index: ItemIndex = field(kw_only=True)
    places: Integers = field(kw_only=True)
    trends: Mapping[str, Column] = field(kw_only=True)
    times_chosen: Column = field(kw_only=True)
    now: float = field(kw_only=True)

    @classmethod
    def merge(
        cls,
        found: Mapping[str, SearchResult],
        depth: int,
        unscored: Sequence[str],
        snapshot: IndexSnapshot,
        with_vectors: bool,
    ) -> IndexedCandidates:
        """Merge what the sources found, as `merge_candidates` does."""
        index = snapshot.index
        is_found = np.zeros(len(index.item_ids), dtype=np.bool_)
        for one in found.values():
            is_found[one.places] = True
        places = np.flatnonzero(is_found)
        scores, floors = {}, {}
        for name, one in found.items():
            if name not in unscored:
                scores[name] = np.full(len(places), np.nan)
                scores[name][np.searchsorted(places, one.places)] = one.scores
                if len(one.places) >= depth:
                    floors[name] = float(one.scores[-1])
        vectors = list(index.content[places]) if with_vectors else ()
        return cls(
            list(index.fixed.ids[places]), (), scores, floors, vectors,
            index=index, places=places, trends=snapshot.trends, times_chosen=snapshot.chosen, now=snapshot.now,
        )  # fmt: skip

    def kept(self, keep: NDArray[np.bool_]) -> IndexedCandidates:
        """Return some of them; the floors stay the sources' own."""
        kept = Candidates.kept(self, keep)
        return replace(self, item_ids=kept.item_ids, scores=kept.scores, vectors=kept.vectors, places=self.places[keep])

    def hashes(self) -> NDArray[np.uint64]:
        """Return a hash of each id, for draws."""
        return self.index.fixed.hashes[self.places]

    def by_id(self) -> NDArray[np.intp]:
        """Return the rows in the order of their ids."""
        return np.argsort(self.index.fixed.id_ranks[self.places])

    def counts(self, window: str, now: float) -> Column:
        """Return decayed counts of people who chose each, shape (n), in a trend window, at `now` (epoch seconds)."""
        return np.exp(np.minimum(700.0, self.trends[window][self.places] - trend_time(now, window)))

    def chosen(self) -> Column:
        """Return how often each was chosen, ever."""
        return self.times_chosen[self.places]

    def listed_at(self) -> Column:
        """Return when each was published; -inf where unknown, or not over yet."""
        return self.index.listed_at(self.now)[self.places]

    def prices(self) -> Column:
        """Return the price of each; nan where there is none."""
        return self.index.fixed.prices[self.places]

    def ratings(self) -> tuple[Column, Column]:
        """Return the mean rating of each in 0…1 of its scale, and of how many people; 0 of 0 where there is none."""
        return self.index.fixed.ratings[self.places], self.index.fixed.raters[self.places]

    def categories(self) -> NDArray[np.intp]:
        """Return a number for the category of each; -1 where there is none."""
        return self.index.fixed.categories[self.places]

    def attribute(self, name: str) -> NDArray[np.intp]:
        """Return a number for the value of this attribute of each; -1 where there is none."""
        return self.index.attribute(name)[self.places]

    def sameness(self, rows: NDArray[np.intp]) -> Sameness:
        """Return which of these rows look alike, and which are parts of which series."""
        whole, places = self.index.fixed.sameness, self.places[rows]
        return Sameness(whole.looks[places], whole.series[places], whole.parts[places])

    def shares(self, mix: Mapping[str, float]) -> Column:
        """Return the share of each one's category in a mix; 0 where there is none."""
        return np.array([mix.get(self.index.items[place].category or "", 0.0) for place in self.places.tolist()])


class IndexSnapshot:
    """What events change of an index, as it is when it is taken, at `now`: the columns of these trend windows."""

    def __init__(self, index: ItemIndex, windows: Sequence[str], now: float) -> None:
        self.index, self.now = index, now
        self.trends = {window: index.trends[window].copy() for window in windows}
        self.chosen = index.chosen.copy()


def _listed_at(item: Content) -> float:
    known = item.published_at if item.published_at is not None else item.timestamp
    return -np.inf if known is None else known
