"""Looking a person up."""

from __future__ import annotations

from typing import Any

from eddyline.adapters.vectors import PROFILES, VectorStore
from eddyline.errors import NotFound
from eddyline.model.events import format_timestamp
from eddyline.model.ids import Person, person_point_id
from eddyline.model.profile import STORED_VECTORS, Profile
from eddyline.settings import Settings


class ProfileReader:
    """The profiles of a store. May be called from any thread."""

    def __init__(self, store: VectorStore, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def profile(self, person: Person | None) -> Profile | None:
        """Read a profile; of an anonymous person who was identified, the user's. Raises `Unavailable`."""
        if person is None:
            return None
        point_id = person_point_id(person)
        point = self._store.retrieve(PROFILES, [point_id], vectors=STORED_VECTORS).get(point_id)
        if point is None:
            return None
        profile = Profile.load(person, point.payload, point.vectors, self._settings.profile)
        return profile if profile.forward is None else self.profile(profile.forward)

    def describe(self, user_id: str) -> dict[str, Any]:
        """What is known of a user. Raises `NotFound`."""
        profile = self.profile(Person("u", user_id))
        if profile is None or profile.is_unknown:
            raise NotFound(f"nothing is known of user {user_id!r}")
        return {
            "user_id": user_id,
            "events": profile.events,
            "evidence": round(profile.evidence, 6),
            "last_seen": format_timestamp(profile.last_seen) if profile.last_seen else None,
            "recents": profile.recents.newest_first(),
            "onboarded": profile.onboarding is not None,
            "segment": profile.segment,
            "attributes": dict(profile.attributes),
            "waiting": len(profile.pending),
        }
