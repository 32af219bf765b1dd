r"""The blend that learns: the weights of a strategy's terms, fitted to what people choose, one choice at a time.

A *choice* is what somebody chose, beside all that a list could have held for them a moment before: the value
$f_{it} \ge 0$ of each term t for each candidate i. As in a conditional logit (McFadden, "Conditional logit analysis of
qualitative choice behavior", 1974), the probability that i is chosen is

$$P(i) = \frac{e^{s_i}}{\sum_j e^{s_j}}, \quad s_i = \sum_t (a\,w_t + (1 - a)\,v_t)\,f_{it}$$

a being the session activity (1 in the middle of a visit, 0 at its beginning), w the weights of a running visit and v
those of its first list. One choice of item c is one step down the gradient of its loss $-\ln(P(c) + \epsilon)$,

$$g_t = \frac{P(c)}{P(c) + \epsilon} \Big(\sum_i P(i) f_{it} - f_{ct}\Big), \quad
w_t \leftarrow \max(0, w_t - \eta \frac{a\,g_t}{\sqrt{G_t}})$$

with $G_t$ the sum of the squares of its gradients so far (AdaGrad: Duchi, Hazan and Singer, JMLR 2011), and v
likewise, with $1 - a$. A choice that no list would have held, $P(c)$ being far below $\epsilon$ (`UNEXPLAINED`), hardly
counts: it was made for reasons that no term knows, and would make the weights flatter than good lists need. No term can
count against an item, so no weight is negative. Every step moves a weight by at most $\eta$ (`LEARNING_RATE`), whatever
was chosen.

Newest choices are rehearsed: each step is followed by one on an earlier choice, drawn with a seed, so that fewer are
enough. The first list's weights are drawn to the running ones, since fewer choices teach them.

*Popular and poisoned items*: one item's choices are at most a twentieth of those learnt from (`ITEM_SHARE`), or twice
its even share where people choose few different ones. What is beyond is passed over, so that ten thousand clicks on
one thing move the weights no more than some twenty-five do.

*Guardrail*: the loss of each choice, before it is learnt from (prequential: Dawid, 1984), is compared with the loss by
the shipped weights. Where the learnt ones have done worse over some hundred choices, they are the shipped ones again.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
"""Term values, shape (terms, candidates)."""

LEARNING_RATE = 0.1
"""Most that one step moves a weight."""
UNEXPLAINED = 0.003
"""Added to the probability of what was chosen: a choice of this probability counts half."""
FIRST_GRADIENT = 0.1
"""Added to the root of the sum of squares, so that the first choices don't move a weight by whole steps."""
REHEARSED = 1
"""Earlier choices that each new one is followed by."""
REMEMBERED = 512
"""Newest choices to rehearse."""
SHRINKAGE = 0.0005
"""Share of the way to the running weights that the first list's go at each step."""
MEMORY = 200.0
"""Choices over which the mean losses are taken: each counts for 1 - 1/`MEMORY` of the next."""
PRIOR_CHOICES = 200
"""Choices that the shipped weights count as, beside what was learnt."""
TOLERANCE = 0.05
"""How much worse the learnt weights may do than the shipped ones, in nats a choice, before these are restored."""
ITEM_SHARE = 0.05
"""Share of one item in the newest `REMEMBERED` choices from which on it teaches no more."""
MAX_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody chose. `values`: of each term for each candidate, shape (terms, candidates); `chosen`: its column;
    `activity`: the session activity, 0…1; `item_id`: of the chosen one."""

    values: Matrix
    chosen: int
    activity: float
    item_id: str

    @property
    def shares(self) -> NDArray[np.float64]:
        """How much the weights of a running visit count, and those of its first list."""
        return np.array([self.activity, 1.0 - self.activity])

    def odds(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return each candidate's probability, by weights of shape (2, terms)."""
        return softmax(self.shares @ weights @ self.values)


@dataclass(frozen=True, slots=True)
class BlendWeights:
    """Weights by term: of a running visit, and of a visit's first list."""

    running: Mapping[str, float]
    start: Mapping[str, float]


def average(learnt: Sequence[tuple[BlendWeights, int]], shipped: BlendWeights) -> BlendWeights:
    """Average what several learners have learnt of parts of the same stream, each weighed by its number of choices
    (Zinkevich et al., "Parallelized stochastic gradient descent", 2010), and the shipped weights, which count as
    `PRIOR_CHOICES`: the habits of the first few people move nobody's lists by much."""
    parts = [*learnt, (shipped, PRIOR_CHOICES)]
    total = sum(choices for _, choices in parts)
    sums: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for weights, choices in parts:
        for summed, part in zip(sums, _both(weights), strict=True):
            for term, weight in part.items():
                summed[term] = summed.get(term, 0.0) + weight * choices / total
    return BlendWeights(*sums)


