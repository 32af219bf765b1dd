"""A strategy's recommendations: the reader's own plan and ranking, with searches that are done in memory."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from eddyline.evaluation.item_index import top
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.model.ranking import (
    DETAILED_RECENTS,
    ORDERED,
    SIMILAR_PEOPLE,
    Hit,
    RetrievalPlan,
    merge_candidates,
    order_depth,
    plan_retrieval,
    rank,
    rank_options,
    score_by_neighbours,
    search_depth,
    with_recent_items,
)
from eddyline.settings import RankingSettings, StrategySettings


class StrategyRecommender:
    """Recommends by one strategy, as a reader with these settings would.

    `varies`: as a reader that doesn't know whether its lists were left alone. In a log nobody leaves a list alone:
    whoever is recommended to did something in their last visit.
    """

    def __init__(
        self, ranking: RankingSettings, strategy: StrategySettings, shared: SearchCache, varies: bool = False
    ) -> None:
        self._ranking, self._strategy, self._shared, self._varies = ranking, strategy, shared, varies

    def recommend(self, state: InMemoryState, person: int, now: float, k: int) -> Sequence[int]:
        """List at most `k` places of items, the best first, none that the person has seen; `now` in epoch seconds."""
        profile, settings, strategy = state.profile(person, now), self._ranking, self._strategy
        plan = plan_retrieval(None if profile.is_unknown else profile, now, state.taus, settings, strategy)
        newest = islice(plan.recents, DETAILED_RECENTS)
        plan = with_recent_items(plan, {item_id: state.catalogue.detail(item_id) for item_id in newest})
        depth = search_depth(settings, k)
        lists = self._shared.for_request(state, person, now).run(plan, settings, k)
        if strategy.diversity > 0:
            content, place_of = state.content, state.catalogue.place_of
            lists = {
                name: [one._replace(vector=content[place_of[one.item_id]]) for one in found]
                for name, found in lists.items()
            }
        options = rank_options(plan, strategy, settings, now, k, profile.person, varies=self._varies)
        listed = rank(merge_candidates(lists, depth, unscored=ORDERED), plan, options)
        return [state.catalogue.place_of[place.item_id] for place in listed]


class SearchCache:
    """A cache of the searches of the request that is being answered, whichever strategy comes first."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._searches: RequestSearches | None = None

    def for_request(self, state: InMemoryState, person: int, now: float) -> RequestSearches:
        """Return the searches of this request: none are left as soon as anything has been learnt."""
        key = (id(state), state.learnt, person, now)
        if self._searches is None or key != self._key:
            self._key, self._searches = key, RequestSearches(state, person, now)
        return self._searches


class RequestSearches:
    """The searches of one request: strategies that search alike share the hits."""

    def __init__(self, state: InMemoryState, person: int, now: float) -> None:
        state.settle()
        self._state, self._now = state, now
        self._person, self._blocked = person, state.seen(person)
        self._done: dict[Hashable, list[Hit]] = {}

    def run(self, plan: RetrievalPlan, settings: RankingSettings, k: int) -> dict[str, list[Hit]]:
        """Search every source for a list of k: what the person has seen is left out first, then come the best."""
        depth, catalogue = search_depth(settings, k), self._state.catalogue
        order = order_depth(settings, k)
        keys: dict[str, Hashable] = {name: (depth, vector.tobytes()) for name, vector in plan.dense.items()}
        new = [name for name, key in keys.items() if key not in self._done]
        if new:
            similarities = catalogue.similarities([plan.dense[name] for name in new])
            for name, scores in zip(new, similarities, strict=True):
                self._done[keys[name]] = self._top(scores, depth)
        if plan.affinity is not None:
            indices, values = plan.affinity.indices, plan.affinity.values
            keys["affinity"] = (depth, indices.tobytes(), values.tobytes())
            if keys["affinity"] not in self._done:
                scores = catalogue.affinity.scores(indices, values)
                # Rows that share nothing with the query aren't found by it.
                self._done[keys["affinity"]] = self._top(np.where(scores > 0, scores, -np.inf), depth)
        for name in plan.ordered:
            field = ORDERED[name].format(window=settings.trending_window)
            keys[name] = (order, field)
            if keys[name] not in self._done:
                self._done[keys[name]] = self._top(catalogue.ordered(field, self._now), order)
        if plan.weights.get("people", 0.0) > 0:
            keys["people"] = (depth, "people")
            if keys["people"] not in self._done:
                self._done[keys["people"]] = self._chosen_by_neighbours(SIMILAR_PEOPLE, depth)
        return {name: self._done[key] for name, key in keys.items()}

    def _chosen_by_neighbours(self, people: int, depth: int) -> list[Hit]:
        """Find what the people with the most similar history chose lately: the sum of their similarities, by item."""
        catalogue, seen = self._state.catalogue, set(self._blocked.tolist())
        neighbours = self._state.neighbours(self._person, people)
        best = score_by_neighbours(neighbours, lambda item_id: catalogue.place_of[item_id] in seen)[:depth]
        return [
            Hit(item_id, score, catalogue.payload(catalogue.place_of[item_id], self._now)) for item_id, score in best
        ]

    def _top(self, scores: NDArray[np.floating], depth: int) -> list[Hit]:
        catalogue = self._state.catalogue
        places = top(scores, depth, self._blocked)
        return [
            Hit(catalogue.item_ids[place], score, catalogue.payload(place, self._now))
            for place, score in zip(places.tolist(), scores[places].tolist(), strict=True)
        ]
