r"""What to search for on someone's behalf, and how much each term weighs for them.

The weights adapt to what is known of the person:

- the *session activity* is $2^{-g/h}$, g being the time since their last event: 1 in the middle of a visit, 0 at its
  beginning. With it, every term's weight goes from the strategy's `session_start` weight to its running one;
- the session's weight is multiplied by W / (W + `SESSION_EVIDENCE`), W being its decayed evidence;
- the long-term share is behaviour's by known = E / (E + known_evidence), E being all evidence ever; the rest goes to
  the onboarding answers, where there are any;
- behaviour's part is the recent taste's by W / (W + min(`TASTE_EVIDENCE`, O)), O being the lifetime's evidence that the
  taste has forgotten; the rest is the lifetime's. So a person who comes back after months is still known, what they do
  now counts at once, and to someone new the two are the same.

The affinity query gives the k-th recent item j, newest first, the weight

$$\frac{activity \cdot 2^{-k/h} + s\,2^{-k/H}}{(popularity_j + 1)^d}$$

with the half-lives h and H in positions: in a running visit what came last counts most; at its start, what all of
the last visits have in common.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from eddyline.model.affinity import next_dimensions
from eddyline.model.decay import MINUTE, Vector
from eddyline.model.distance import Distance, distance_of, interest_vector, query_vector
from eddyline.model.ids import item_dimension
from eddyline.model.profile import Profile, TimeConstants
from eddyline.model.ranking.recent_items import (
    ImagePreference,
    PricePreference,
    RecentItemDetails,
    category_mix,
    image_preference,
    price_preference,
)
from eddyline.settings import RankingSettings, StrategySettings

DENSE = ("taste", "lifetime", "session", "onboarding")
"""Sources that are searched by a content vector."""
SEQUENTIAL = ("affinity", "next", "recent")
"""Sources that are searched in rows by the recent items."""
ORDERED: Mapping[str, str] = {"popularity": "trend.quarter", "trending": "trend.{window}", "freshness": "listed_at"}
"""Sources that are an order of the store's own, the same for everyone."""
ORDERED_CANDIDATES = 100
"""Candidates of each of these, at least. They cost little, since they are cached for everyone."""
RECENT_DETAILS = ("price", "image")
"""Terms that go by what the recent items cost and show."""

RECENT_HALF_LIFE, LASTING_HALF_LIFE = 2.0, 30.0
"""Positions after which a recent item's weight in the affinity query halves: its passing part, and its lasting one."""
REACH = 12
"""Newest recent items that the source `recent` is searched by."""
LASTING_WEIGHT = 0.13
"""The lasting part, beside 1. On a visit's first list it is all there is."""
SESSION_EVIDENCE = 1.5
"""Decayed evidence at which the session gets half of its weight."""
TASTE_EVIDENCE = 4.0
"""Decayed evidence at which the recent taste of someone known for long gets half of the long-term share."""
NEGLIGIBLE_SHARE = 0.01
"""Share of a weight at which it isn't worth a search: someone's recent taste is their lifetime's while they are new."""
SIMILAR_PEOPLE = 30
"""People with a similar history to look up, where `people` has a weight."""


@dataclass(frozen=True, slots=True)
class AffinityQuery:
    """A person's recent items as a sparse query: distinct dimensions, and their weights."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RetrievalPlan:
    """What to search the vector store for, and the weight of every term. `dense`: query vectors by source, for content
    that is compared by `distance`."""

    dense: Mapping[str, Vector]
    weights: Mapping[str, float]
    rows: Mapping[str, AffinityQuery] = field(default_factory=dict)
    """Queries of rows, by source."""
    recents: Mapping[str, float] = field(default_factory=dict)
    """Weight in the affinity query by recent item, newest first."""
    unused_affinity: float = 0.0
    """Weight that affinity would have, were there any recent item to search by."""
    session_activity: float = 0.0
    """1 in the middle of a visit, 0 at its beginning."""
    distance: Distance = Distance.COSINE
    is_learned: bool = False
    """Whether the weights are learnt: then so is what counts in affinity's place."""
    is_cold: bool = False
    """Whether nothing is known of the person, whatever the strategy makes of it: no behaviour and no answers."""
    prices: PricePreference | None = None
    """What the recent items cost, once the plan is `with_recent_items` and where `price` has a weight."""
    image: ImagePreference | None = None
    """What their images show, likewise."""
    is_calibrated: bool = False
    """Whether the list's categories go by those of the recent items."""
    mix: Mapping[str, float] | None = None
    """Share of each category among the recent items, likewise, where it is calibrated."""

    @property
    def closest(self) -> str | None:
        """The content search that weighs most, where there is any."""
        return max(self.dense, key=lambda name: self.weights[name], default=None)

    @property
    def needs_recent_details(self) -> bool:
        """Whether it matters what the recent items cost, show, or are about."""
        return bool(self.recents) and (self.is_calibrated or any(self.weights[name] > 0 for name in RECENT_DETAILS))

    @property
    def ordered(self) -> tuple[str, ...]:
        """The sources of `ORDERED` to read: always what is popular and what is new, so that no list is empty."""
        return tuple(name for name in ORDERED if self.weights[name] > 0 or name != "trending")


