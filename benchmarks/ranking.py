"""What the ranking itself takes, without the store: `python benchmarks/ranking.py [candidates] [--rounds N]`.

Candidates of every source are ranked into a list of 20, with more and more of what varies a list. The floor is what any
ranking has to do with the same columns: blend them by their weights and sort (numpy). Times are the thread's own on the
processor, of one list each, interleaved, so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from eddyline.model.decay import add_to_decayed_count
from eddyline.model.filters import matcher, parse_filter
from eddyline.model.ids import Person, item_dimension
from eddyline.model.ranking import (
    ORDERED,
    AffinityQuery,
    Candidates,
    Hit,
    RankOptions,
    RetrievalPlan,
    ScoreBoost,
    merge_candidates,
    rank,
    rank_options,
)
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau
from eddyline.settings import STRATEGIES, RankingSettings

NOW = 1_790_000_000.0
DIMENSION, CATEGORIES, LIMIT = 384, 20, 20
SOURCES = ("taste", "lifetime", "session", "onboarding", "affinity", "people")
STRATEGY = STRATEGIES["eddyline"].model_copy(update={"people": 0.2})
PLAN_WEIGHTS = dict.fromkeys((*SOURCES, *ORDERED), 0.2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("candidates", type=int, nargs="?", default=500)
    arguments.add_argument("--rounds", type=int, default=500)
    given = arguments.parse_args()
    random = np.random.default_rng(1)
    lists = _lists(given.candidates, random)
    candidates = merge_candidates(lists, given.candidates, unscored=ORDERED)
    plan = _plan(random)
    works: dict[str, Callable[[], object]] = {"floor": _floor(candidates)}
    works |= {name: _ranking(candidates, plan, options) for name, options in _ways(plan, candidates).items()}
    works["gather"] = lambda: merge_candidates(lists, given.candidates, unscored=ORDERED)
    taken = _timed(works, given.rounds)
    print(f"{len(candidates)} candidates of {len(lists)} sources into a list of {LIMIT}, {given.rounds} rounds")
    print(f"{'':44}{'median':>9}{'p99':>9}  ms")
    for name, milliseconds in taken.items():
        middle, high = np.percentile(milliseconds, (50, 99))
        print(f"{name:44}{middle:9.3f}{high:9.3f}")


def _lists(count: int, random: np.random.Generator) -> dict[str, list[Hit]]:
    """Every source lists a part of the items, so that together they are `count`."""
    items = [_item(number, random) for number in range(count)]
    lists = {}
    for name in (*SOURCES, *ORDERED):
        scores = np.sort(random.random(count // 3))[::-1]
        places = random.permutation(count)[: len(scores)]
        lists[name] = [items[place]._replace(score=float(score)) for place, score in zip(places, scores, strict=True)]
    # What no source drew is new, so that nothing is missing.
    listed = {one.item_id for found in lists.values() for one in found}
    lists["freshness"] += [one for one in items if one.item_id not in listed]
    return lists


def _item(number: int, random: np.random.Generator) -> Hit:
    vector = random.normal(size=DIMENSION).astype(np.float32)
    people = float(random.pareto(1.0))
    payload = {
        "item_id": f"item-{number}",
        "meta": {"title": f"Title {number}", "category": f"c{number % CATEGORIES}", "url": f"https://films/{number}"},
        "listed_at": NOW - float(random.exponential(30 * 86_400)),
        "trend": {window: add_to_decayed_count(None, people, NOW, trend_tau(window)) for window in TREND_HALF_LIVES},
    }
    return Hit(f"item-{number}", 0.0, payload, vector / np.linalg.norm(vector))


def _plan(random: np.random.Generator) -> RetrievalPlan:
    dense = {name: random.normal(size=DIMENSION) for name in ("taste", "lifetime", "session", "onboarding")}
    recents = {f"item-{number}": 0.9**number for number in range(50)}
    indices = np.asarray([item_dimension(item_id) for item_id in recents], dtype=np.uint32)
    query = AffinityQuery(indices, np.asarray(list(recents.values()), dtype=np.float32))
    return RetrievalPlan(dense, PLAN_WEIGHTS, {"affinity": query}, recents)


def _ways(plan: RetrievalPlan, candidates: Candidates) -> Mapping[str, RankOptions]:
    """The same request with more and more of what varies a list."""
    usual = rank_options(plan, STRATEGY, RankingSettings(), NOW, LIMIT, Person("u", "ada"))
    fatigue = dict.fromkeys(candidates.item_ids[::3], 1.5)
    boosts = tuple(ScoreBoost(matcher(parse_filter({"category": f"c{number}"}, {}, NOW)), 1.5) for number in range(2))
    hidden = frozenset(candidates.item_ids[::25])
    plain: dict[str, Any] = {"rotation": 0.0, "explore": 0.0, "diversity": 0.0}
    varied: dict[str, Any] = {"rotation": 0.1, "fatigue": fatigue, "boosts": boosts, "exclude": hidden}
    ways = {
        "terms alone": plain,
        "+ rotation, fatigue, 2 boosts, hidden items": plain | varied,
        "+ diversity": plain | varied | {"diversity": 0.3},
        "+ exploration and a cap per category": plain | varied | {"diversity": 0.3, "explore": 0.2, "per_category": 3},
    }
    return {name: replace(usual, **way) for name, way in ways.items()}


def _floor(candidates: Candidates) -> Callable[[], object]:
    columns = np.nan_to_num(np.stack(list(candidates.scores.values())))
    weights = np.asarray([PLAN_WEIGHTS[name] for name in candidates.scores])
    return lambda: np.argsort(-(weights @ columns), kind="stable")[:LIMIT]


def _ranking(candidates: Candidates, plan: RetrievalPlan, options: RankOptions) -> Callable[[], object]:
    return lambda: rank(candidates, plan, options)


def _timed(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round, by work."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + rounds // 10):
        for name, work in works.items():
            started = time.thread_time()
            work()
            if number >= rounds // 10:  # the first ones warm up
                taken[name].append((time.thread_time() - started) * 1e3)
    return taken


if __name__ == "__main__":
    main()
