"""A strategy's recommendations: the reader's own plan and ranking, with searches that are done in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from eddyline.evaluation.inverted_index import Floats
from eddyline.evaluation.item_index import IndexedCandidates, IndexSnapshot, ItemIndex, SearchResult, top
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.model.decay import Vector
from eddyline.model.ranking import (
    DETAILED_RECENTS,
    ORDERED,
    SIMILAR_PEOPLE,
    RetrievalPlan,
    order_depth,
    plan_retrieval,
    rank_options,
    rank_rows,
    search_depth,
    with_recent_items,
)
from eddyline.model.trends import POPULARITY
from eddyline.settings import RankingSettings, StrategySettings


class FindCandidates(Protocol):
    """Makes one table of what all sources found."""

    def __call__(self, with_vectors: bool = False) -> IndexedCandidates:
        """Return the candidates, with their content or without."""


class StrategyRecommender:
    """Recommends by one strategy, as a reader with these settings would.

    `varies`: as a reader that doesn't know whether its lists were left alone. In a log nobody leaves a list alone:
    whoever is recommended to did something in their last visit.
    """

    def __init__(
        self,
        ranking: RankingSettings,
        strategy: StrategySettings,
        shared: SearchCache,
        varies: bool = False,
        learned: Callable[[], StrategySettings] | None = None,
    ) -> None:
        """`learned`: returns the strategy with the weights of now, where they are learnt."""
        self._ranking, self._shared, self._varies = ranking, shared, varies
        self._strategy = learned or (lambda: strategy)

    def prepare(self, state: InMemoryState, person: int, now: float, k: int) -> Callable[[], Sequence[int]]:
        """Take down what is known at `now` (epoch seconds); return what makes the list of it, whatever is learnt since.

        The list has at most `k` places of items, the best first, none that the person has seen.
        """
        settings, strategy = self._ranking, self._strategy()
        plan, found = prepare_candidates(state, person, now, settings, strategy, self._shared, k)
        whom = state.profile(person, now).person
        options = rank_options(plan, strategy, settings, now, k, whom, varies=self._varies)

        def answer() -> Sequence[int]:
            candidates = found(with_vectors=strategy.diversity > 0)
            rows = [row for row, _ in rank_rows(candidates, plan, options).rows]
            return candidates.places[rows].tolist()  # type: ignore[no-any-return]

        return answer


def prepare_candidates(
    state: InMemoryState,
    person: int,
    now: float,
    settings: RankingSettings,
    strategy: StrategySettings,
    shared: SearchCache,
    k: int,
) -> tuple[RetrievalPlan, FindCandidates]:
    """Plan a strategy's searches for a list of `k`, and do those whose outcome events change; return what does the
    rest."""
    profile = state.profile(person, now)
    plan = plan_retrieval(None if profile.is_unknown else profile, now, state.taus, settings, strategy)
    if plan.needs_recent_details:
        newest = islice(plan.recents, DETAILED_RECENTS)
        plan = with_recent_items(plan, {item_id: state.catalogue.detail(item_id) for item_id in newest})
    return plan, shared.for_request(state, person, now).run(plan, settings, k)


class SearchCache:
    """A cache of the searches of the request that is being prepared, whichever strategy comes first."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._searches: RequestSearches | None = None
        self._dense: DenseSearches | None = None

    def for_request(self, state: InMemoryState, person: int, now: float) -> RequestSearches:
        """Return the searches of this request: none are left as soon as anything has been learnt."""
        if self._dense is None or self._dense.index is not state.catalogue:
            self._dense = DenseSearches(state.catalogue)
        key = (id(state), state.learnt, person, now)
        if self._searches is None or key != self._key:
            self._key, self._searches = key, RequestSearches(state, person, now, self._dense)
        return self._searches


class DenseSearches:
    """Searches by content, whose vectors no event changes: those of many requests are one matrix product."""

    def __init__(self, index: ItemIndex) -> None:
        self.index = index
        self._waiting: list[DenseSearch] = []

    def add(self, vector: Vector) -> DenseSearch:
        """Take a query in, to be answered with the next ones that are asked for."""
        self._waiting.append(DenseSearch(self, vector))
        return self._waiting[-1]

    def run(self) -> None:
        """Answer all that wait."""
        for one, scores in zip(
            self._waiting, self.index.similarities([one.vector for one in self._waiting]), strict=True
        ):
            one.scores = scores
        self._waiting.clear()


