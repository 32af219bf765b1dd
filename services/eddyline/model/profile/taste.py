"""A person's taste: decayed sums of the vectors of what they chose, and their answers while there is little else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from eddyline.model import decay
from eddyline.model.decay import DAY, MINUTE, NOTHING, Accumulator, Vector
from eddyline.model.distance import distance_of, folded_weight
from eddyline.settings import ProfileSettings


class TimeConstants(NamedTuple):
    """tau of each sum, in seconds."""

    taste: float
    session: float
    lifetime: float

    @classmethod
    def from_settings(cls, settings: ProfileSettings) -> TimeConstants:
        """Compute them from the half-lives of the settings."""
        return cls(
            taste=decay.time_constant(settings.taste_half_life_days * DAY),
            session=decay.time_constant(settings.session_half_life_minutes * MINUTE),
            lifetime=decay.time_constant(settings.lifetime_half_life_days * DAY),
        )


class DecayedSums(NamedTuple):
    """The same events in three sums, each fading with a half-life of its own: of days, of a visit, of months."""

    taste: Accumulator = NOTHING
    session: Accumulator = NOTHING
    lifetime: Accumulator = NOTHING

    def merge(self, other: DecayedSums, taus: TimeConstants) -> DecayedSums:
        """Return the sums of both event sets together."""
        return DecayedSums(*map(decay.merge, self, other, taus))


NO_SUMS = DecayedSums()
VECTORS = DecayedSums._fields
"""The sums' names, which are those of their vectors in the store."""
FORMER_VECTORS = (*VECTORS, "onboarding")
"""The dense vectors, by name, of a point whose state is of the first version: now they are in its payload."""


@dataclass(slots=True)
class Taste:
    """What a person likes. `space` names the embedding space of all the vectors (None: no vector yet)."""

    space: str | None = None
    sums: DecayedSums = NO_SUMS
    evidence: float = 0.0
    """Sum of all weights' magnitudes, never decayed."""
    onboarding: Vector | None = None
    """The vector of their answers: kept apart from what they did."""

    def fold(self, vector: Vector, weight: float, time: float, taus: TimeConstants) -> None:
        """Fold in the vector of an item, with the signed weight and the time (epoch seconds) of an interaction."""
        self.evidence += abs(weight)
        weight = folded_weight(weight, distance_of(self.space))
        if weight != 0:
            event = Accumulator(weight * vector, abs(weight), time)
            self.sums = self.sums.merge(DecayedSums(event, event, event), taus)
