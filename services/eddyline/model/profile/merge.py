"""Merging: what an anonymous id did becomes the user's, exactly as if it had been theirs from the start."""

from __future__ import annotations

from dataclasses import replace

from eddyline.model.ids import Person
from eddyline.model.offsets import lowest_offsets
from eddyline.model.profile.delivery import Delivery
from eddyline.model.profile.identity import Identity
from eddyline.model.profile.profile import Profile
from eddyline.model.profile.seen_items import SeenItems
from eddyline.model.profile.taste import TimeConstants


def absorb(profile: Profile, other: Profile, taus: TimeConstants) -> None:
    """Take in, in place, all that another profile holds, as if its events had been folded here, since folds commute.

    The other's answers, attributes, erasure and watermarks stay its own. Raises `Misconfigured` where they are in
    different spaces.
    """
    if other.taste.space is not None:
        profile.require_space(other.taste.space)
    profile.taste.sums = profile.taste.sums.merge(other.taste.sums, taus)
    profile.taste.evidence += other.taste.evidence
    _merge_seen(profile.seen, other.seen)
    _merge_delivery(profile.delivery, other.delivery)
    seen_first = [each.identity.first_seen for each in (profile, other) if each.identity.first_seen is not None]
    profile.identity.first_seen = min(seen_first, default=None)
    profile.events += other.events
    profile.last_seen = max(profile.last_seen, other.last_seen)


def hand_over(profile: Profile, user: Person) -> None:
    """Keep, in place, nothing but what forwards to `user`: everything here has been handed over."""
    profile.forget_events()
    profile.delivery = replace(profile.delivery, pending=(), first={})
    profile.identity = Identity(merged_into=user, erased_at=profile.identity.erased_at)


def _merge_seen(seen: SeenItems, other: SeenItems) -> None:
    """Add all that the other holds: the later time of each item, the higher popularity, every exposure."""
    seen.recents = seen.recents.union(other.recents)
    seen.viewed = seen.viewed.union(other.viewed)
    seen.purchased = seen.purchased.union(other.purchased)
    seen.disliked = seen.disliked.union(other.disliked)
    seen.liked = seen.liked.union(other.liked)
    seen.shown = seen.shown.union(other.shown)
    seen.note_popularity(other.popularity)
    later = {item_id: max(at, seen.counted.get(item_id, at)) for item_id, at in other.counted.items()}
    seen.counted = {**seen.counted, **later}


def _merge_delivery(delivery: Delivery, other: Delivery) -> None:
    """Take over what waits and the event ids."""
    delivery.pending = (*delivery.pending, *other.pending)
    delivery.event_ids = (*other.event_ids, *delivery.event_ids)[-delivery.max_event_ids :]
    delivery.first = lowest_offsets(delivery.first, other.first)
