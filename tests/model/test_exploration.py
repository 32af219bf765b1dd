"""Exploration: what suits the person and few know is tried, in a share of a list's places, the same for one seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eddyline.model.decay import DAY
from eddyline.model.ranking import Hit, RankOptions, RetrievalPlan, merge_candidates, rank
from eddyline.model.ranking.exploration import KNOWN
from eddyline.model.ranking.seeded_random import gamma_draws, item_hashes
from eddyline.settings import RankingSettings

NOTHING = {"affinity": 0.0, "people": 0.0, "popularity": 0.0, "trending": 0.0, "freshness": 0.0}
BY_AFFINITY = RetrievalPlan({}, NOTHING | {"affinity": 1.0})
LISTS, NOW = 300, 1e9


def tried(sources: dict[str, dict[str, float]], chosen: dict[str, int], lists: int = LISTS) -> Counter[str]:
    """Count what is tried in many people's lists. `sources`: each one's scores; `chosen`: how often, 0 where unsaid."""
    found = {
        name: [Hit(item, score, {"trend": {"count": chosen.get(item, 0)}}) for item, score in scores.items()]
        for name, scores in sources.items()
    }
    candidates = merge_candidates(found, 1000)
    ways = (RankOptions(NOW, RankingSettings(), 10, explore=0.3, seed=seed) for seed in range(lists))
    return Counter(one.item_id for way in ways for one in rank(candidates, BY_AFFINITY, way) if one.explored)


HITS = {f"hit{n:02}": 100.0 - n for n in range(20)}
OFTEN = dict.fromkeys(HITS, 1000)


def test_what_is_close_to_the_person_is_tried_rather_than_what_is_not() -> None:
    news = {f"new{n:02}": 1.0 - n / 20 for n in range(20)}
    counts = tried({"affinity": HITS, "session": news}, OFTEN)
    assert sum(counts[f"new{n:02}"] for n in range(5)) > 5 * sum(counts[f"new{n:02}"] for n in range(15, 20))
    assert counts.total() > LISTS


def test_the_less_is_known_of_an_item_the_more_it_is_tried() -> None:
    news = {f"new{n}": 0.5 for n in range(6)} | {"end": 0.0}
    counts = tried({"affinity": HITS, "session": news}, OFTEN | {"new0": 60, "new1": 60, "end": 1000})
    assert max(counts["new0"], counts["new1"]) < min(counts[f"new{n}"] for n in range(2, 6)) / 2


def test_what_came_today_is_tried_rather_than_what_nobody_has_wanted_for_months() -> None:
    found = {
        "affinity": [Hit(item, score, {"trend": {"count": 1000}}) for item, score in HITS.items()],
        "session": [
            Hit(f"item{n}", 0.5, {"trend": {"count": 0}, "listed_at": NOW - DAY * (0 if n < 3 else 90)})
            for n in range(6)
        ],
    }
    candidates = merge_candidates(found, 1000)
    ways = (RankOptions(NOW, RankingSettings(), 10, explore=0.3, seed=seed) for seed in range(LISTS))
    counts = Counter(one.item_id for way in ways for one in rank(candidates, BY_AFFINITY, way) if one.explored)
    today, old = (sum(counts[f"item{n}"] for n in part) for part in (range(3), range(3, 6)))
    assert 0 < old < today / 2


def test_new_items_that_suit_alike_are_tried_alike() -> None:
    """Each has its fair chance: no item has to wait for another one's first clicks."""
    counts = tried({"affinity": HITS, "freshness": dict.fromkeys((f"new{n}" for n in range(10)), 0.0)}, OFTEN, 1000)
    assert counts.total() == pytest.approx(1000 * 0.3 * 8, rel=0.1)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_what_enough_have_chosen_is_not_tried_and_its_place_goes_to_the_best() -> None:
    known = {"old": KNOWN, "older": 10 * KNOWN}
    candidates = {"affinity": HITS, "session": dict.fromkeys(known, 1.0)}
    assert not tried(candidates, OFTEN | known)
    found = [Hit(item, score, {"trend": {"count": 1000}}) for item, score in HITS.items()]
    way = RankOptions(NOW, RankingSettings(), 10, explore=1.0)
    listed = [one.item_id for one in rank(merge_candidates({"affinity": found}, 1000), BY_AFFINITY, way)]
    assert listed == list(HITS)[:10]


@pytest.mark.parametrize("shape", [3.0, 10.0, 100.0])
def test_draws_are_of_the_gamma_distribution(shape: float) -> None:
    hashes = item_hashes([f"i{n}" for n in range(40_000)])
    draws = gamma_draws(hashes, 7, "it", np.full(40_000, shape))
    exact = np.random.default_rng(1).gamma(shape, 1.0 / shape, 400_000)
    parts = (0.01, 0.1, 0.5, 0.9, 0.99)
    assert np.quantile(draws, parts) == pytest.approx(np.quantile(exact, parts), rel=0.06)
    assert draws.mean() == pytest.approx(1.0, abs=0.02)
    assert (draws == gamma_draws(hashes, 7, "it", np.full(40_000, shape))).all()
    assert abs(np.corrcoef(draws, gamma_draws(hashes, 8, "it", np.full(40_000, shape)))[0, 1]) < 0.02
