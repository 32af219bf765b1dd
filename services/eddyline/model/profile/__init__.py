"""A person's profile: the state that every interaction is folded into, and its stored form."""

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
    Deed,
    Pending,
    TimeConstants,
)
from eddyline.model.profile.state import Profile, merge
from eddyline.model.profile.stored import recents_of

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
    "Deed",
    "Pending",
    "Profile",
    "TimeConstants",
    "merge",
    "recents_of",
]
