"""Strategies: what each way of ranking weighs, and how it varies its lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from pydantic import model_validator

from eddyline.settings.section import NotNegative, Section, Share

Term: TypeAlias = Literal[
    "affinity",
    "hearsay",
    "stand_in",
    "next",
    "recent",
    "taste",
    "session",
    "people",
    "popularity",
    "trending",
    "freshness",
    "rating",
    "price",
    "image",
]
TERMS: tuple[Term, ...] = get_args(Term)
"""What a strategy gives weights to."""


LEARNED_TERMS: tuple[Term, ...] = (
    "affinity", "hearsay", "stand_in", "next", "recent", "taste", "session", "popularity", "trending", "freshness"
)  # fmt: skip
"""Terms whose weights a learned strategy learns; the others stay as they are set."""


class StrategySettings(Section):
    """A way of ranking: the weight of each term, which is in 0…1 before it, and how lists are varied."""

    affinity: NotNegative = 0.0
    """What people chose after the items that this person chose recently."""
    hearsay: NotNegative = 0.0
    """What affinity weighs, in a learned strategy, as far as it knows little: in others, nothing."""
    stand_in: NotNegative = 0.0
    """What content weighs in its place then, in a learned strategy: in others, what `affinity` weighs."""
    next: NotNegative = 0.0
    """What people chose right after the newest item that this person chose. Like the one below, not 0…1, but the
    evidence itself, of logarithms: none is 0."""
    recent: NotNegative = 0.0
    """What people chose after the newest few."""
    taste: NotNegative = 0.0
    """Content close to the long-term taste (or, while behaviour is thin, to the onboarding answers)."""
    session: NotNegative = 0.0
    """Content close to the running session, at full evidence."""
    people: NotNegative = 0.0
    """What the people with the most similar history chose. Costs one more query."""
    popularity: NotNegative = 0.0
    """What most people chose, over about a quarter."""
    trending: NotNegative = 0.0
    """What most people choose now, within `ranking.trending_window`."""
    freshness: NotNegative = 0.0
    """How new an item is."""
    rating: NotNegative = 0.0
    """How good people found it, by the items' `rating`: `ranking.rating_prior` for one without."""
    price: NotNegative = 0.0
    """How well its price fits those of the items chosen recently. With `image`, costs one more look-up."""
    image: NotNegative = 0.0
    """How much its picture looks like those of the items chosen recently; only where images are enabled."""
    learned: bool = False
    """Whether the weights are only where it begins, and are learnt from what people choose from then on."""
    session_start: Mapping[Term, NotNegative] = {}
    """Weights of the first list of a visit, where they differ; they give way to the others as the visit goes on."""
    diversity: Share = 0.0
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    calibration: Share = 0.0
    """0: by score alone; towards 1: ever closer to the mix of categories that this person chose lately."""
    explore: Share = 0.0
    """Share of places, from the third on, for items that few people have chosen yet, and that suit the person; on a
    visit's first list, less as the visit goes on."""
    rotation: NotNegative = 0.0
    """How much the order varies from one visit to the next. 0: not at all; at 0.3, an item half as good comes first
    about one time in ten."""

    @model_validator(mode="after")
    def _shares_affinity_by_itself(self) -> StrategySettings:
        if not self.learned and (self.hearsay > 0 or self.stand_in > 0):
            raise ValueError("hearsay and stand_in are of learned strategies alone (learned = true)")
        return self

    def weights(self, session_activity: float) -> dict[str, float]:
        """Return the weight of each term; `session_activity`: 1 in the middle of a visit, 0 at its beginning."""
        running = {name: float(getattr(self, name)) for name in TERMS}
        return {
            name: session_activity * weight + (1 - session_activity) * self.session_start.get(name, weight)
            for name, weight in running.items()
        }


STRATEGIES: Mapping[str, StrategySettings] = {
    "eddyline": StrategySettings(
        affinity=1.0,
        taste=0.05,
        session=0.12,
        popularity=0.4,
        freshness=0.02,
        session_start={"popularity": 0.3, "trending": 0.05, "freshness": 0.05},
        explore=0.05,
        rotation=0.2,
    ),
    "articles": StrategySettings(taste=0.5, people=0.3, trending=0.2),
    "content": StrategySettings(taste=1.0, session=1.2),
    "affinity": StrategySettings(affinity=1.0),
    "trending": StrategySettings(trending=1.0),
    "learned": StrategySettings(
        learned=True,
        affinity=3.0,
        hearsay=0.1,
        stand_in=3.0,
        next=0.8,
        recent=1.0,
        taste=0.15,
        session=0.3,
        popularity=1.1,
        trending=0.1,
        freshness=0.1,
        explore=0.05,
        rotation=0.3,
    ),
}