class DenseSearch:
    """A query vector, and its similarity to every item once it is answered."""

    def __init__(self, searches: DenseSearches, vector: Vector) -> None:
        self._searches, self.vector = searches, vector
        self.scores: Floats | None = None

    def answered(self) -> Floats:
        """Return the similarities, shape (items)."""
        if self.scores is None:
            self._searches.run()
        assert self.scores is not None
        return self.scores


class RequestSearches:
    """The searches of one request: strategies that search alike share what is found.

    What events change is searched at once, content when its candidates are asked for.
    """

    def __init__(self, state: InMemoryState, person: int, now: float, dense: DenseSearches) -> None:
        state.settle()
        self._state, self._now, self._dense = state, now, dense
        self._person, self._blocked = person, state.seen(person)
        self._is_blocked = np.zeros(len(state.catalogue.item_ids), dtype=np.bool_)
        self._is_blocked[self._blocked] = True
        self._done: dict[Hashable, SearchResult] = {}
        self._asked: dict[Hashable, DenseSearch] = {}
        self._snapshots: dict[str, IndexSnapshot] = {}

    def run(self, plan: RetrievalPlan, settings: RankingSettings, k: int) -> FindCandidates:
        """Search every source for a list of `k`: what the person has seen is left out first, then come the best.

        Returns what makes the candidates, `with_vectors` or without.
        """
        depth, order = search_depth(settings, k), order_depth(settings, k)
        window, catalogue = settings.trending_window, self._state.catalogue
        keys: dict[str, Hashable] = {name: (depth, vector.tobytes()) for name, vector in plan.dense.items()}
        for name, vector in plan.dense.items():
            if keys[name] not in self._asked:
                self._asked[keys[name]] = self._dense.add(vector)
        for name, query in plan.rows.items():
            keys[name] = (depth, query.indices.tobytes(), query.values.tobytes())
            if keys[name] not in self._done:
                scores = catalogue.affinity.scores(query.indices, query.values)
                # Rows that share nothing with the query aren't found by it.
                self._done[keys[name]] = top(np.where(scores > 0, scores, -np.inf), depth, self._blocked)
        for name in plan.ordered:
            field = ORDERED[name].format(window=window)
            keys[name] = (order, field)
            if keys[name] not in self._done:
                self._done[keys[name]] = catalogue.first_by(field, self._now, order, self._is_blocked)
        if plan.weights.get("people", 0.0) > 0:
            keys["people"] = (depth, "people")
            if keys["people"] not in self._done:
                self._done[keys["people"]] = self._chosen_by_neighbours(SIMILAR_PEOPLE, depth)
        if window not in self._snapshots:
            self._snapshots[window] = IndexSnapshot(catalogue, (POPULARITY, window), self._now)
        snapshot = self._snapshots[window]

        def candidates(with_vectors: bool = False) -> IndexedCandidates:
            found = {name: self._found(key, depth) for name, key in keys.items()}
            return IndexedCandidates.merge(found, depth, tuple(ORDERED), snapshot, with_vectors)

        return candidates

    def _found(self, key: Hashable, depth: int) -> SearchResult:
        if key not in self._done:
            self._done[key] = top(self._asked[key].answered(), depth, self._blocked)
        return self._done[key]

    def _chosen_by_neighbours(self, people: int, depth: int) -> SearchResult:
        """Find what the people with the most similar history chose lately: the sum of their similarities, by item."""
        catalogue, neighbours = self._state.catalogue, self._state.neighbours(self._person, people)
        if not neighbours:
            return SearchResult(np.zeros(0, dtype=np.int64), np.zeros(0))
        chosen = np.concatenate([recents for recents, _ in neighbours])
        similarities = np.array([similarity for _, similarity in neighbours], dtype=np.float64)
        weights = np.repeat(similarities, [len(recents) for recents, _ in neighbours])
        sums = np.bincount(chosen, weights, len(catalogue.item_ids)).astype(np.float64, copy=False)
        is_chosen = np.zeros(len(sums), dtype=np.bool_)
        is_chosen[chosen] = True
        places = np.flatnonzero(is_chosen & ~self._is_blocked)
        best = places[np.lexsort((catalogue.fixed.id_ranks[places], -sums[places]))][:depth]
        return SearchResult(best, sums[best])
