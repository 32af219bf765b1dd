r"""Better weights for a strategy, by gradient, on a part of a log that the report doesn't use.

The last part is what is reported on, so it must not be learnt from: tuning is given a log that ends before it. It runs
the log once and keeps, of each request whose item is among the candidates, what every term says of every candidate. A
candidate's score is linear in the weights, so with $x_{it}$ for what term t says of candidate i, the weights w minimise
the mean of

$$-\log \frac{e^{w \cdot x_c}}{\sum_i e^{w \cdot x_i}}$$

c being the item that came, by AdaGrad (Duchi, Hazan and Singer, JMLR 2011), projected to $w \ge 0$. Each term has two
weights, of a running visit and of a visit's start, between which a request goes by its session activity.

What affinity can't use and content gets instead (see `model.ranking.terms`) isn't linear, and isn't modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.strategy_comparison import Contender, Evaluation
from eddyline.evaluation.strategy_recommender import SearchCache, prepare_candidates
from eddyline.model.ranking import score_terms
from eddyline.model.ranking.blend import softmax
from eddyline.settings import TERMS, StrategySettings

WEIGHTS = tuple(name for name in TERMS if name not in ("hearsay", "stand_in", "people", "rating", "price", "image"))
"""Weights that are tuned: not of what takes long, nor of ratings and prices, which are today's and not those of when
things happened, nor of pictures, which a log has none of."""
PARTS: Mapping[str, tuple[str, ...]] = {"taste": ("taste", "lifetime", "onboarding")}
"""Terms of the score that share a weight, where it isn't one by the weight's own name."""
MAX_REQUESTS = 5000
EPOCHS, BATCH = 20, 32
STEP = 0.5
"""AdaGrad's step, beside weights that begin at `SHARPNESS`."""
SHARPNESS = 5.0
"""What the largest weight begins with: a list's order doesn't depend on it, the probabilities do."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TuningResult:
    """The tuned contender; the mean loss, in nats, with the former weights and with the tuned ones; of how many."""

    contender: Contender
    loss_before: float
    loss_after: float
    requests: int


def tune(evaluation: Evaluation, base: Contender, begin: int, seed: int, progress: ProgressListener) -> TuningResult:
    """Fit the weights of `base` to what came, from place `begin` of a log to its end.

    Raises `InvalidInput` where there is nobody to recommend to.
    """
    examples = _recorded(evaluation, base, begin, progress)
    start = _weights_of(base.strategy)
    start *= SHARPNESS / (start.max() or 1.0)
    if not examples:
        return TuningResult(base, float("nan"), float("nan"), 0)
    fitted = _fitted(examples, start, np.random.default_rng(seed))
    tuned = Contender(base.ranking, _with_weights(base.strategy, fitted))
    return TuningResult(tuned, _loss(examples, start), _loss(examples, fitted), len(examples))


@dataclass(frozen=True, slots=True)
class _Example:
    """What each of 2 T weights multiplies, (candidates, 2 T), and the row of the item that came."""

    values: NDArray[np.float32]
    came: int


def _recorded(evaluation: Evaluation, base: Contender, begin: int, progress: ProgressListener) -> list[_Example]:
    """Run the log, and take down the terms of some requests of known people, evenly spread."""
    stride = max(evaluation.protocol.stride, -(-(len(evaluation.log.events) - begin) // MAX_REQUESTS))
    thinned = replace(evaluation, protocol=replace(evaluation.protocol, stride=stride))
    recorder = _TermRecorder(base)
    answered = thinned.run_with({"terms": recorder.prepare}, begin, progress, "tuning")
    examples = []
    for row, place in enumerate(answered.event.tolist()):
        places, values = recorder.recorded[row]
        found = np.flatnonzero(places == evaluation.log.events[place].item)
        if answered.slices["all"][row] and len(found):
            examples.append(_Example(values, int(found[0])))
    return examples


class _TermRecorder:
    """Notes what every term says of every candidate, and recommends nothing."""

    def __init__(self, base: Contender) -> None:
        self._base, self._shared = base, SearchCache()
        self._every_term = base.strategy.model_validate({**dict.fromkeys(WEIGHTS, 1.0), "learned": True})
        self.recorded: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []

    def prepare(self, state: InMemoryState, person: int, now: float, k: int) -> Callable[[], Sequence[int]]:
        """Take down what is known at `now`; what is returned notes the terms."""
        plan, found = prepare_candidates(state, person, now, self._base.ranking, self._every_term, self._shared, k)

        def note() -> Sequence[int]:
            candidates = found()
            terms = score_terms(candidates, plan, self._base.ranking, now)
            nothing = np.zeros(len(candidates))
            columns = [
                np.sum([terms.get(part, nothing) for part in PARTS.get(name, (name,))], axis=0) for name in WEIGHTS
            ]
            values = np.stack(columns, axis=1).astype(np.float32)
            activity = np.float32(plan.session_activity)
            both = np.concatenate([activity * values, (1 - activity) * values], axis=1)
            self.recorded.append((candidates.places, both))
            return ()

        return note


def _fitted(examples: Sequence[_Example], start: Floats, random: np.random.Generator) -> Floats:
    weights, squares = start.copy(), np.full(len(start), 1e-8)
    for _ in range(EPOCHS):
        order = random.permutation(len(examples))
        for first in range(0, len(order), BATCH):
            some = order[first : first + BATCH].tolist()
            gradient = np.sum([_gradient(examples[place], weights) for place in some], axis=0) / len(some)
            squares += gradient**2
            weights = np.maximum(0.0, weights - STEP * gradient / np.sqrt(squares))
    return weights


def _gradient(example: _Example, weights: Floats) -> Floats:
    """Return the mean of the terms by the model, less those of the item that came."""
    return np.asarray(softmax(example.values @ weights) @ example.values - example.values[example.came])


def _loss(examples: Sequence[_Example], weights: Floats) -> float:
    return float(np.mean([-np.log(softmax(one.values @ weights)[one.came] + 1e-12) for one in examples]))


def _weights_of(strategy: StrategySettings) -> Floats:
    running, begun = strategy.weights(1.0), strategy.weights(0.0)
    return np.array([each[name] for each in (running, begun) for name in WEIGHTS])


def _with_weights(strategy: StrategySettings, weights: Floats) -> StrategySettings:
    """Return the strategy with these weights, the largest being 1; of three digits: what is printed is what is run."""
    rounded = [float(f"{weight:.3g}") for weight in (weights / (weights.max() or 1.0)).tolist()]
    running, begun = (dict(zip(WEIGHTS, part, strict=True)) for part in np.array_split(rounded, 2))
    start = {name: float(begun[name]) for name in WEIGHTS}
    return strategy.model_validate({**strategy.model_dump(), **running, "session_start": start})


def as_toml(name: str, strategy: StrategySettings) -> str:
    """Write settings to paste: the weights that were tuned."""
    running = [f"{term} = {float(getattr(strategy, term))!r}" for term in WEIGHTS]
    start = [f"{term} = {float(weight)!r}" for term, weight in strategy.session_start.items()]
    return "\n".join([f"[strategies.{name}]", *running, "", f"[strategies.{name}.session_start]", *start, ""])
