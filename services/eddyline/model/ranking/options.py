"""How a list is made: what a strategy and a request decide beside the weights of the terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eddyline.model.decay import HOUR
from eddyline.model.ids import Person
from eddyline.model.ranking.retrieval_plan import RetrievalPlan
from eddyline.model.ranking.seeded_random import seed_from
from eddyline.settings import RankingSettings, StrategySettings


@dataclass(frozen=True, slots=True)
class ScoreBoost:
    """Multiply the score of items whose payload `matches` by `factor`. `fields`: the payload paths it looks at."""

    matches: Callable[[Mapping[str, Any]], bool] = field(compare=False)
    factor: float
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankOptions:
    """How to make the list. `now` in epoch seconds; `exclude`: item ids.

    `fatigue`: decayed number of earlier exposures without a click, by item. `seed`: of all that is left to chance; the
    same one gives the same list.
    """

    now: float
    settings: RankingSettings
    limit: int
    exclude: Collection[str] = ()
    excluded: Callable[[str], bool] | None = None
    """A further test of item ids, e.g. those of earlier pages."""
    boosts: Sequence[ScoreBoost] = ()
    fatigue: Mapping[str, float] = field(default_factory=dict)
    diversity: float = 0.0
    calibration: float = 0.0
    explore: float = 0.0
    rotation: float = 0.0
    per_category: int | None = None
    min_score: float | None = None
    seed: int = 0

    @property
    def has_caps(self) -> bool:
        """Whether some items may be too many of a kind."""
        return self.per_category is not None or bool(self.settings.per_attribute)


def rank_options(
    plan: RetrievalPlan,
    strategy: StrategySettings,
    settings: RankingSettings,
    now: float,
    limit: int,
    person: Person | None,
    session_id: str | None = None,
    varies: bool = True,
) -> RankOptions:
    """Return what a strategy makes of a request. Rotation and exploration vary the list from visit to visit, less as a
    visit goes on (what people do changes it by itself then); it holds for `session_id`, or else for `rotation_hours`.

    `varies`: whether there is reason to rotate: an earlier list that led to nothing, or no way to know.
    """
    idleness = 1.0 - plan.session_activity
    held_for = session_id or int(now // (settings.rotation_hours * HOUR))
    return RankOptions(
        now=now,
        settings=settings,
        limit=limit,
        diversity=strategy.diversity,
        calibration=strategy.calibration,
        explore=max(strategy.explore, settings.cold_start_explore) if plan.is_cold else strategy.explore * idleness,
        rotation=strategy.rotation * idleness if varies else 0.0,
        per_category=settings.per_category,
        seed=seed_from(person and person.key, held_for),
    )
