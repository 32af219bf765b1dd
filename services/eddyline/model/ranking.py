"""Ranking: candidates of several sources, blended into one list. Pure; the same code serves and evaluates.

Each source's scores are brought to 0…1 by its own list (the best is 1, the last asked for is 0; whoever isn't on the
list gets 0), multiplied by the source's weight, and added. The weights adapt to what is known of the person:

- the session's share grows with its decayed evidence W: W / (W + session_evidence);
- the long-term share is behaviour's by known = E / (E + known_evidence), E being all evidence ever; the rest goes to
  the onboarding answers, where there are any;
- behaviour's part is the recent taste's by W / (W + min(taste_evidence, O)), O being the lifetime's evidence that the
  taste has forgotten; the rest is the lifetime's. So a person who comes back after months is still known, what they do
  now counts at once, and to someone new the two are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eddyline.model.decay import Vector, count_at
from eddyline.model.profile import HOUR, Profile, TimeConstants
from eddyline.model.trends import POPULARITY as POPULARITY
from eddyline.model.trends import TREND_HALF_LIVES as TREND_HALF_LIVES
from eddyline.model.trends import trend_tau as trend_tau
from eddyline.settings import Ranking

DENSE_SOURCES = ("taste", "lifetime", "session", "onboarding")

SENTENCES: Mapping[str, str] = {
    "session": "close to what you are looking at now",
    "taste": "close to what you liked lately",
    "lifetime": "close to what you have always liked",
    "onboarding": "matches the interests you named",
    "popularity": "popular now",
    "freshness": "new",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item under consideration: `similarity` by dense source (only where that source listed it), and its payload."""

    item_id: str
    similarity: Mapping[str, float]
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def listed_at(self) -> float | None:
        """Its publication, or else its first arrival, in epoch seconds; None where unknown."""
        value: float | None = self.payload.get("listed_at")
        return value

    def popularity(self, now: float) -> float:
        """Decayed count of people who chose it, over about a quarter."""
        return count_at(self.payload.get("trend", {}).get(POPULARITY), now, trend_tau(POPULARITY))


@dataclass(frozen=True, slots=True)
class Sources:
    """What to ask the vector store for a person: unit query vectors by dense source, and the weight of every term."""

    queries: Mapping[str, Vector]
    weights: Mapping[str, float]

    @property
    def is_cold(self) -> bool:
        """Whether nothing is known of the person: no behaviour and no answers."""
        return not self.queries


@dataclass(frozen=True, slots=True)
class RankOptions:
    """`now` in epoch seconds; `floors`: each dense source's similarity that counts as zero; `exclude`: item ids."""

    now: float
    settings: Ranking
    limit: int
    floors: Mapping[str, float] = field(default_factory=dict)
    exclude: Collection[str] = ()
    excluded: Callable[[str], bool] = lambda _: False
    """A further test of item ids, e.g. those of earlier pages."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A place on the list. `terms` add up to `score`."""

    candidate: Candidate
    score: float
    terms: Mapping[str, float]

    @property
    def because(self) -> str | None:
        """A sentence from the largest term."""
        if not self.terms:
            return None
        name = max(self.terms, key=lambda term: (self.terms[term], term))
        return SENTENCES[name] if self.terms[name] > 0 else None


def sources(profile: Profile | None, now: float, taus: TimeConstants, settings: Ranking) -> Sources:
    """Which vectors to search with, and how much each term weighs for this person at `now`."""
    weights = {"popularity": settings.popularity, "freshness": settings.freshness}
    if profile is None:
        return Sources({}, weights)
    queries: dict[str, Vector] = {}
    known = profile.evidence / (profile.evidence + settings.known_evidence)
    lately = profile.taste.weight_at(now, taus.taste)
    forgotten = max(0.0, profile.lifetime.weight_at(now, taus.lifetime) - lately)
    recent = _share(lately, min(settings.taste_evidence, forgotten))
    behaviour = {
        "taste": (profile.taste.direction(), recent),
        "lifetime": (profile.lifetime.direction(), 1.0 - recent),
    }
    present = {name: (vector, share) for name, (vector, share) in behaviour.items() if vector is not None and share > 0}
    if profile.onboarding is None:
        known = 1.0
    elif not present:
        known = 0.0
    total = sum(share for _, share in present.values())
    for name, (vector, share) in present.items():
        queries[name] = vector
        weights[name] = settings.taste * known * share / total
    if profile.onboarding is not None and known < 1.0:
        queries["onboarding"] = profile.onboarding
        weights["onboarding"] = settings.taste * (1.0 - known)
    session = profile.session.direction()
    share = _share(profile.session.weight_at(now, taus.session), settings.session_evidence)
    if session is not None and share > 0.01:
        queries["session"] = session
        weights["session"] = settings.session * share
    return Sources({name: query for name, query in queries.items() if weights[name] > 0}, weights)


def rank(candidates: Iterable[Candidate], person: Sources, options: RankOptions) -> list[Ranked]:
    """The best `limit` of the candidates, best first; equal scores in the order of their ids.

    Works for any number of candidates. Excluded ones are left out before anything is normalised by them, except for the
    floors, which are the sources' own.
    """
    left = [c for c in candidates if c.item_id not in options.exclude and not options.excluded(c.item_id)]
    spans = {name: _span(name, left, options.floors) for name in person.queries}
    popularity = [math.log1p(candidate.popularity(options.now)) for candidate in left]
    top = max(popularity, default=0.0) or 1.0
    ranked = [
        _score(candidate, person, options, spans, popular / top)
        for candidate, popular in zip(left, popularity, strict=True)
    ]
    ranked.sort(key=lambda place: (-place.score, place.candidate.item_id))
    return ranked[: options.limit]


def _score(
    candidate: Candidate,
    person: Sources,
    options: RankOptions,
    spans: Mapping[str, tuple[float, float]],
    popularity: float,
) -> Ranked:
    terms: dict[str, float] = {}
    for name, (floor, best) in spans.items():
        similarity = candidate.similarity.get(name)
        terms[name] = 0.0 if similarity is None else person.weights[name] * _within(similarity, floor, best)
    terms["popularity"] = person.weights["popularity"] * popularity
    terms["freshness"] = person.weights["freshness"] * freshness(
        candidate.listed_at, options.now, options.settings.freshness_half_life_hours * HOUR
    )
    rounded = {name: round(value, 6) for name, value in terms.items()}
    return Ranked(candidate, round(sum(rounded.values()), 6), rounded)


def freshness(listed_at: float | None, now: float, half_life: float) -> float:
    """2^(-age / half_life): 1 when listed this moment, 0 when unknown. Times in seconds."""
    if listed_at is None:
        return 0.0
    return float(2.0 ** (-max(0.0, now - listed_at) / half_life))


def _span(name: str, candidates: Sequence[Candidate], floors: Mapping[str, float]) -> tuple[float, float]:
    listed = [c.similarity[name] for c in candidates if name in c.similarity]
    if not listed:
        return 0.0, 1.0
    return min([floors.get(name, math.inf), *listed]), max(listed)


def _within(value: float, floor: float, best: float) -> float:
    if best - floor < 1e-9:
        return 1.0
    return min(1.0, max(0.0, (value - floor) / (best - floor)))


def _share(weight: float, half: float) -> float:
    return weight / (weight + half) if weight > 0 else 0.0
