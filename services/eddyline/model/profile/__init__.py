"""A person's profile: the state that every interaction is folded into, and its stored form."""

from eddyline.model.profile.codec import (
    decode_profile,
    encode_payload,
    former_vectors,
    pack_profile,
    stored_recents,
    unpack_profile,
)
from eddyline.model.profile.delivery import PendingInteraction
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SETS, WeightedInteraction
from eddyline.model.profile.state import translate_state
from eddyline.model.profile.taste import VECTORS, DecayedSums, TimeConstants

__all__ = [
    "SETS",
    "VECTORS",
    "DecayedSums",
    "PendingInteraction",
    "Profile",
    "TimeConstants",
    "WeightedInteraction",
    "decode_profile",
    "encode_payload",
    "former_vectors",
    "pack_profile",
    "stored_recents",
    "translate_state",
    "unpack_profile",
]
