"""One try at a batch, and what must be out before its profiles are written."""

from __future__ import annotations

from collections.abc import Callable

from eddyline.adapters.kafka import DeadLetterWriter, Outgoing, Producer, Record, TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.model.events import WireModel
from eddyline.model.forwarding import ForwardedFrom, without_forwarding_headers
from eddyline.model.ids import Person
from eddyline.model.profile import Profile
from eddyline.profiler.parsed_event import GROUP
from eddyline.topics import INTERACTIONS


class Attempt:
    """One try at a batch: profiles being folded, and the records that must be acknowledged before they are written."""

    def __init__(self) -> None:
        self.profiles: dict[Person, Profile] = {}
        self.partitions: dict[Person, int] = {}
        self.changed: set[Person] = set()
        self.outgoing: dict[tuple[str, int], Outgoing] = {}
        """By the position of the interaction each is due to, and its ordinal."""
        self.dead_letters: dict[str, tuple[Record, str, str]] = {}
        """By position: the record, the reason, the detail."""
        self.folded = 0
        self._forwarded: dict[tuple[Person, TopicPartition], int] = {}

    def send(self, due_to: Record, outgoing: Outgoing) -> None:
        """Send a record that must be acknowledged before the profiles are written."""
        place, ordinal = due_to.place, 0
        while (place, ordinal) in self.outgoing:
            ordinal += 1
        self.outgoing[place, ordinal] = outgoing

    def forward(self, record: Record, person: Person, event: WireModel) -> None:
        """Send `event` to the owner of `person`, once for `record`."""
        stream = (person, record.source)
        before = ForwardedFrom.from_headers(record.headers)
        authored = None if before is None else before.authored or before.origin
        forwarded = ForwardedFrom(record.position, self._forwarded.get(stream), authored)
        self._forwarded[stream] = record.offset
        headers = (*without_forwarding_headers(record.headers), *forwarded.headers())
        self.send(record, Outgoing(INTERACTIONS, person.key.encode(), event.to_bytes(), headers))

    def give_up(self, record: Record, reason: str, detail: str) -> None:
        """Make a dead letter of it."""
        self.dead_letters[record.place] = (record, reason, detail)


class Outbox:
    """Sends what attempts need acknowledged, once: there may be many attempts while the store is down."""

    def __init__(self, producer: Producer, dead_letters: DeadLetterWriter, metrics: Metrics) -> None:
        self._producer, self._dead_letters, self._metrics = producer, dead_letters, metrics
        self._sent: set[tuple[str, int]] = set()
        self._kept: set[str] = set()

    def begin(self, attempt: Attempt) -> Callable[[], None]:
        """Send; what is returned waits until all is acknowledged and every dead letter kept. Both raise `Unavailable`;
        some may be out then."""
        outgoing = {key: record for key, record in attempt.outgoing.items() if key not in self._sent}
        acknowledged = self._producer.begin_all(list(outgoing.values())) if outgoing else None

        def finish() -> None:
            if acknowledged is not None:
                acknowledged()
                self._sent.update(outgoing)
            self._keep_dead_letters(attempt)

        return finish

    def _keep_dead_letters(self, attempt: Attempt) -> None:
        letters = {place: letter for place, letter in attempt.dead_letters.items() if place not in self._kept}
        if letters:
            self._dead_letters.put_all(list(letters.values()))
            self._kept |= letters.keys()
            for record, reason, _ in letters.values():
                self._metrics.dead_letters.labels(GROUP, record.topic, reason).inc()

    def clear(self) -> None:
        """Forget what was sent: the attempt has succeeded."""
        self._sent.clear()
        self._kept.clear()
