r"""Blending: several lists of one kind of thing into one order, each place with the terms that made it. Pure.

Two ways, for two cases:

- `fuse_scores`, where the lists' scores have nothing in common (a cosine, a count of people): each list is brought to
  0…1 by its own ends, min-max: $(s - floor) / (best - floor)$, 0 for who isn't on it. It is what recommendations do, so
  terms mean the same everywhere and add up to the score; reciprocal ranks would throw away how far the first is ahead.
- `rerank_by_interest`, where they are similarities of one space: these are in one unit already, so the score is
  $(1 - share) sim(query, x) + share \sum_k w_k sim(v_k, x)$ and depends on no other item: it is the same on every
  page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eddyline.model.decay import Vector
from eddyline.model.distance import Distance, distance_of, interest_vector, query_vector, similarities
from eddyline.model.profile import Profile, TimeConstants

RELEVANCE = "relevance"
SESSION_EVIDENCE = 1.5
"""Decayed evidence at which the session gets half of its weight."""


@dataclass(frozen=True, slots=True)
class FusedScore:
    """A place: `terms` add up to `score`."""

    name: str
    score: float
    terms: Mapping[str, float]

    @property
    def strongest(self) -> str:
        """The name of the largest term."""
        return max(self.terms, key=lambda term: (self.terms[term], term))


def fuse_scores(
    lists: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], floors: Mapping[str, float]
) -> list[FusedScore]:
    """The union of the lists (source → name → score), best first; equal scores in the order of their names.

    `floors`: the score that counts as zero, by source.
    """
    spans = {
        source: (min([floors.get(source, math.inf), *scores.values()]), max(scores.values()))
        for source, scores in lists.items()
        if scores
    }
    names = dict.fromkeys(name for scores in lists.values() for name in scores)
    places = []
    for name in names:
        terms = {
            source: round(weights[source] * _within(lists[source].get(name), *spans[source]), 6) for source in spans
        }
        places.append(FusedScore(name, round(sum(terms.values()), 6), terms))
    return sorted(places, key=lambda place: (-place.score, place.name))


def _within(score: float | None, floor: float, best: float) -> float:
    if score is None:
        return 0.0
    return 1.0 if best - floor <= 1e-9 * abs(best) else (score - floor) / (best - floor)


@dataclass(frozen=True, slots=True)
class InterestVectors:
    """What a person's interest is: query vectors by name, and their weights, which add up to 1."""

    vectors: Mapping[str, Vector]
    weights: Mapping[str, float]
    distance: Distance = Distance.COSINE


def interest_vectors(profile: Profile, now: float, taus: TimeConstants) -> InterestVectors | None:
    """Return the vectors of the running session and of all that the person has liked, or of their answers while there
    is nothing else.

    The session's share is s / (1 + s) with s = W / (W + `SESSION_EVIDENCE`), so a half at most. None where nothing
    points anywhere.
    """
    distance = distance_of(profile.space)
    session, lasting = interest_vector(profile.session, distance), interest_vector(profile.lifetime, distance)
    weight = profile.session.weight_at(now, taus.session)
    strength = weight / (weight + SESSION_EVIDENCE) if session is not None else 0.0
    answers = None if profile.onboarding is None else query_vector(profile.onboarding, distance)
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


def rerank_by_interest(
    names: Sequence[str], relevance: Sequence[float], vectors: Vector, person: InterestVectors, share: float
) -> list[FusedScore]:
    """Relevant items in the order that suits a person, best first; equal scores in the order of their names.

    `relevance`: each item's similarity to the query; `vectors`: the items' own, shape (items, dimension); `share`: the
    person's part of the score, 0…1.
    """
    terms: dict[str, Vector] = {RELEVANCE: (1.0 - share) * np.asarray(relevance, dtype=np.float64)}
    for name, vector in person.vectors.items():
        terms[name] = share * person.weights[name] * similarities(vector, vectors, person.distance)
    rounded = {name: np.round(values, 6) for name, values in terms.items()}
    scores = np.round(np.sum(list(rounded.values()), axis=0), 6)
    exact = np.sum(list(terms.values()), axis=0)
    return [
        FusedScore(names[index], float(scores[index]), {name: float(values[index]) for name, values in rounded.items()})
        for index in sorted(range(len(names)), key=lambda index: (-exact[index], names[index]))
    ]
