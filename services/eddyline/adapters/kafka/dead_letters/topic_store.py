"""Dead letters in Kafka: for each source topic, one of its dead letters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from eddyline.adapters.kafka.client_config import KafkaOptions, admin_config
from eddyline.adapters.kafka.contract import Headers, Outgoing, Producer, Record
from eddyline.adapters.kafka.dead_letters.dead_letter import (
    CUT,
    Clock,
    DeadLetter,
    DeadLetterKey,
    UnreadableDeadLetter,
    from_fields,
    in_size_limited_batches,
    to_fields,
    without_duplicates,
)
from eddyline.adapters.kafka.log_reader import LogReader
from eddyline.adapters.kafka.membership import Watermarks
from eddyline.errors import Misconfigured, Unavailable
from eddyline.topics import DEAD_LETTER_BYTES, SOURCE_TOPICS, dead_letter_topic

PREFIX = "eddyline-dlq-"
_NULL_KEY = "null-key"
_KEPT_BYTES = 100_000
"""How much is kept of a record that no dead letter can hold whole, as one that came compressed."""
_REQUEST_SECONDS = 30.0


class TopicDeadLetterWriter:
    """Dead letters in `<topic>.dlq`: the original key, value and headers, then `eddyline-dlq-*` headers.

    `-reason`, `-detail`, `-topic`, `-partition`, `-offset`, `-log`, `-timestamp`, `-attempt` and `-at` are UTF-8
    text. A record without a key gets an empty one, for its place, and `-null-key`. Of one that is too large, the
    beginning is kept, with `-cut`, its size: it can be looked at, and replayed from its own topic alone. `clock` gives
    epoch seconds.
    """

    def __init__(self, producer: Producer, clock: Clock = time.time) -> None:
        self._producer, self._clock = producer, clock

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Keep `record`; return when the broker has acknowledged it. Raises `Unavailable` when it doesn't."""
        self._producer.send_all([_outgoing(record, reason, detail, attempt, self._clock())])

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        """Keep records; return when the broker has acknowledged all. Raises `Unavailable` when it doesn't."""
        now = self._clock()
        self._producer.send_all([_outgoing(record, reason, detail, 1, now) for record, reason, detail in records])

    def put_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters that were kept elsewhere. Raises `Unavailable`."""
        self._producer.send_all(
            [_outgoing(one.record, one.reason, one.detail, one.attempt, one.given_up_at / 1000) for one in letters]
        )


class TopicDeadLetterStore:
    """The `DeadLetterStore` of a Kafka cluster. `producer` rewrites what stays; the caller closes it."""

    def __init__(self, options: KafkaOptions, producer: Producer) -> None:
        self._options, self._producer = options, producer
        self._reader = LogReader(options)

    def logs(self, topic: str | None = None) -> list[TopicDeadLetterLog]:
        """Return a log for each partition that holds any."""
        return [
            TopicDeadLetterLog(self._options, self._reader, self._producer, name, partition, bounds)
            for name in ([source.name for source in SOURCE_TOPICS] if topic is None else [topic])
            for partition, bounds in self._reader.bounds(dead_letter_topic(name)).items()
            if bounds.low < bounds.high
        ]

    def close(self) -> None:
        """Stop what is being read."""
        self._reader.close()


class TopicDeadLetterLog:
    """The `DeadLetterLog` of a partition of `<topic>.dlq`, between the `bounds` that it was found with."""

    def __init__(
        self,
        options: KafkaOptions,
        reader: LogReader,
        producer: Producer,
        topic: str,
        partition: int,
        bounds: Watermarks,
    ) -> None:
        self.topic = topic
        self.name = f"{dead_letter_topic(topic)}:{partition}"
        self._options, self._reader, self._producer = options, reader, producer
        self._partition, self._bounds = partition, bounds

    def read(self) -> Iterator[DeadLetter | UnreadableDeadLetter]:
        """Yield the dead letters in the order in which they were kept, each once."""
        return without_duplicates(self._read_dead_letter(record) for record in self._records())

    def remove(self, gone: Set[DeadLetterKey]) -> None:
        """Write those that stay to the end of the partition, then delete all that was there when this was found: the
        middle of a log can't be deleted.

        Raises `Unavailable`, and `Misconfigured` where the cluster doesn't allow it.
        """
        for batch in in_size_limited_batches(self._kept(gone), lambda record: record.size):
            self._producer.send_all(batch)
        self._delete_before(self._bounds.high)

    def _records(self) -> Iterator[Record]:
        return self._reader.read(dead_letter_topic(self.topic), self._partition, *self._bounds)

    def _kept(self, gone: Set[DeadLetterKey]) -> Iterator[Outgoing]:
        seen = set(gone)
        for record in self._records():
            found = self._read_dead_letter(record)
            if isinstance(found, DeadLetter):
                if found.identity in seen:
                    continue
                seen.add(found.identity)
            yield Outgoing(record.topic, record.key, record.value, record.headers, self._partition)

    def _read_dead_letter(self, record: Record) -> DeadLetter | UnreadableDeadLetter:
        try:
            fields = _dead_letter_headers(record.headers)
            key = None if _NULL_KEY in fields else record.key
            return from_fields(fields, self.topic, key, record.value, _original_headers(record.headers))
        except ValueError as error:
            return UnreadableDeadLetter(
                f"{self.name}:{record.offset}", str(error), record.key, record.value, record.headers
            )

    def _delete_before(self, offset: int) -> None:
        name = self._options.prefix + dead_letter_topic(self.topic)
        admin = AdminClient(admin_config(self._options))
        request: Mapping[Any, Any] = admin.delete_records(
            [KafkaPartition(name, self._partition, offset)], request_timeout=_REQUEST_SECONDS
        )
        (future,) = request.values()
        try:
            future.result(timeout=_REQUEST_SECONDS)
        except KafkaException as error:
            if "AUTHORIZATION" in error.args[0].name():
                raise Misconfigured(
                    f"topic {name}: {error.args[0].str()}; grant this client DELETE on it. Nothing is lost: what was "
                    "to stay may be there twice, and is shown once"
                ) from error
            raise Unavailable(f"topic {name}: nothing was removed: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise Unavailable(f"topic {name}: Kafka doesn't say whether the dead letters are removed") from error


def _outgoing(record: Record, reason: str, detail: str, attempt: int, at: float) -> Outgoing:
    fields = to_fields(record, reason, detail, attempt, at)
    if record.key is None:
        fields[_NULL_KEY] = "true"
    headers = (
        *_original_headers(record.headers),
        *((PREFIX + name, text.encode()) for name, text in fields.items()),
    )
    whole = Outgoing(dead_letter_topic(record.topic), record.key or b"", record.value, headers)
    return whole if whole.size <= DEAD_LETTER_BYTES else _cut(record, whole, fields)


def _cut(record: Record, whole: Outgoing, fields: Mapping[str, str]) -> Outgoing:
    fields = {**fields, CUT: str(whole.size)}
    headers = tuple((PREFIX + name, text.encode()) for name, text in fields.items())
    key, value = (record.key or b"")[:_KEPT_BYTES], record.value and record.value[:_KEPT_BYTES]
    return Outgoing(whole.topic, key, value, headers)


def _original_headers(headers: Headers) -> Headers:
    return tuple((name, value) for name, value in headers if not name.startswith(PREFIX))


def _dead_letter_headers(headers: Headers) -> dict[str, str]:
    """Read the headers of `TopicDeadLetterWriter`. Raises ValueError (a UnicodeDecodeError is one)."""
    return {name.removeprefix(PREFIX): value.decode() for name, value in headers if name.startswith(PREFIX)}
