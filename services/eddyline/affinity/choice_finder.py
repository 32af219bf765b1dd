"""The choices that learned strategies are fitted to: what the sources had found for a person just before they chose.

An activity that is of the sample carries the profile as it was before it. Its choice is found before its row is
written, so what is learnt of it can't count for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from eddyline.adapters.vectors import (
    Collections,
    Filter,
    HasId,
    Match,
    Nearest,
    OrderBy,
    Query,
    Scored,
    Sparse,
    VectorStore,
)
from eddyline.model.events import Activity
from eddyline.model.filters import servable_items
from eddyline.model.ids import item_point_id
from eddyline.model.profile import Profile, TimeConstants, unpack_profile
from eddyline.model.ranking import ORDERED, Hit, RetrievalPlan, merge_candidates
from eddyline.model.ranking.blend import Choice
from eddyline.model.ranking.choices import SOMEONE, plan_choice, to_choice
from eddyline.settings import ProfileSettings, RankingSettings

HIDDEN = 500
"""Newest items that the person has seen, which their lists leave out."""
ROW_SECONDS = 30.0
"""How old may be what is known of a row: as old as what lists are ranked by."""
CACHED_ROWS = 20_000
_RANKED_BY = ("item_id", "trend", "listed_at")
"""What ranking reads of a row."""


class ChoiceFinder:
    """Finds choices in the store. All calls come from the consume loop's thread; they raise `Unavailable`."""

    def __init__(
        self,
        store: VectorStore,
        collections: Collections,
        ranking: RankingSettings,
        profiles: ProfileSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._collections, self._ranking, self._profiles = store, collections, ranking, profiles
        self._taus = TimeConstants.from_settings(profiles)
        self._monotonic = monotonic
        self._rows: dict[str, tuple[float, Mapping[str, Any]]] = {}
        """By point id: when it was read, and its payload."""

    def find(self, activity: Activity) -> Choice | None:
        """Return the choice behind an activity; None where it isn't of the sample, or nothing can be learnt of it."""
        if activity.before is None:
            return None
        before = activity.before
        profile = unpack_profile(SOMEONE, before.payload, before.vectors, self._profiles)
        plan = plan_choice(profile, activity.timestamp, self._taus, self._ranking)
        found = self._search(plan, profile, activity.timestamp)
        candidates = merge_candidates(found, self._ranking.candidates, unscored=ORDERED)
        if activity.item_id not in candidates.item_ids:
            return None
        chosen = list(candidates.item_ids).index(activity.item_id)
        return to_choice(candidates, plan, chosen, self._ranking, activity.timestamp)

    def _search(self, plan: RetrievalPlan, profile: Profile, now: float) -> dict[str, list[Hit]]:
        """Run the queries of a plan; return each source's hits with what ranking reads of them."""
        depth = self._ranking.candidates
        hidden = tuple(item_point_id(item_id) for item_id in profile.seen.viewed.newest(HIDDEN).entries)
        servable = servable_items(now) & (Filter(must_not=(HasId(hidden),)) if hidden else Filter())
        space = profile.taste.space
        in_space = servable & (Filter(must=(Match("space", (space,)),)) if space else Filter())
        items = {
            name: Query(Nearest(np.asarray(vector, np.float32), "content", plan.distance), depth, in_space)
            for name, vector in plan.dense.items()
        }
        rows = {
            name: Query(Nearest(Sparse(query.indices, query.values), "affinity"), depth, servable)
            for name, query in plan.rows.items()
        }
        window = self._ranking.trending_window
        rows |= {name: Query(OrderBy(ORDERED[name].format(window=window)), depth, servable) for name in plan.ordered}
        found = self._run(self._collections.items, items) | self._run(self._collections.rows, rows)
        payloads = self._payloads({point.id for points in found.values() for point in points})
        return {name: list(_hits(points, payloads)) for name, points in found.items()}

    def _payloads(self, ids: set[str]) -> dict[str, Mapping[str, Any]]:
        """Return what is known of rows. Reading them is the larger part of a choice: they are kept for a while."""
        now = self._monotonic()
        missing = sorted(id for id in ids if id not in self._rows or now - self._rows[id][0] >= ROW_SECONDS)
        if missing:
            if len(self._rows) + len(missing) > CACHED_ROWS:
                self._rows = {id: self._rows[id] for id in ids if id in self._rows}
            stored = self._store.retrieve(self._collections.rows, missing, payload=_RANKED_BY)
            for id in missing:
                self._rows.pop(id, None)
            self._rows |= {id: (now, point.payload) for id, point in stored.items()}
        return {id: self._rows[id][1] for id in ids if id in self._rows}

    def _run(self, collection: str, queries: Mapping[str, Query]) -> dict[str, list[Scored]]:
        if not queries:
            return {}
        return dict(zip(queries, self._store.query(collection, list(queries.values())), strict=True))


def _hits(points: Iterable[Scored], payloads: Mapping[str, Mapping[str, object]]) -> Iterable[Hit]:
    for point in points:
        if (payload := payloads.get(point.id)) is not None:
            yield Hit(str(payload["item_id"]), point.score, payload)
