"""A person's profile: the state that every interaction is folded into, and its stored form."""

from eddyline.model.profile.codec import stored_recents
from eddyline.model.profile.parts import (
    COUNTED,
    DAY,
    HOUR,
    MINUTE,
    NOTHING,
    SETS,
    STATE_VERSION,
    STORED_VECTORS,
    TWINS,
    VECTORS,
    PendingInteraction,
    TimeConstants,
    WeightedInteraction,
)
from eddyline.model.profile.state import Profile, merge_profiles

__all__ = [
    "COUNTED",
    "DAY",
    "HOUR",
    "MINUTE",
    "NOTHING",
    "SETS",
    "STATE_VERSION",
    "STORED_VECTORS",
    "TWINS",
    "VECTORS",
    "PendingInteraction",
    "Profile",
    "TimeConstants",
    "WeightedInteraction",
    "merge_profiles",
    "stored_recents",
]
