"""Diversity: the list is the one that maximal marginal relevance over all candidates makes, however it is found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

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


def divergence(mix: Mapping[str, float], listed: Sequence[str]) -> float:
    """Steck's, as it is defined."""
    q = {name: 0.99 * listed.count(name) / len(listed) + 0.01 * share for name, share in mix.items()}
    return sum(share * math.log(share / q[name]) for name, share in mix.items())


def calibrated(these: Candidates, mix: Mapping[str, float], weight: float) -> list[str]:
    """The definition: at every place whatever makes the sum of the list's relevance and its divergence best."""
    relevance = {one.item_id: one.score for one in rank(these, BY_TASTE, _options(len(these)))}
    best, categories = max(relevance.values()), dict(zip(these.item_ids, map(_category, these.payloads), strict=True))
    chosen: list[str] = []

    def value(item: str) -> float:
        diverging = divergence(mix, [categories[one] for one in (*chosen, item)])
        return (1 - weight) * relevance[item] / best - weight * diverging

    while len(chosen) < LIMIT:
        chosen.append(max((item for item in relevance if item not in chosen), key=value))
    return chosen


def _category(payload: Mapping[str, Any]) -> str:
    return str(payload["meta"]["category"])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_a_calibrated_list_is_the_definitions(seed: int, weight: float) -> None:
    these, mix = candidates(120, seed), {"c0": 0.6, "c2": 0.3, "elsewhere": 0.1}
    listed = rank(these, replace(BY_TASTE, mix=mix), replace(_options(LIMIT), calibration=weight))
    assert [one.item_id for one in listed] == calibrated(these, mix, weight)


def test_a_list_that_is_wholly_calibrated_has_the_persons_mix() -> None:
    mix = {"c0": 0.5, "c1": 0.3, "c2": 0.2}
    listed = rank(candidates(120, 0), replace(BY_TASTE, mix=mix), replace(_options(LIMIT), calibration=1.0))
    assert Counter(map(_category, (one.payload for one in listed))) == {"c0": 5, "c1": 3, "c2": 2}


@pytest.mark.parametrize("mix", [None, {"elsewhere": 1.0}])
def test_a_mix_of_nothing_that_is_there_changes_nothing(mix: Mapping[str, float] | None) -> None:
    these = candidates(120, 0)
    listed = rank(these, replace(BY_TASTE, mix=mix), replace(_options(LIMIT), calibration=0.5))
    assert [one.item_id for one in listed] == [one.item_id for one in rank(these, BY_TASTE, _options(LIMIT))]


def test_a_diverse_and_calibrated_list_is_neither_alike_nor_lopsided() -> None:
    these, mix = candidates(120, 1), {"c0": 0.5, "c1": 0.5}
    plan, options = replace(BY_TASTE, mix=mix), replace(_options(LIMIT, diversity=0.3), calibration=0.5)

    def measured(options: RankOptions) -> tuple[float, float]:
        rows = [list(these.item_ids).index(one.item_id) for one in rank(these, plan, options)]
        known = np.array([these.vectors[row] for row in rows if these.vectors[row] is not None])
        pairs = (known @ known.T)[~np.eye(len(known), dtype=np.bool_)]
        return float(pairs.mean()), divergence(mix, [_category(these.payloads[row]) for row in rows])

    alike, lopsided = measured(options)
    assert alike < measured(replace(options, diversity=0.0))[0]
    assert lopsided < measured(replace(options, calibration=0.0))[1]
