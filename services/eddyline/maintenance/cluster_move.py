"""An embedded installation copied to a Kafka cluster and a Qdrant server, so that the services go on there.

Topics that are kept for a time have their records at the same offsets afterwards: what profiles, rows and measures say
of them (watermarks, origins, places) holds as it is, but for the log's name. Compacted topics are copied one record
after another, without the gaps. Wherever a log is named, in records, payloads and what groups have committed, the new
name takes the place of the old one, and the offset in a compacted topic that of its old one. So each service goes on
where it would have gone on here, whatever it has yet to handle. Nothing is changed in the data directory, and no
service starts on the topics before the last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from eddyline.adapters.kafka import (
    KafkaOptions,
    LogReader,
    OffsetAndMetadata,
    Record,
    TopicPartition,
    log_identities,
)
from eddyline.adapters.kafka.log_writer import CopiedPartition, LogWriter
from eddyline.adapters.kafka.topic_admin import create_topics_to_fill, finish_topics
from eddyline.adapters.vectors import BLENDS, EdgeStore, Point, VectorStore, generations, scroll_pages
from eddyline.errors import EddylineError, Misconfigured
from eddyline.model.profile import translate_state
from eddyline.profiler import GROUP as PROFILER
from eddyline.topics import (
    ACTIVITY,
    AVAILABILITY,
    CONTENT,
    FEEDS,
    IMPRESSIONS,
    INSIGHTS,
    INTERACTIONS,
    TOPIC_SPECS,
    USERS,
)

PAGE = 200
_TRANSFER = b'"transfer"'
"""In a record that holds a profile, whose state doesn't say openly what it names."""
ReportLine = Callable[[str], None]
"""Takes a line for whoever watches."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The installation that is copied, which nobody else uses."""

    log: KafkaOptions
    store: EdgeStore


@dataclass(frozen=True, slots=True)
class Destination:
    """Where it is copied to: a prefix that has neither topics nor collections."""

    log: KafkaOptions
    store: VectorStore


