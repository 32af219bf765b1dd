"""How lists are made: strategies, what all of them share, and rules and promotions over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AwareDatetime, Field, model_validator

from eddyline.settings.section import Name, NotNegative, Positive, Section

Term: TypeAlias = Literal[
    "affinity", "taste", "session", "people", "popularity", "trending", "freshness", "rating", "price", "image"
]
TERMS: tuple[Term, ...] = get_args(Term)
"""What a strategy gives weights to."""
Share = Annotated[float, Field(ge=0, le=1)]


class StrategySettings(Section):
    """A way of ranking: the weight of each term, which is in 0…1 before it, and how lists are varied."""

    affinity: NotNegative = 0.0
    """What people went on to after what this person chose lately."""
    taste: NotNegative = 0.0
    """Content close to the long-term taste (or, while behaviour is thin, to the onboarding answers)."""
    session: NotNegative = 0.0
    """Content close to the running session, at full evidence."""
    people: NotNegative = 0.0
    """What the people with the most similar history chose. Costs two more queries."""
    popularity: NotNegative = 0.0
    """What most people chose, over about a quarter."""
    trending: NotNegative = 0.0
    """What most people choose now, within `ranking.trending_window`."""
    freshness: NotNegative = 0.0
    """How new an item is."""
    rating: NotNegative = 0.0
    """How good people found it, by the items' `rating`: `ranking.rating_prior` for one without."""
    price: NotNegative = 0.0
    """How well its price fits those of what this person chose lately. With `image`, costs one more look-up."""
    image: NotNegative = 0.0
    """A picture that looks like those of what this person chose lately; only where images are enabled."""
    arrival: Mapping[Term, NotNegative] = {}
    """Weights of the first list of a visit, where they differ; they give way to the others as the visit goes on."""
    diversity: Share = 0.0
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    explore: Share = 0.0
    """Share of places, from the third on, for items that few people have chosen yet; on a visit's first list, less as
    the visit goes on."""
    rotation: NotNegative = 0.0
    """How much the order varies from one visit to the next. 0: not at all; at 0.3, an item half as good comes first
    about one time in ten."""

    def weights(self, pace: float) -> dict[str, float]:
        """The weight of each term; `pace`: 1 in the middle of a visit, 0 at its beginning."""
        running = {name: float(getattr(self, name)) for name in TERMS}
        return {name: pace * weight + (1 - pace) * self.arrival.get(name, weight) for name, weight in running.items()}


STRATEGIES: Mapping[str, StrategySettings] = {
    "eddyline": StrategySettings(
        affinity=1.0,
        taste=0.05,
        session=0.12,
        popularity=0.4,
        freshness=0.02,
        arrival={"popularity": 0.3, "trending": 0.05, "freshness": 0.05},
        explore=0.05,
        rotation=0.2,
    ),
    "articles": StrategySettings(taste=0.5, people=0.3, trending=0.2),
    "content": StrategySettings(taste=1.0, session=1.2),
    "affinity": StrategySettings(affinity=1.0),
    "trending": StrategySettings(trending=1.0),
}


