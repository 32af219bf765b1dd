"""Terms: each source's scores brought to 0…1, times its weight.

- `affinity`, `people`: sums of evidence, over the largest of them, to the power of `EVIDENCE_POWER`: no evidence is
  nothing.
- `next`, `recent`: the evidence itself, which rows hold the logarithm of: none is nothing, and what few have taught
  counts little. What isn't on a full list has some, too: half of that of its last is assumed.
- `taste`, `lifetime`, `session`, `onboarding`: similarities of content, whose level says little. Each is brought to 0…1
  by its own list: the best is 1, the end of the list is 0, and what isn't on it gets 0.
- `popularity`, `trending`: the logarithm of (decayed count + 1), over the largest, or over that of `A_CROWD` where
  nothing is chosen by so many: what one person chose isn't popular.
- `freshness`: $2^{-age / h}$.
- `rating`: the mean of the item's ratings on their scale, drawn towards the prior p as if m ratings had said so,
  $(n r + m p) / (n + m)$ (the Bayesian mean, by which IMDb's Top 250 is ordered).
- `price`: how well it fits what the recent items cost (see `recent_items`).
- `image`: a cosine like those above, of the pictures.

Where affinity has little to say, the part of its weight that it can't use, $1 - min(1, known / ENOUGH)$, goes to the
content terms in proportion to their own weights. Known are the items on its list that were chosen `OFTEN` or more: a
row that one person taught, or that was only seeded, is hearsay. (In a learned strategy, what hearsay weighs, and what
content does in its place, is learnt as well; and `next` and `recent` weigh as large a part as affinity can use: by its
logarithm, what two or three people went on to would outweigh all content.) So a new catalogue is ranked by content, and
by what people do as soon as enough of them do it.
"""

from __future__ import annotations

import math

import numpy as np

from eddyline.model.decay import HOUR
from eddyline.model.ranking.candidates import Candidates, Column
from eddyline.model.ranking.retrieval_plan import DENSE, RetrievalPlan
from eddyline.model.trends import POPULARITY
from eddyline.settings import RankingSettings

EVIDENCE = ("affinity", "people")
SEQUENCE = ("next", "recent")
EVIDENCE_POWER = 0.85
"""Below 1, so that what comes behind the first few still counts."""
RATING_PRIOR_COUNT = 20.0
"""Ratings that the prior counts for: an item with as many is half-way between it and its own mean."""
ENOUGH = 25
"""Known items with any affinity from which on it uses its whole weight."""
OFTEN = 3
A_CROWD = 10


def score_terms(
    candidates: Candidates, plan: RetrievalPlan, settings: RankingSettings, now: float
) -> dict[str, Column]:
    """Compute every term that has a weight, shape (n) each; they add up to the score."""
    weights = _weights(candidates, plan)
    terms: dict[str, Column] = {}
    for name, scores in candidates.scores.items():
        if weights.get(name, 0.0) > 0:
            if name in SEQUENCE:
                unlisted = candidates.floors.get(name, 0.0) / 2
                value = np.where(np.isnan(scores), unlisted, scores).clip(0.0)
            elif name in EVIDENCE:
                value = _over_largest(np.where(np.isnan(scores), 0.0, scores)) ** EVIDENCE_POWER
            else:
                value = candidates.normalised(name)
            terms[name] = weights[name] * value
    for name, window in {"popularity": POPULARITY, "trending": settings.trending_window}.items():
        if plan.weights[name] > 0:
            counts = np.log1p(candidates.counts(window, now))
            terms[name] = plan.weights[name] * counts / max(math.log1p(A_CROWD), float(counts.max(initial=0.0)))
    if plan.weights["freshness"] > 0:
        fresh = freshness(candidates.listed_at(), now, settings.freshness_half_life_hours * HOUR)
        terms["freshness"] = plan.weights["freshness"] * fresh
    if plan.weights.get("rating", 0.0) > 0:
        terms["rating"] = plan.weights["rating"] * _shrunk(*candidates.ratings(), settings.rating_prior)
    if plan.prices is not None:
        terms["price"] = plan.weights["price"] * plan.prices.fit(candidates.prices())
    return terms


def _shrunk(means: Column, counts: Column, prior: float) -> Column:
    return (counts * means + RATING_PRIOR_COUNT * prior) / (counts + RATING_PRIOR_COUNT)


def _weights(candidates: Candidates, plan: RetrievalPlan) -> dict[str, float]:
    """Return the plan's weights, with what affinity can't use given to the content terms."""
    weights = dict(plan.weights)
    content = sum(weights.get(name, 0.0) for name in DENSE)
    hearsay, stand_in = 0.0, weights["affinity"] + plan.unused_affinity
    if plan.is_learned:
        hearsay, stand_in = weights["hearsay"], weights["stand_in"]
    if content > 0 and (hearsay or stand_in or weights["affinity"]):
        scores = candidates.scores.get("affinity")
        known = 0 if scores is None else np.count_nonzero((scores > 0) & (candidates.chosen() >= OFTEN))
        share = min(1.0, known / ENOUGH)
        growth = 1.0 + stand_in * (1.0 - share) / content
        weights |= {name: weights[name] * growth for name in DENSE if name in weights}
        weights["affinity"] = weights["affinity"] * share + hearsay * (1.0 - share)
        weights |= {name: weights[name] * share for name in SEQUENCE if name in weights}
    return weights


def freshness(listed_at: Column, now: float, half_life: float) -> Column:
    """Return 2^(-age / half_life): 1 when listed this moment, 0 when unknown (-inf). Times in seconds."""
    return np.asarray(np.exp2(-np.maximum(0.0, now - listed_at) / half_life))


def _over_largest(values: Column) -> Column:
    largest = float(values.max(initial=0.0))
    return np.maximum(values, 0.0) / largest if largest > 0 else np.zeros_like(values)
