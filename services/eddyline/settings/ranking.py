"""How candidates are found and scored, whatever the strategy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from eddyline.settings.section import NotNegative, Positive, Section, Share


class RankingSettings(Section):
    """How candidates are found and scored, whatever the strategy."""

    strategy: str = "learned"
    """Strategy to use unless a request or a rule names another."""
    learning: bool | None = None
    """Whether learned strategies learn. Unset: where one is the usual strategy, or that of a rule; set it where only
    requests or experiments name one."""
    popularity_damping: NotNegative = 0.3
    """A recent item's weight is divided by (its popularity + 1) to this power: what everyone chooses says little."""
    visit_half_life_minutes: Positive = 15.0
    """Time since a person's last event after which half of their session activity is gone."""
    trending_window: Literal["hour", "day", "week"] = "week"
    """Window over which `trending` counts."""
    known_evidence: Positive = 5.0
    """Lifetime evidence at which behaviour gets half of the long-term share; the rest is the onboarding's."""
    freshness_half_life_hours: Positive = 72.0
    """Age at which an item's freshness is one half."""
    rating_prior: Share = 0.7
    """What an item without ratings is taken for, on the way from the worst (0) to the best possible value (1): 0.7 is
    3.5 of 5. Few ratings are drawn towards it."""
    fatigue_exposures: Positive = 2.0
    """Decayed number of earlier exposures without a click at which an item's score is halved."""
    visit_pause_minutes: NotNegative = 60.0
    """A pause of this length ends a visit. Only what was shown in earlier ones counts, so that a list holds still
    within one."""
    rotation_hours: Positive = 6.0
    """How long one order holds; a request with a session_id holds it for the session."""
    cold_start_explore: Share = 0.2
    """`explore` for people of whom nothing is known, unless the strategy's is larger."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category in a list; none set: no limit."""
    per_attribute: Mapping[str, Annotated[int, Field(ge=1)]] = {}
    """Most items of one value of an own attribute (`attributes`) in a list, e.g. {brand = 3}."""
    collapse_duplicates: bool = True
    """Whether only the best of several items of one category whose titles say the same is on a person's list. Turn it
    off where titles don't tell items apart, as in classified ads."""
    candidates: Annotated[int, Field(ge=10, le=1000)] = 80
    """Candidates to retrieve from each source for a page, or as many as it has items where that is more; at least 100
    of what is popular, trending and new."""
