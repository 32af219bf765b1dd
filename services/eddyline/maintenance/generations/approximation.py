"""Profiles brought into another space without the events that made them: by their newest items and stored answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eddyline.adapters.encoders import TextEncoder
from eddyline.adapters.kafka import LogReader, Record
from eddyline.adapters.vectors import VectorStore
from eddyline.errors import InvalidEvent
from eddyline.model.decay import NOTHING, Accumulator, Vector
from eddyline.model.events import Onboarded, Transfer, User, parse_entity, parse_event
from eddyline.model.ids import Person, item_point_id
from eddyline.model.offsets import LogPosition
from eddyline.model.profile import DecayedSums, Profile, TimeConstants, pack_profile, unpack_profile
from eddyline.model.text import onboarding_text
from eddyline.settings import ProfileSettings
from eddyline.topics import USERS


class OnboardingAnswers:
    """People's onboarding answers in the encoder's space, by the record of `users` that holds them."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._texts: dict[LogPosition, str] = {}
        self._latest: dict[str, LogPosition] = {}

    def read(self, log: LogReader) -> None:
        """Read all that `users` holds. The newest record of a person is what counts."""
        for partition, (low, high) in log.bounds(USERS).items():
            for record in log.read(USERS, partition, low, high):
                self._note(record)

    def _note(self, record: Record) -> None:
        key = (record.key or b"").decode(errors="replace")
        earlier = self._latest.pop(key, None)
        if earlier is not None:
            self._texts.pop(earlier, None)
        if record.value is None:
            return
        try:
            event = parse_entity(User, record.value, record.timestamp / 1000)
        except InvalidEvent:
            return
        self._latest[key] = record.position
        self._texts[record.position] = onboarding_text(event.interests, event.goals, event.experience)

    def vector(self, origin: LogPosition) -> Vector | None:
        """Embed the answers of that record; None where it is gone or has none."""
        text = self._texts.get(origin)
        return None if not text else np.asarray(self._encoder.encode([text])[0], dtype=np.float64)

    def translate(self, record: Record) -> Record:
        """Rewrite an `onboarded` record of another space as the embedder would write it now."""
        if record.value is None or b'"onboarded"' not in record.value:
            return record
        try:
            event = parse_event(Onboarded, record.value)
        except InvalidEvent:
            return record
        if event.space is None or event.space == self._encoder.space:
            return record
        vector = self.vector(event.origin.position)
        row = None if vector is None else [float(x) for x in vector]
        space = None if row is None else self._encoder.space
        return replace(record, value=event.model_copy(update={"vector": row, "space": space}).to_bytes())


class ProfileApproximation:
    """Brings a profile into another space by what it still knows: its newest items and when they came.

    Each sum becomes the decayed sum of those items' vectors, at the weight that the old sum had; what they weighed one
    by one, and what was negative, is lost.
    """

    def __init__(
        self, store: VectorStore, items: str, settings: ProfileSettings, space: str, answers: OnboardingAnswers
    ) -> None:
        self._store, self._items, self._space, self._answers = store, items, space, answers
        self._settings, self._taus = settings, TimeConstants.from_settings(settings)
        self.lost = 0
        """People whose answers were in their profile, and are in no log that could be embedded again."""

    def convert(self, profiles: Sequence[Profile]) -> None:
        """Convert the profiles in place."""
        ids = {item_point_id(item_id) for profile in profiles for item_id in profile.seen.recents.times}
        stored = self._store.retrieve(self._items, sorted(ids), payload=(), vectors=("content",))
        vectors = {
            point_id: np.asarray(point.vectors["content"], dtype=np.float64)
            for point_id, point in stored.items()
            if "content" in point.vectors
        }
        for profile in profiles:
            self._convert(profile, vectors)

    def translate(self, record: Record) -> Record:
        """Bring the snapshot of a transfer of another space, whose origin the log no longer holds, into ours."""
        if record.value is None or b'"transfer"' not in record.value:
            return record
        try:
            event = parse_event(Transfer, record.value)
            person = Person("a", event.anonymous_id)
            snapshot = unpack_profile(person, event.payload, event.vectors, self._settings)
        except (InvalidEvent, KeyError, TypeError, ValueError):
            return record
        if snapshot.taste.space in (None, self._space):
            return record
        self.convert([snapshot])
        payload, vectors = pack_profile(snapshot, record.partition)
        return replace(record, value=event.model_copy(update={"payload": payload, "vectors": vectors}).to_bytes())

    def _convert(self, profile: Profile, vectors: Mapping[str, Vector]) -> None:
        taste, position = profile.taste, profile.delivery.users_position
        pairs = zip(taste.sums, self._taus, strict=True)
        taste.sums = DecayedSums(*(self._sum(profile, old, tau, vectors) for old, tau in pairs))
        if taste.onboarding is not None:
            taste.onboarding = None if position is None else self._answers.vector(position)
            self.lost += taste.onboarding is None
        held = taste.onboarding is not None or any(total.sum is not None for total in taste.sums)
        taste.space = self._space if held else None

    @staticmethod
    def _sum(profile: Profile, old: Accumulator, tau: float, vectors: Mapping[str, Vector]) -> Accumulator:
        terms = [
            (math.exp((at - old.time) / tau), vectors[item_point_id(item_id)])
            for item_id, at in profile.seen.recents.times.items()
            if item_point_id(item_id) in vectors and at <= old.time
        ]
        weight = sum(share for share, _ in terms)
        if old.sum is None or weight <= 0:
            return NOTHING
        total = np.sum([share * vector for share, vector in terms], axis=0)
        return Accumulator(total * (old.weight / weight), old.weight, old.time)
