"""A search for better weights on a part of a log that the report doesn't use.

The last part is what is reported on, so it must not be searched on: the search is given a log that ends before it.
Half of the trials vary all weights at once at random, the others change one at a time, from the best so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.prequential import EvaluationRun
from eddyline.evaluation.strategy_comparison import Contender, Evaluation
from eddyline.settings import TERMS

RANKING = ("popularity_damping", "visit_half_life_minutes")
"""Settings of the ranking that are searched, beside a strategy's weights."""
WEIGHTS = tuple(name for name in TERMS if name not in ("people", "rating", "price", "image"))
"""Weights that are searched: not of what takes long, nor of ratings and prices, which are today's and not those of when
things happened, nor of pictures, which a log has none of."""
SPREAD = 0.5
"""Standard deviation of the logarithm of a random factor."""
STEP = 1.6
"""Factor of one step, either way."""
TRIED = 0.3
"""What a weight of zero is tried with, as a share of the largest."""
DROPPED, ADDED = 0.15, 0.35
"""How often a weight is left out, and one of zero put in, at random."""
AT_ONCE = 8
"""Single steps that are tried in one run of the log."""
PAUSE_SHARE = 0.25
"""What the first list after a pause counts for: there are few, and they matter."""

WeightPoint = dict[tuple[str, ...], float]
"""A value by its place: (section, name), or ("strategy", "session_start", term)."""


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The best contender that was found, its score (1 is what the contender had before), and how many were tried."""

    contender: Contender
    score: float
    trials: int


def tune(
    evaluation: Evaluation, base: Contender, begin: int, trials: int, seed: int, progress: ProgressListener
) -> TuningResult:
    """Search from place `begin` of a log to its end. `trials` counts what is tried, the contender itself not."""
    random = np.random.default_rng(seed)
    search = _WeightSearch(evaluation, base, begin, progress)
    start = point_of(base)
    search.try_all([start])
    search.try_all([_varied(start, random) for _ in range(trials // 2)])
    while search.tried <= trials:
        before, places = search.best, list(start)
        random.shuffle(places)
        for first in range(0, len(places), AT_ONCE // 2):
            steps = [step for place in places[first : first + AT_ONCE // 2] for step in _steps(search.best, place)]
            search.try_all(steps[: trials + 1 - search.tried])
        if search.best == before:
            break
    return TuningResult(moved(base, search.best), search.score, search.tried - 1)


class _WeightSearch:
    """The best of what was tried so far, and its score."""

    def __init__(self, evaluation: Evaluation, base: Contender, begin: int, progress: ProgressListener) -> None:
        self._evaluation, self._base, self._begin, self._progress = evaluation, base, begin, progress
        self._reference: Mapping[str, float] | None = None
        self.tried, self.score, self.best = 0, -math.inf, point_of(base)

    def try_all(self, points: Sequence[WeightPoint]) -> None:
        """Run the log once with all of these."""
        if not points:
            return
        named = {str(index): moved(self._base, point) for index, point in enumerate(points)}
        answered = self._evaluation.run(named, self._begin, self._progress, f"trial {self.tried}")
        self.tried += len(points)
        for index, point in enumerate(points):
            values = _values(answered, str(index))
            self._reference = self._reference or values
            score = _score(values, self._reference)
            if score > self.score:
                self.score, self.best = score, point


def _values(answered: EvaluationRun, name: str) -> dict[str, float]:
    """Mean nDCG@k of all requests, and of the first ones after a pause."""
    ndcg = answered.lists[name].means()["ndcg"]
    masks = {part: answered.slices[part] for part in ("all", "after a pause")}
    return {part: float(ndcg[mask].mean()) for part, mask in masks.items() if mask.any()}


def _score(values: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Relative to the reference; a part that hit nothing there doesn't count."""
    shares = {"all": 1.0 - PAUSE_SHARE, "after a pause": PAUSE_SHARE}
    parts = [part for part in values if reference[part] > 0]
    total = sum(shares[part] for part in parts)
    return sum(shares[part] * values[part] / reference[part] for part in parts) / total if total else 0.0


def point_of(contender: Contender) -> WeightPoint:
    """List all that is searched, with its present values."""
    point: WeightPoint = {("strategy", name): getattr(contender.strategy, name) for name in WEIGHTS}
    point |= {("strategy", "session_start", name): value for name, value in contender.strategy.session_start.items()}
    return point | {("ranking", name): getattr(contender.ranking, name) for name in RANKING}


def moved(base: Contender, point: WeightPoint) -> Contender:
    """Return the contender with these values."""
    ranking = {place[1]: value for place, value in point.items() if place[0] == "ranking"}
    strategy: dict[str, Any] = {
        place[1]: value for place, value in point.items() if place[0] == "strategy" and len(place) == 2
    }
    session_start = {place[2]: value for place, value in point.items() if len(place) == 3}
    return Contender(
        base.ranking.model_validate(base.ranking.model_dump() | ranking),
        base.strategy.model_validate(base.strategy.model_dump() | strategy | {"session_start": session_start}),
    )


def _varied(point: WeightPoint, random: np.random.Generator) -> WeightPoint:
    """Move everything at random; now and then leave a weight out, or put one in."""
    varied = {}
    for place, value in point.items():
        factor, chance = math.exp(random.normal(0.0, SPREAD)), random.random()
        if place[0] == "strategy" and chance < (DROPPED if value > 0 else ADDED):
            varied[place] = 0.0 if value > 0 else _rounded(_first_tried(point) * factor**2)
        else:
            varied[place] = _rounded(value * factor)
    return varied


def _steps(point: WeightPoint, place: tuple[str, ...]) -> list[WeightPoint]:
    """Move one value a step up, and a step down."""
    value = point[place]
    moves = [value * STEP, value / STEP] if value > 0 else [_first_tried(point)]
    return [point | {place: _rounded(moved_to)} for moved_to in moves]


def _first_tried(point: WeightPoint) -> float:
    largest = max(value for place, value in point.items() if place[0] == "strategy")
    return _rounded(TRIED * (largest or 1.0))


def _rounded(value: float) -> float:
    """Round to three digits: what is printed is what was tried."""
    return float(f"{value:.3g}")


def as_toml(name: str, contender: Contender) -> str:
    """Write settings to paste: what was searched, with the values of this contender."""
    point = point_of(contender)
    tables: dict[str, list[str]] = {"ranking": [], f"strategies.{name}": [], f"strategies.{name}.session_start": []}
    names = {"ranking": "ranking", "strategy": f"strategies.{name}"}
    for place, value in point.items():
        table = names[place[0]] + (".session_start" if len(place) == 3 else "")
        tables[table].append(f"{place[-1]} = {float(value)!r}")
    return "\n".join("\n".join([f"[{table}]", *lines, ""]) for table, lines in tables.items() if lines)
