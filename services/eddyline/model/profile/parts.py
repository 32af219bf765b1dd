"""What a profile is made of, and what is folded into it."""

from __future__ import annotations

from dataclasses import dataclass

from eddyline.model import decay
from eddyline.model.decay import Accumulator, Vector
from eddyline.settings import ProfileSettings

STATE_VERSION = 1
DAY, MINUTE, HOUR = 86_400.0, 60.0, 3_600.0
COUNTED = 128
"""Most items whose last count is kept per person."""
VECTORS = ("taste", "session", "lifetime")
"""The accumulators."""
STORED_VECTORS = (*VECTORS, "onboarding")
"""The dense vectors of a profile point."""
NOTHING = Accumulator()
SETS = ("recents", "viewed", "purchased", "disliked", "liked")
"""The bounded sets of newest items."""
TWINS = 1000
"""Most anonymous ids remembered as a user's."""


@dataclass(frozen=True, slots=True)
class TimeConstants:
    """tau of each accumulator, in seconds."""

    taste: float
    session: float
    lifetime: float

    @classmethod
    def of(cls, settings: ProfileSettings) -> TimeConstants:
        """From the half-lives of the settings."""
        return cls(
            taste=decay.time_constant(settings.taste_half_life_days * DAY),
            session=decay.time_constant(settings.session_half_life_minutes * MINUTE),
            lifetime=decay.time_constant(settings.lifetime_half_life_days * DAY),
        )


@dataclass(frozen=True, slots=True)
class WeightedInteraction:
    """An interaction, ready to fold: `vector` of its item, signed `weight`, `time` in epoch seconds.

    `popularity`: the item's decayed count, over about a quarter, when it was last looked up.
    """

    item_id: str
    type: str
    vector: Vector
    weight: float
    time: float
    event_id: str
    popularity: float = 0.0


@dataclass(frozen=True, slots=True)
class PendingInteraction:
    """An interaction that waits for its item: the record's bytes as text, where it was, and since when."""

    item_id: str
    value: str
    topic: str
    partition: int
    offset: int
    log: str
    timestamp: int
    since: float
    headers: tuple[tuple[str, str], ...] = ()
    """Values as Latin-1, which keeps any bytes; so does `key`."""
    key: str | None = None