@dataclass(frozen=True, slots=True)
class _Places:
    """What became of the logs' names, and of the offsets of compacted topics.

    `cluster`: what the old names begin with. `in_place`: old name → new name; `moved`: with each partition's offsets.
    """

    cluster: str
    in_place: Mapping[str, str]
    moved: dict[str, tuple[str, dict[int, CopiedPartition]]] = field(default_factory=dict)

    def translate_bytes(self, value: bytes) -> bytes:
        """Translate a record's value or header."""
        if self.cluster.encode() not in value and _TRANSFER not in value:
            return value
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:  # a header
            return self._rename(value.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        translated = self.translate(parsed)
        return value if translated == parsed else orjson.dumps(translated)

    def translate(self, value: Any) -> Any:
        """Translate what JSON can hold."""
        if isinstance(value, str):
            return self._rename(value)
        if isinstance(value, list):
            if len(value) == 3 and self._is_moved(*value):
                return list(self._move(*value))
            return [self.translate(one) for one in value]
        if not isinstance(value, dict):
            return value
        translated = {self.translate(key): self.translate(one) for key, one in value.items()}
        if self._is_moved(value.get("log"), value.get("partition"), value.get("offset")):
            log, _, offset = self._move(value["log"], value["partition"], value["offset"])
            translated |= {"log": log, "offset": offset}
        elif {"state", "epoch", "last_seen"} <= value.keys():  # a profile's payload
            translated["state"] = self._translate_state(value["state"])
        return translated

    def translate_commit(self, topic_log: str, partition: int, position: OffsetAndMetadata) -> OffsetAndMetadata:
        """Translate what a group has committed in the log of that (old) name."""
        if topic_log in self.in_place:
            return OffsetAndMetadata(position.offset, self._rename(position.metadata))
        log, partitions = self.moved[topic_log]
        metadata = position.metadata.replace(topic_log, log)
        return OffsetAndMetadata(partitions[partition].next_offset(position.offset), metadata)

    def _rename(self, text: str) -> str:
        if self.cluster in text:
            for old, new in self.in_place.items():
                text = text.replace(old, new)
        return text

    def _translate_state(self, state: Any) -> Any:
        try:
            return translate_state(state, self.translate)
        except (ValueError, KeyError, TypeError, AttributeError):  # what an app wrote, which no profiler takes for one
            return state

    def _is_moved(self, log: Any, partition: Any, offset: Any) -> bool:
        if not (isinstance(log, str) and isinstance(partition, int) and isinstance(offset, int)):
            return False
        return log in self.moved and partition in self.moved[log][1]

    def _move(self, log: str, partition: int, offset: int) -> tuple[str, int, int]:
        new, partitions = self.moved[log]
        return new, partition, partitions[partition].new_offset(offset)


def move_to_cluster(origin: Origin, destination: Destination, report: ReportLine) -> None:
    """Copy topics, collections, and where each service goes on.

    Raises `Misconfigured` where something is there already, or partitions differ; `Unavailable` where Kafka or Qdrant
    don't take something.
    """
    _Move(origin, destination, report).run()


class _Move:
    def __init__(self, origin: Origin, destination: Destination, report: ReportLine) -> None:
        self._from, self._to, self._report = origin, destination, report
        self._live = generations.live(origin.store)
        self._groups = {
            "feeds": (FEEDS,),
            "embedder": (CONTENT, AVAILABILITY, USERS),
            "imager": (CONTENT,),
            generations.group_of(PROFILER, self._live.profiles): (INTERACTIONS,),
            "affinity": (ACTIVITY,),
            INSIGHTS: (IMPRESSIONS, INTERACTIONS),
        }

    def run(self) -> None:
        with closing(LogReader(self._from.log)) as reader:
            self._check_collections()
            self._check_partitions(reader)
            create_topics_to_fill(self._to.log)
            before, after = (log_identities(options, TOPIC_SPECS) for options in (self._from.log, self._to.log))
            places = self._copy_topics(reader, before, after)
            self._copy_collections(places)
            self._commit(reader, before, places)
        finish_topics(self._to.log)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def _check_collections(self) -> None:
        wanted = {*self._collections(), *self._from.store.aliases()}
        if found := sorted(wanted & {*self._to.store.collections(), *self._to.store.aliases()}):
            raise Misconfigured(
                f"the Qdrant server has a collection {found[0]} already: choose a prefix that has none "
                "(EDDYLINE_QDRANT__PREFIX), or delete what a run that failed has left"
            )

    def _check_partitions(self, reader: LogReader) -> None:
        found = len(reader.bounds(INTERACTIONS))
        if found != self._to.log.partitions:
            raise Misconfigured(
                f"the topics have {found} partitions here, and kafka.partitions is {self._to.log.partitions}: set "
                f"EDDYLINE_KAFKA__PARTITIONS={found}; more can be added once all is there"
            )

    # -- the copy ---------------------------------------------------------------------------------------------------

    def _copy_topics(self, reader: LogReader, before: Mapping[str, str], after: Mapping[str, str]) -> _Places:
        """Copy compacted topics, then the others, which say where something was in them."""
        cluster = before[INTERACTIONS].partition("/")[0]
        places = _Places(cluster, {before[name]: after[name] for name in TOPIC_SPECS if not _is_compacted(name)})
        with closing(LogWriter(self._to.log)) as writer:
            for topic in sorted(TOPIC_SPECS, key=_is_compacted, reverse=True):
                copied = 0
                offsets: dict[int, CopiedPartition] = {}
                for partition, (low, high) in reader.bounds(topic).items():
                    records = _translated(reader.read(topic, partition, low, high), places)
                    if _is_compacted(topic):
                        offsets[partition] = writer.copy(topic, partition, records)
                        copied += len(offsets[partition].offsets)
                    else:
                        writer.copy_in_place(topic, partition, low, high, records)
                        copied += high - low
                if _is_compacted(topic):
                    places.moved[before[topic]] = (after[topic], offsets)
                if copied:
                    self._report(f"topic {topic}: {copied:,} records")
        return places

    def _collections(self) -> list[str]:
        return [self._live.items, self._live.profiles, self._live.rows, BLENDS]

    def _copy_collections(self, places: _Places) -> None:
        there = set(self._from.store.collections())
        for name in [name for name in self._collections() if name in there]:
            spec = self._from.store.spec(name)
            self._to.store.ensure(spec)
            for page in scroll_pages(self._from.store, name, vectors=(*spec.dense, *spec.sparse), limit=PAGE):
                self._to.store.upsert(name, [_translated_point(point, places) for point in page])
            had, has = self._from.store.count(name), self._to.store.count(name)
            if had != has:
                raise EddylineError(f"collection {name} has {has:,} points there, and {had:,} here: start over")
            self._report(f"collection {name}: {has:,} points")
        generations.go_live(self._to.store, self._live)

    def _commit(self, reader: LogReader, before: Mapping[str, str], places: _Places) -> None:
        """Have each group go on there where it would have gone on here."""
        with closing(LogReader(self._to.log)) as there:
            for group, topics in self._groups.items():
                positions = {
                    TopicPartition(topic, partition): places.translate_commit(before[topic], partition, position)
                    for topic in topics
                    for partition, position in reader.committed(group, topic).items()
                    if position is not None
                }
                there.commit(group, positions)


def _is_compacted(topic: str) -> bool:
    return TOPIC_SPECS[topic].cleanup == "compact"


def _translated(records: Iterator[Record], places: _Places) -> Iterator[Record]:
    for record in records:
        headers = tuple((name, places.translate_bytes(value)) for name, value in record.headers)
        value = None if record.value is None else places.translate_bytes(record.value)
        yield replace(record, value=value, headers=headers)


def _translated_point(point: Point, places: _Places) -> Point:
    return replace(point, payload=places.translate(dict(point.payload)))