def plan_retrieval(
    profile: Profile | None,
    now: float,
    taus: TimeConstants,
    settings: RankingSettings,
    strategy: StrategySettings,
    factors: Mapping[str, float] = MappingProxyType({}),
) -> RetrievalPlan:
    """Decide what to search with, and how much each term weighs for this person at `now` (epoch seconds).

    `factors`: what the strategy's weights are multiplied by, by term.
    """
    gap = math.inf if profile is None else max(0.0, now - profile.last_seen)
    activity = 0.5 ** (gap / (settings.visit_half_life_minutes * MINUTE))
    weights = {name: weight * factors.get(name, 1.0) for name, weight in strategy.weights(activity).items()}
    if profile is None:
        return RetrievalPlan({}, {name: weights[name] for name in (*ORDERED, "rating")} | _EVERYONE, is_cold=True)
    dense: dict[str, Vector] = {}
    for name, (vector, weight) in {
        **_long_term(profile, now, taus, settings, weights.pop("taste")),
        **_session(profile, now, taus, weights.pop("session")),
    }.items():
        if weight > 0:
            dense[name], weights[name] = vector, weight
    recents = (
        _recents(profile, activity, settings)
        if strategy.calibration > 0 or any(weights[name] > 0 for name in (*SEQUENTIAL, *RECENT_DETAILS))
        else {}
    )
    rows = _row_queries(profile, recents, settings, weights)
    unused = 0.0
    if "affinity" not in rows:
        unused, weights["affinity"] = weights["affinity"], 0.0
    if not profile.seen.recents.entries:
        weights["people"] = 0.0
    distance = distance_of(profile.taste.space)
    return RetrievalPlan(
        dense, weights, rows, recents, unused, activity, distance, strategy.learned, _is_cold(profile),
        is_calibrated=strategy.calibration > 0,
    )  # fmt: skip


_EVERYONE = {"people": 0.0, "price": 0.0, "image": 0.0} | dict.fromkeys(SEQUENTIAL, 0.0)


def search_depth(settings: RankingSettings, limit: int) -> int:
    """Return how many items of each source to search for, for a list of `limit`: one source alone can fill it."""
    return max(settings.candidates, limit)


def order_depth(settings: RankingSettings, limit: int) -> int:
    """Return the same for the sources of `ORDERED`: a stranger's lists, which vary, are made of these alone."""
    return max(ORDERED_CANDIDATES, search_depth(settings, limit))


def with_recent_items(plan: RetrievalPlan, details: Mapping[str, RecentItemDetails]) -> RetrievalPlan:
    """Add what is known of its recent items to a plan; a term of which nothing is known has no weight."""
    prices = price_preference(plan.recents, details) if plan.weights["price"] > 0 else None
    image = image_preference(plan.recents, details) if plan.weights["image"] > 0 else None
    unknown = {name: 0.0 for name, known in (("price", prices), ("image", image)) if known is None}
    mix = category_mix(plan.recents, details) if plan.is_calibrated else None
    return replace(plan, prices=prices, image=image, mix=mix, weights={**plan.weights, **unknown})


def _is_cold(profile: Profile) -> bool:
    is_idle = not profile.seen.recents.entries and all(one.direction() is None for one in profile.taste.sums)
    return is_idle and profile.taste.onboarding is None


