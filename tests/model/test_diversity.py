"""Diversity: the list is the one that maximal marginal relevance over all candidates makes, however it is found."""

from __future__ import annotations

import numpy as np
import pytest

from eddyline.model.ranking import Candidates, Hit, RankOptions, RetrievalPlan, merge_candidates, rank
from eddyline.settings import RankingSettings

NOW, LIMIT = 1_790_000_000.0, 10
RANKING = RankingSettings()
BY_TASTE = RetrievalPlan(
    {"taste": np.ones(1)},
    {"taste": 1.0, "affinity": 0.0, "people": 0.0, "popularity": 0.0, "trending": 0.0, "freshness": 0.0},
)


def candidates(count: int, seed: int) -> Candidates:
    """Most are in a few crowds that look alike; some have no vector."""
    random = np.random.default_rng(seed)
    crowds = random.normal(size=(4, 8))
    vectors = crowds[random.integers(4, size=count)] + random.normal(scale=0.2, size=(count, 8))
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    scores = np.sort(random.random(count) ** 2)[::-1]
    found = [
        Hit(f"i{n:03}", float(scores[n]), {"meta": {"category": f"c{n % 3}"}}, None if n % 17 == 5 else units[n])
        for n in range(count)
    ]
    return merge_candidates({"taste": found}, count + 1)


def plainly(these: Candidates, diversity: float, per_category: int | None) -> list[str]:
    """The definition, over all candidates at every place."""
    relevance = {one.item_id: one.score for one in rank(these, BY_TASTE, _options(len(these)))}
    best = max(relevance.values())
    at = {item: place for place, item in enumerate(these.item_ids)}
    chosen: list[str] = []

    def key(item: str) -> float:
        likeness = 0.0
        for other in chosen:
            one, two = these.vectors[at[item]], these.vectors[at[other]]
            if one is not None and two is not None:
                likeness = max(likeness, float(one @ two))
        return (1 - diversity) * relevance[item] / best - diversity * likeness

    def category(item: str) -> str:
        return str(these.payloads[at[item]]["meta"]["category"])

    while len(chosen) < LIMIT:
        full = [c for c in ("c0", "c1", "c2") if sum(category(item) == c for item in chosen) == per_category]
        left = [item for item in relevance if item not in chosen and category(item) not in full]
        if not left:
            break
        chosen.append(max(left, key=key))
    return chosen


def _options(limit: int, diversity: float = 0.0, per_category: int | None = None) -> RankOptions:
    return RankOptions(NOW, RANKING, limit, diversity=diversity, per_category=per_category)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("diversity", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("per_category", [None, 2, 4])
def test_a_diverse_list_is_the_definitions(seed: int, diversity: float, per_category: int | None) -> None:
    these = candidates(120, seed)
    listed = rank(these, BY_TASTE, _options(LIMIT, diversity, per_category))
    assert [one.item_id for one in listed] == plainly(these, diversity, per_category)