class RankingSettings(Section):
    """How candidates are found and scored, whatever the strategy."""

    strategy: str = "eddyline"
    """Strategy to use unless a request or a rule names another."""
    recents_half_life: Positive = 2.0
    """Positions after which a recent item's weight in the affinity query halves, in a running visit."""
    recents_slow_half_life: Positive = 30.0
    """Positions after which the lasting part of that weight halves."""
    recents_slow_weight: NotNegative = 0.13
    """The lasting part, beside 1. On a visit's first list it is all there is."""
    evidence_power: Positive = 0.85
    """Affinity, over the largest on the list, is raised to this power: below 1, what comes behind the first few still
    counts."""
    popularity_damping: NotNegative = 0.3
    """A recent item's weight is divided by (its popularity + 1) to this power: what everyone chooses says little."""
    visit_half_life_minutes: Positive = 15.0
    """Time since a person's last event after which half of a visit's pace is gone."""
    trending_window: Literal["hour", "day", "week"] = "week"
    """Window over which `trending` counts."""
    taste_evidence: Positive = 4.0
    """Decayed evidence at which the recent taste of someone known for long gets half of the long-term share."""
    session_evidence: Positive = 1.5
    """Decayed evidence at which the session gets half of its weight."""
    known_evidence: Positive = 5.0
    """Lifetime evidence at which behaviour gets half of the long-term share; the rest is the onboarding's."""
    freshness_half_life_hours: Positive = 72.0
    """Age at which an item's freshness is one half."""
    rating_prior: Share = 0.7
    """What an item without ratings is taken for, on the way from the worst (0) to the best possible value (1): 0.7 is
    3.5 of 5. Few ratings are drawn towards it."""
    rating_prior_count: Positive = 20.0
    """Ratings that this counts for: an item with as many is half-way between it and its own mean."""
    details_recents: Annotated[int, Field(ge=1, le=100)] = 20
    """Newest recent items that are looked up for `price` and `image`."""
    price_least_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.5
    """Prices of this ratio are never more than one standard deviation apart, however alike the known ones are."""
    price_wide_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4.0
    """Ratio of prices that is one standard deviation while none is known."""
    price_evidence: Positive = 3.0
    """Known prices at which the variance is half their own, half that of `price_wide_ratio`."""
    fatigue_showings: Positive = 2.0
    """Decayed number of earlier showings without a click at which an item's score is halved."""
    fatigue_after_minutes: NotNegative = 60.0
    """A pause of this length ends a visit. Only what was shown in earlier ones counts, so that a list holds still
    within one."""
    rotation_hours: Positive = 6.0
    """How long one order holds; a request with a session_id holds it for the session."""
    cold_explore: Share = 0.2
    """`explore` for people of whom nothing is known, unless the strategy's is larger."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category in a list; none set: no limit."""
    people: Annotated[int, Field(ge=1, le=200)] = 30
    """People with a similar history to look up, where `people` has a weight."""
    candidates: Annotated[int, Field(ge=10, le=1000)] = 100
    """Candidates to retrieve from each source, beyond what paging needs."""


class BoostSettings(Section):
    """Some items' scores multiplied."""

    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    factor: NotNegative
    """What their scores are multiplied by: above 1 raises, below 1 lowers."""


class RuleSettings(Section):
    """What changes in a situation. `model.rules` reads the conditions and the filters, and refuses wrong ones."""

    name: Name
    """What it is called in answers and errors."""
    when: Mapping[str, Any] = {}
    """Conditions on the situation; without any it always applies."""
    weights: Mapping[str, NotNegative] = {}
    """Factor of a ranking term's weight, by the term's name."""
    boost: BoostSettings | None = None
    """Items whose scores are multiplied."""
    strategy: str | None = None
    """The strategy to rank by; of several rules that name one, the last decides."""

    @model_validator(mode="after")
    def _does_something(self) -> RuleSettings:
        if not self.weights and self.boost is None and self.strategy is None:
            raise ValueError("does nothing: give weights, boost or strategy")
        return self


class PromotionSettings(Section):
    """Items that get places of their own for a while."""

    name: Name
    """What it is called in answers and errors."""
    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Most of a list's places that they get, e.g. 0.2: every fifth."""
    positions: Annotated[tuple[Annotated[int, Field(ge=1, le=500)], ...], Field(max_length=100)] = ()
    """Or the exact places that they get, counted from 1."""
    starts: AwareDatetime | None = None
    """Not before."""
    ends: AwareDatetime | None = None
    """Not from then on."""
    surface: str | None = None
    """Only on this surface."""
    when: Mapping[str, Any] = {}
    """Only in such situations; conditions as in rules."""

    @model_validator(mode="after")
    def _has_places(self) -> PromotionSettings:
        if (self.share is None) == (not self.positions):
            raise ValueError("takes either share or positions")
        if len(set(self.positions)) < len(self.positions):
            raise ValueError("positions must differ")
        if self.starts is not None and self.ends is not None and self.ends <= self.starts:
            raise ValueError("ends must be after starts")
        return self