def _long_term(
    profile: Profile, now: float, taus: TimeConstants, settings: RankingSettings, weight: float
) -> dict[str, tuple[Vector, float]]:
    """Return query vector and weight of the taste, the lifetime and the onboarding answers, where there are any."""
    known = profile.taste.evidence / (profile.taste.evidence + settings.known_evidence)
    remembered = profile.taste.sums.taste.weight_at(now, taus.taste)
    distance = distance_of(profile.taste.space)
    forgotten = max(0.0, profile.taste.sums.lifetime.weight_at(now, taus.lifetime) - remembered)
    recent = _share(remembered, min(TASTE_EVIDENCE, forgotten))
    behaviour = {
        "taste": (interest_vector(profile.taste.sums.taste, distance), recent),
        "lifetime": (interest_vector(profile.taste.sums.lifetime, distance), 1.0 - recent),
    }
    present = {name: (vector, share) for name, (vector, share) in behaviour.items() if vector is not None and share > 0}
    if profile.taste.onboarding is None:
        known = 1.0
    elif not present:
        known = 0.0
    heard = {name: (vector, share) for name, (vector, share) in present.items() if share > NEGLIGIBLE_SHARE} or present
    total = sum(share for _, share in heard.values())
    found = {name: (vector, weight * known * share / total) for name, (vector, share) in heard.items()}
    if profile.taste.onboarding is not None and known < 1.0:
        found["onboarding"] = (query_vector(profile.taste.onboarding, distance), weight * (1.0 - known))
    return found


def _session(profile: Profile, now: float, taus: TimeConstants, weight: float) -> dict[str, tuple[Vector, float]]:
    vector = interest_vector(profile.taste.sums.session, distance_of(profile.taste.space))
    share = _share(profile.taste.sums.session.weight_at(now, taus.session), SESSION_EVIDENCE)
    return {"session": (vector, weight * share)} if vector is not None and share > NEGLIGIBLE_SHARE else {}


def _recents(profile: Profile, activity: float, settings: RankingSettings) -> dict[str, float]:
    """Weigh each recent item, newest first."""
    item_ids = profile.seen.recents.newest_first()
    passing, lasting = _positional_parts(len(item_ids))
    popularity = np.array([profile.seen.popularity.get(item_id, 0.0) for item_id in item_ids])
    weights = (activity * passing + lasting) / (popularity + 1.0) ** settings.popularity_damping
    return {item_id: weight for item_id, weight in zip(item_ids, weights.tolist(), strict=True) if weight > 0}


@lru_cache(maxsize=1024)
def _positional_parts(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the passing part of each position's weight and the lasting one, read-only."""
    positions = np.arange(count)
    parts = 0.5 ** (positions / RECENT_HALF_LIFE), LASTING_WEIGHT * 0.5 ** (positions / LASTING_HALF_LIFE)
    for part in parts:
        part.setflags(write=False)
    return parts


def _row_queries(
    profile: Profile, recents: Mapping[str, float], settings: RankingSettings, weights: Mapping[str, float]
) -> dict[str, AffinityQuery]:
    """Build the queries of those sequential sources that have a weight, newest recent item first."""
    newest = profile.seen.recents.newest_first()
    if not newest:
        return {}
    queries = {}
    if weights["affinity"] > 0 and recents:
        length = math.fsum(recents.values())
        queries["affinity"] = _row_query({item_id: weight / length for item_id, weight in recents.items()})
    if weights["next"] > 0:
        queries["next"] = AffinityQuery(next_dimensions(np.array([item_dimension(newest[0])], np.uint32)), _ONE)
    if weights["recent"] > 0:
        queries["recent"] = _row_query(
            {
                item_id: 0.5 ** (position / RECENT_HALF_LIFE)
                / (profile.seen.popularity.get(item_id, 0.0) + 1.0) ** settings.popularity_damping
                for position, item_id in enumerate(newest[:REACH])
            }
        )
    return queries


_ONE = np.ones(1, np.float32)


def _row_query(weights: Mapping[str, float]) -> AffinityQuery:
    summed: dict[int, float] = {}
    for item_id, weight in weights.items():
        dimension = item_dimension(item_id)
        summed[dimension] = summed.get(dimension, 0.0) + weight
    return AffinityQuery(
        np.fromiter(summed.keys(), dtype=np.uint32, count=len(summed)),
        np.fromiter(summed.values(), dtype=np.float32, count=len(summed)),
    )


def _share(weight: float, half: float) -> float:
    return weight / (weight + half) if weight > 0 else 0.0
