"""One try at a batch, and what must be out before its profiles are written."""

from __future__ import annotations

from eddyline.adapters.kafka import DeadLetterWriter, Outgoing, Producer, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.model.events import WireModel
from eddyline.model.forwarding import ForwardedFrom, without_forwarding_headers
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.profiler.records import GROUP
from eddyline.topics import INTERACTIONS

DEAD_LETTER = -1
"""Stands for a place's dead letter, where numbers stand for what is sent because of it."""


class Attempt:
    """One try at a batch: profiles being folded, and the records that must be acknowledged before they are written."""

    def __init__(self) -> None:
        self.profiles: dict[Person, Profile] = {}
        self.partitions: dict[Person, int] = {}
        self.changed: set[Person] = set()
        self.outgoing: dict[tuple[str, int], Outgoing] = {}
        """By the place of the interaction each is due to, and a number."""
        self.letters: dict[str, tuple[Record, str, str]] = {}
        """Dead letters by their place: the record, the reason, the detail."""
        self.folded = 0
        self._passed: dict[tuple[Person, TopicPartition], int] = {}

    def send(self, due_to: Record, outgoing: Outgoing) -> None:
        """Send a record that must be acknowledged before the profiles are written."""
        number = 0
        while (due_to.place, number) in self.outgoing:
            number += 1
        self.outgoing[due_to.place, number] = outgoing

    def pass_on(self, record: Record, person: Person, said: WireModel) -> None:
        """Send `said` on to the owner of `person`, once for `record`."""
        stream = (person, record.source)
        passage = ForwardedFrom(record.log, record.partition, record.offset, self._passed.get(stream))
        self._passed[stream] = record.offset
        headers = (*without_forwarding_headers(record.headers), *passage.headers())
        self.send(record, Outgoing(INTERACTIONS, person.key.encode(), said.to_bytes(), headers))

    def give_up(self, record: Record, reason: str, detail: str) -> None:
        """Make a dead letter of it."""
        self.letters[record.place] = (record, reason, detail)


class Outbox:
    """Sends what attempts need acknowledged, once: there may be many attempts while the store is down."""

    def __init__(self, producer: Producer, dead_letters: DeadLetterWriter, metrics: Metrics) -> None:
        self._producer, self._dead_letters, self._metrics = producer, dead_letters, metrics
        self._sent: set[tuple[str, int]] = set()

    def send(self, attempt: Attempt) -> None:
        """Returns when all of it is acknowledged and buried. Raises `Unavailable`; some may be out then."""
        outgoing = {key: record for key, record in attempt.outgoing.items() if key not in self._sent}
        if outgoing:
            self._producer.send_all(list(outgoing.values()))
            self._sent |= outgoing.keys()
        for place, (record, reason, detail) in attempt.letters.items():
            if (place, DEAD_LETTER) not in self._sent:
                self._dead_letters.put(record, reason, detail)
                self._metrics.dead_letters.labels(GROUP, record.topic, reason).inc()
                self._sent.add((place, DEAD_LETTER))

    def clear(self) -> None:
        """The attempt has succeeded."""
        self._sent.clear()