class BlendLearner:
    """Learns the weights of `terms`, beginning with the `shipped` ones. The same choices give the same weights."""

    def __init__(self, terms: Sequence[str], shipped: BlendWeights) -> None:
        self.terms = tuple(terms)
        self._shipped = np.array(
            [[weights.get(term, shipped.running.get(term, 0.0)) for term in terms] for weights in _both(shipped)]
        )
        self._weights = self._shipped.copy()
        self._squares = np.full_like(self._weights, FIRST_GRADIENT**2)
        self._remembered: deque[Choice] = deque(maxlen=REMEMBERED)
        self._offered = _ItemWindow()
        self.choices = 0
        """Learnt from so far."""
        self.restored = 0
        """How often the guardrail has restored the shipped weights."""
        self.loss = self.shipped_loss = 0.0
        """Mean loss of late in nats a choice: before each was learnt from, and by the shipped weights."""

    def to_state(self) -> dict[str, Any]:
        """Return what `restore` reads, as JSON. Choices to rehearse are left out: those to come will do."""
        return {
            "terms": list(self.terms),
            "weights": self._weights.round(6).tolist(),
            "squares": self._squares.round(6).tolist(),
            "choices": self.choices,
            "restored": self.restored,
            "loss": self.loss,
            "shipped_loss": self.shipped_loss,
            "different_items": self._offered.different,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where a learner of the same or other terms was; a term that it didn't have begins as shipped."""
        known = {term: column for column, term in enumerate(state["terms"])}
        for column, term in enumerate(self.terms):
            if term in known:
                for visit in (0, 1):
                    self._weights[visit, column] = state["weights"][visit][known[term]]
                    self._squares[visit, column] = state["squares"][visit][known[term]]
        self.choices, self.restored = state["choices"], state["restored"]
        self.loss, self.shipped_loss = state["loss"], state["shipped_loss"]
        self._offered.different = state.get("different_items", 0)

    @property
    def weights(self) -> BlendWeights:
        """Return the weights of now."""
        running, start = (dict(zip(self.terms, row, strict=True)) for row in self._weights.round(6).tolist())
        return BlendWeights(running, start)

    def learn(self, choice: Choice) -> None:
        """Take one step on a choice, and some on earlier ones; none on one of an item that has taught enough of
        late."""
        if self._offered.is_full_of(choice.item_id):
            return
        self._note_loss(choice)
        if self.loss > self.shipped_loss + TOLERANCE and self.choices >= MEMORY:
            self._restore()
        self._step(choice)
        draw = np.random.default_rng(self.choices)
        for _ in range(min(REHEARSED, len(self._remembered))):
            self._step(self._remembered[int(draw.integers(len(self._remembered)))])
        self._remembered.append(choice)
        self.choices += 1

    def _step(self, choice: Choice) -> None:
        odds = choice.odds(self._weights)
        chance = odds[choice.chosen]
        surprise = choice.values @ odds - choice.values[:, choice.chosen]
        gradient = np.outer(choice.shares, chance / (chance + UNEXPLAINED) * surprise)
        self._squares += gradient**2
        self._weights -= LEARNING_RATE * gradient / np.sqrt(self._squares)
        self._weights[1] += SHRINKAGE * (self._weights[0] - self._weights[1])
        np.clip(self._weights, 0.0, MAX_WEIGHT, out=self._weights)

    def _note_loss(self, choice: Choice) -> None:
        by_both = (choice.odds(weights)[choice.chosen] for weights in (self._weights, self._shipped))
        losses = [-math.log(chance + UNEXPLAINED) for chance in by_both]
        if self.choices == 0:
            self.loss, self.shipped_loss = losses
        share = 1.0 / min(MEMORY, self.choices + 1.0)
        self.loss += share * (losses[0] - self.loss)
        self.shipped_loss += share * (losses[1] - self.shipped_loss)

    def _restore(self) -> None:
        self._weights = self._shipped.copy()
        self._squares = np.full_like(self._weights, FIRST_GRADIENT**2)
        self._remembered.clear()
        self.loss = self.shipped_loss
        self.restored += 1


class _ItemWindow:
    """Which items the newest choices were of, whether they were learnt from or not."""

    def __init__(self) -> None:
        self._newest: deque[str] = deque()
        self._counts: Counter[str] = Counter()
        self.different = 0
        """Most different items that there were at a time."""

    def is_full_of(self, item_id: str) -> bool:
        """Add a choice; return whether there were more than enough of its item before."""
        known = self._counts[item_id]
        self._newest.append(item_id)
        self._counts[item_id] += 1
        if len(self._newest) > REMEMBERED:
            oldest = self._newest.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self.different = max(self.different, len(self._counts))
        return known >= REMEMBERED * max(ITEM_SHARE, 2.0 / self.different)


def softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities that add up to 1, in proportion to the exponentials of the scores."""
    exponentials = np.exp(scores - scores.max(), dtype=np.float64)
    return np.asarray(exponentials / exponentials.sum())


def _both(weights: BlendWeights) -> tuple[Mapping[str, float], Mapping[str, float]]:
    return weights.running, weights.start
