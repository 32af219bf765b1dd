r"""Fusion: several lists of items into one order, each item with the terms that made it. Pure.

Two ways, for two cases:

- `fuse_lists`, where the lists' scores have nothing in common (a cosine, a count of people): each list is brought to
  0…1 by its own ends, min-max: $(s - floor) / (best - floor)$, 0 for what isn't on it. Recommendations do the same,
  so terms mean the same everywhere and add up to the score; reciprocal ranks would lose how far the first is ahead.
- `rerank_by_interest`, where they are similarities of one space: these are in one unit already, so the score is
  $(1 - share) sim(query, x) + share \sum_k w_k sim(v_k, x)$ and depends on no other item: it is the same on every
  page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import Vector
from eddyline.model.distance import Distance, distance_of, interest_vector, query_vector, similarities
from eddyline.model.profile import Profile, TimeConstants
from eddyline.model.ranking import SESSION_EVIDENCE, Hit, RankedItem, merge_candidates

RELEVANCE = "relevance"


def fuse_lists(
    lists: Mapping[str, Sequence[Hit]],
    weights: Mapping[str, float],
    depth: int,
    floors: Mapping[str, float] = MappingProxyType({}),
) -> list[RankedItem]:
    """Return the union of the sources' lists, each at most `depth` long, best first; equal scores by their ids.

    `floors`: the score that counts as zero, by source, where it isn't that of a full list's end.
    """
    lists = {source: hits for source, hits in lists.items() if hits}
    candidates = merge_candidates(lists, depth)
    candidates = replace(candidates, floors={**candidates.floors, **floors})
    terms = {source: weights[source] * candidates.normalised(source) for source in lists}
    rounded = {source: np.round(column, 6) for source, column in terms.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6) if rounded else np.zeros(0)
    order = sorted(range(len(candidates)), key=lambda row: (-scores[row], candidates.item_ids[row]))
    return [_ranked_item(candidates.item_ids[row], candidates.payloads[row], scores, rounded, row) for row in order]


@dataclass(frozen=True, slots=True)
class InterestVectors:
    """A person's interest: query vectors by name, and their weights, which add up to 1."""

    vectors: Mapping[str, Vector]
    weights: Mapping[str, float]
    distance: Distance = Distance.COSINE


def interest_vectors(profile: Profile, now: float, taus: TimeConstants) -> InterestVectors | None:
    """Return the vectors of the running session and of all that the person has liked, or of their answers while there
    is nothing else.

    The session's share is s / (1 + s) with s = W / (W + `SESSION_EVIDENCE`), so a half at most. None where nothing
    points anywhere.
    """
    distance = distance_of(profile.taste.space)
    sums = profile.taste.sums
    session, lasting = interest_vector(sums.session, distance), interest_vector(sums.lifetime, distance)
    weight = sums.session.weight_at(now, taus.session)
    strength = weight / (weight + SESSION_EVIDENCE) if session is not None else 0.0
    answers = None if profile.taste.onboarding is None else query_vector(profile.taste.onboarding, distance)
    taste = answers if lasting is None else lasting
    parts = {"session": (session, strength), "taste": (taste, 0.0 if taste is None else 1.0)}
    total = sum(part for _, part in parts.values())
    if total < 0.01:
        return None
    present = {name: (vector, part / total) for name, (vector, part) in parts.items() if vector is not None and part}
    return InterestVectors(
        {name: vector for name, (vector, _) in present.items()},
        {name: part for name, (_, part) in present.items()},
        distance,
    )


def rerank_by_interest(hits: Sequence[Hit], interest: InterestVectors, share: float) -> list[RankedItem]:
    """Return relevant items in the order that suits a person, best first; equal scores in the order of their ids.

    `hits`: with each item's similarity to the query as its score, and its vector; `share`: the person's part of the
    score, 0…1.
    """
    if not hits:
        return []
    vectors = np.asarray([hit.vector for hit in hits], dtype=np.float64)
    terms: dict[str, NDArray[np.floating]] = {RELEVANCE: (1.0 - share) * np.asarray([hit.score for hit in hits])}
    for name, vector in interest.vectors.items():
        terms[name] = share * interest.weights[name] * similarities(vector, vectors, interest.distance)
    rounded = {name: np.round(column, 6) for name, column in terms.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6)
    exact = np.sum(list(terms.values()), axis=0)
    order = sorted(range(len(hits)), key=lambda row: (-exact[row], hits[row].item_id))
    return [_ranked_item(hits[row].item_id, hits[row].payload, scores, rounded, row) for row in order]


def _ranked_item(
    item_id: str,
    payload: Mapping[str, Any],
    scores: NDArray[np.floating],
    terms: Mapping[str, NDArray[np.floating]],
    row: int,
) -> RankedItem:
    return RankedItem(
        item_id, float(scores[row]), payload, {name: float(column[row]) for name, column in terms.items()}
    )
