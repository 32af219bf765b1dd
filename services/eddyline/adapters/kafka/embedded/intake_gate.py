"""What keeps senders out while the journal takes nothing, or should not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from eddyline.adapters.kafka.contract import Acknowledgements, Outgoing, Producer, RecordMetadata
from eddyline.adapters.kafka.embedded.journal import Journal
from eddyline.errors import Overloaded, Unavailable


class IntakeGate:
    """Asked before anything new is taken in. The services' own records pass: they work off what is there."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def reason(self) -> str | None:
        """Why nothing is admitted: the disk fails, or has no room to spare; None where it is."""
        return self._journal.problem or self._journal.limit

    def admit(self) -> None:
        """Raise `Overloaded` with the reason while nothing is admitted."""
        if (reason := self.reason) is not None:
            raise Overloaded(reason, retry_after=5.0)

    def check(self) -> None:
        """Raise `Unavailable` with the reason while nothing is admitted."""
        if (reason := self.reason) is not None:
            raise Unavailable(reason)


class GatedProducer:
    """The `Producer` of those who take something in: it refuses what the gate doesn't admit, and what failed while
    the disk did says so."""

    def __init__(self, producer: Producer, gate: IntakeGate) -> None:
        self._producer, self._gate = producer, gate

    def send(self, record: Outgoing) -> Future[RecordMetadata]:
        """Send as the producer does. Raises `Overloaded` for what isn't admitted."""
        self._gate.admit()
        return self._producer.send(record)

    def send_all(self, records: Sequence[Outgoing]) -> list[RecordMetadata]:
        """Send as the producer does. Raises `Overloaded` for what isn't admitted."""
        self._gate.admit()
        return self._producer.send_all(records)

    def begin_all(self, records: Sequence[Outgoing]) -> Acknowledgements:
        """Send as the producer does. Raises `Overloaded` for what isn't admitted."""
        self._gate.admit()
        return self._producer.begin_all(records)

    def check(self) -> None:
        """Raise `Unavailable` where nothing new is admitted, or the broker doesn't answer."""
        self._gate.check()
        self._producer.check()

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()
