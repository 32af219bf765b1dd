"""Profiles: look one up, and apply events that a request brings along, which are stored nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from eddyline.adapters.vectors import PROFILES, VectorStore, retrieve_profiles
from eddyline.errors import GenerationChanged, InvalidEvent, InvalidInput, Misconfigured, NotFound
from eddyline.model.decay import decayed_count_at
from eddyline.model.events import (
    Interaction,
    clamp_event_time,
    explain_validation_error,
    format_timestamp,
    interaction_weight,
)
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.placed_time import LAST_PLACE
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction, decode_profile
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.reader.catalogue_cache import CatalogueCache, any_item
from eddyline.reader.schemas import RecentInteraction
from eddyline.settings import Settings

Result = TypeVar("Result")


class ProfileReader:
    """The profiles of a store. May be called from any thread."""

    def __init__(self, store: VectorStore, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def load(self, person: Person | None) -> Profile | None:
        """Read a profile; of an anonymous person who was identified, the user's. Raises `Unavailable`."""
        if person is None:
            return None
        point_id = person_point_id(person)
        point = retrieve_profiles(self._store, PROFILES, [point_id]).get(point_id)
        if point is None:
            return None
        profile = decode_profile(person, point.payload, point.vectors, self._settings.profile)
        return profile if profile.identity.merged_into is None else self.load(profile.identity.merged_into)

    def describe(self, user_id: str) -> dict[str, Any]:
        """Describe what is known of a user. Raises `NotFound`."""
        profile = self.load(Person("u", user_id))
        if profile is None or profile.is_unknown:
            raise NotFound(f"nothing is known of user {user_id!r}")
        return {
            "user_id": user_id,
            "events": profile.events,
            "evidence": round(profile.taste.evidence, 6),
            "last_seen": format_timestamp(profile.last_seen) if profile.last_seen else None,
            "recents": profile.seen.recents.newest_first(),
            "onboarded": profile.taste.onboarding is not None,
            "segment": profile.identity.segment,
            "attributes": dict(profile.identity.attributes),
            "waiting": len(profile.delivery.pending),
            "anonymous_ids": list(profile.identity.linked_anonymous_ids),
        }


def parse_inline_events(recent: Sequence[RecentInteraction], settings: Settings, now: float) -> list[Interaction]:
    """Check types and times of a request's `recent`. Raises `InvalidInput` naming the field."""
    events = []
    for index, given in enumerate(recent):
        try:
            event = Interaction(**given.model_dump(mode="python"), anonymous_id="inline", event_id=f"inline:{index}")
            interaction_weight(event, settings.events)
            events.append(event.model_copy(update={"timestamp": clamp_event_time(event.timestamp, now)}))
        except InvalidEvent as error:
            raise InvalidInput(error.reason, f"recent.{index}.{error.field}") from None
        except ValidationError as error:
            reason, field = explain_validation_error(error)
            raise InvalidInput(reason, f"recent.{index}.{field}") from None
    return events


def apply_inline_events(
    profile: Profile | None, events: Sequence[Interaction], catalogue: CatalogueCache, settings: Settings, now: float
) -> Profile:
    """Return the profile as if these events had been applied already, after what is stored of the same time and in
    their own order; unknown items are passed over.

    Raises `Unavailable`, and `GenerationChanged` where the profile is of another space than the items.
    """
    applied = profile.copy() if profile else Profile(Person("a", "inline"), settings.profile)
    taus = TimeConstants.from_settings(settings.profile)
    points = (item_point_id(event.item_id) for event in events)
    known = {item.item_id: item for item in catalogue.find(points, any_item, vectors=("content",)).values()}
    for number, event in enumerate(events):
        item = known.get(event.item_id)
        if item is None or "space" not in item.payload or (vector := item.vectors["content"]) is None:
            continue
        try:
            applied.require_space(str(item.payload["space"]))
        except Misconfigured as error:  # the profile was read just before another generation went live
            raise GenerationChanged(str(error)) from error
        interaction = WeightedInteraction(
            event.item_id,
            event.type,
            np.asarray(vector, dtype=np.float64),
            interaction_weight(event, settings.events),
            now if event.timestamp is None else event.timestamp,
            decayed_count_at(item.payload.get("trend", {}).get(POPULARITY), now, trend_tau(POPULARITY)),
            LAST_PLACE - len(events) + number,
        )
        applied.fold(interaction, taus)
    return applied


def retry_on_generation_change(read: Callable[[], Result], forget: Callable[[], None]) -> Result:
    """Call `read`, and again where it met two generations, since one went live meanwhile: once what is cached of the
    one before is forgotten. Raises what it raises."""
    try:
        return read()
    except GenerationChanged:
        forget()
        return read()
