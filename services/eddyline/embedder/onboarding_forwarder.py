"""Newcomers' answers, embedded and passed on under their person's key, and erasures likewise."""

from __future__ import annotations

from collections.abc import Sequence

from eddyline.adapters.encoders import TextEncoder
from eddyline.adapters.kafka import Message, Outgoing, Producer
from eddyline.adapters.vectors import Dense
from eddyline.embedder.catalogue_records import CatalogueEvent, Tombstone
from eddyline.model.events import Erased, Onboarded, RecordOrigin, User, cloud_event_headers
from eddyline.model.text import onboarding_text
from eddyline.topics import INTERACTIONS


class OnboardingForwarder:
    """Handles the topic `users`. All calls come from the consume loop's one thread."""

    def __init__(self, encoder: TextEncoder, producer: Producer) -> None:
        self._encoder, self._producer = encoder, producer

    def handle(self, batch: Sequence[Message[CatalogueEvent]]) -> None:
        """Pass these on; acknowledged on return."""
        if not batch:
            return
        texts = [
            onboarding_text(m.value.interests, m.value.goals, m.value.experience) if isinstance(m.value, User) else ""
            for m in batch
        ]
        rows = iter(self._encoder.encode([text for text in texts if text]))
        vectors = [next(rows) if text else None for text in texts]
        self._producer.send_all(
            [self._person_record(message, vector) for message, vector in zip(batch, vectors, strict=True)]
        )

    def _person_record(self, message: Message[CatalogueEvent], vector: Dense | None) -> Outgoing:
        user, record = message.value, message.record
        origin = RecordOrigin(**record.position._asdict())
        event: Onboarded | Erased
        if isinstance(user, Tombstone):
            event = Erased(user_id=user.key, timestamp=record.timestamp / 1000, origin=origin)
        else:
            assert isinstance(user, User)
            event = Onboarded(
                user_id=user.user_id,
                vector=None if vector is None else [float(x) for x in vector],
                space=None if vector is None else self._encoder.space,
                segment=user.segment,
                attributes=user.attributes,
                origin=origin,
            )
        headers = cloud_event_headers(event, record.place, "embedder")
        return Outgoing(INTERACTIONS, event.person.key.encode(), event.to_bytes(), headers)
