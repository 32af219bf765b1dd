"""The Faust application: `impressions` and `interactions` in, changelogged tables out.

Faust brings the consumer group, the tables with their changelogs and their recovery. What it doesn't bring is a write
of several rows that happens as a whole, so its own acknowledgements are off: a batch is acknowledged when its plan and
its rows are (see `folding`). One agent, one at a time; no web server; nothing escapes the agent, since Faust would
count the record as handled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import IO, Any

import faust
import structlog
from faust.streams import _current_event
from faust.types import TP

from eddyline.adapters.kafka import (
    LARGE_RECORD_BYTES,
    DeadLetterWriter,
    FileDeadLetterWriter,
    KafkaOptions,
    KafkaProducer,
    Record,
    TopicDeadLetterWriter,
    log_identities,
)
from eddyline.adapters.telemetry import configure_logging
from eddyline.insights.event_fold import PEOPLE, PLAN_KEY, PLANS, TOPICS, WINDOWS, PartitionFold, WritePlan, last_plan
from eddyline.insights.expiry import ExpirySweep
from eddyline.insights.faust.changelog_recovery import recover_changelogs
from eddyline.insights.faust.gaps import GapReader
from eddyline.insights.faust.security import credentials
from eddyline.insights.worker_config import WorkerConfig

APP = "insights"
"""The consumer group, and the first part of the changelogs' names."""
BATCH = 500
IDLE_SECONDS = 1.0
SESSION_SECONDS, HEARTBEAT_SECONDS, REBALANCE_SECONDS = 10.0, 1.0, 15.0
LEAVE_SECONDS = 5.0
WRITE_SECONDS = 60.0
"""A write to a changelog that takes longer has failed."""
QUIET_SECONDS = 5.0
"""When so long nothing has come, what there still is to read is read from the log itself."""
FAILED = 70
"""Exit status (`EX_SOFTWARE`) of a worker that must start anew from its last commit."""

log = structlog.get_logger("insights")


class PartitionContext:
    """Stands for an event of a partition, since Faust's tables go by the event at hand."""

    def __init__(self, partition: int) -> None:
        self.message = SimpleNamespace(partition=partition, topic=None)


class FaustTables:
    """The rows of one partition in Faust's tables. What is put is on its way to the changelogs until `written`."""

    def __init__(self, tables: Mapping[str, Any], partition: int) -> None:
        self._tables, self._partition, self._context = tables, partition, PartitionContext(partition)
        self._sent: list[Any] = []

    def get(self, table: str, key: bytes) -> bytes | None:
        """A row's value."""
        with self._here():
            value: bytes | None = self._tables[table].data.get(key)
        return value

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write a row, or drop it."""
        # Faust's own assignment does the same two things, but keeps the future to itself; its flush neither says what
        # failed nor waits for longer than a tenth of a second.
        self._sent.append(self._tables[table].send_changelog(self._partition, key, value, value_serializer="raw"))
        with self._here():
            rows = self._tables[table].data
            if value is not None:
                rows[key] = value
            elif key in rows:
                del rows[key]

    async def written(self) -> None:
        """Wait until the changelogs have all that was put. Raises what kept one from it, or `TimeoutError`."""
        sent, self._sent = self._sent, []
        await asyncio.wait_for(asyncio.gather(*sent), WRITE_SECONDS)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        token = _current_event.set(weakref.ref(self._context))  # type: ignore[arg-type]
        try:
            yield
        finally:
            _current_event.reset(token)


class Worker:
    """Folds the records of the partitions that the group gives it. `logs`: the topics' identities."""

    def __init__(
        self, job: WorkerConfig, options: KafkaOptions, logs: Mapping[str, str], dead_letters: DeadLetterWriter
    ) -> None:
        self._job, self._options, self._logs, self._dead_letters = job, options, logs, dead_letters
        self.app = _build_application(job, options, self._resumed)
        self._tables = {
            name: self.app.Table(
                name,
                key_type=bytes,
                value_type=bytes,
                partitions=options.partitions,
            )
            for name in (PEOPLE, WINDOWS, PLANS)
        }
        names = [options.prefix + topic for topic in TOPICS]
        self._topic = self.app.topic(
            *names,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        self._foldings: dict[int, PartitionFold] = {}
        self._waiting: list[Any] = []
        self._stream: Any = None
        self._lock = asyncio.Lock()
        self._is_reading = False
        """Whether the tables hold all of the partitions that are ours now, and their records come in sequence."""
        self._missing = GapReader(options, BATCH)
        self._read_up_to: dict[tuple[str, int], int] = {}
        """Of a topic's partition, the offset before which the log itself holds nothing more than was taken."""
        self._heard: dict[tuple[str, int], float] = {}
        """When something last came of a topic's partition, in monotonic seconds."""
        self._since = 0.0
        """When reading began."""
        self._sweep = ExpirySweep(job.settings)
        self.app.agent(self._topic, name=APP, concurrency=1)(self._consume)
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.task(self._flush_again_and_again)
        self.app.task(self._idle_again_and_again)

    async def _consume(self, stream: Any) -> None:
        self._stream = stream
        async for event in _events(stream):
            self._waiting.append(event)
            message = event.message
            self._heard[message.topic, message.partition] = time.monotonic()
            if len(self._waiting) >= BATCH:
                await self._flush()

    def _resumed(self) -> None:
        """The tables are those of the partitions that are ours from now on."""
        self._foldings.clear()
        self._read_up_to.clear()
        self._heard.clear()
        self._since = time.monotonic()
        self._is_reading = True

    async def _revoked(self, *_: Any, **__: Any) -> None:
        """The plan in hand is carried out; what waits is read again by whoever owns it next."""
        self._is_reading = False
        async with self._lock:
            self._foldings.clear()
            self._waiting.clear()

    async def _flush_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._job.settings.flush_seconds)
            await self._flush()

    async def _idle_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            await self._idle()

    async def _flush(self) -> None:
        """Fold what waits, and acknowledge it. A worker that can't write ends, and starts anew."""
        try:
            async with self._lock:
                await self._fold()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            _crash(error)

    async def _fold(self) -> None:
        if not self._is_reading:
            return
        waiting, self._waiting = self._waiting, []
        generation = self.app.consumer_generation_id
        ours = [event for event in waiting if event.message.generation_id == generation]
        by_partition: dict[int, list[Any]] = {}
        for event in ours:
            by_partition.setdefault(event.message.partition, []).append(event)
        for partition, theirs in by_partition.items():
            tables = FaustTables(self._tables, partition)
            folding = await self._folding(partition, tables)
            async with aclosing(self._in_sequence(partition, folding, theirs)) as batches:
                async for records in batches:
                    if not await self._take(partition, tables, folding, records):
                        return
            for event in theirs:
                await self._stream.ack(event)

    async def _take(
        self, partition: int, tables: FaustTables, folding: PartitionFold, records: Sequence[Record]
    ) -> bool:
        """Whether these were folded, all of them: not so where the partition is being taken away."""
        taken = {topic: folding.taken(topic) for topic in TOPICS} | {one.topic: one.offset for one in records}
        for plan in folding.plans(tables, records, self._finished(partition, taken)):
            if self._is_leaving():  # whoever has the partition next reads on from the last plan
                return False
            await self._carry_out(plan, tables)
        return not self._is_leaving()

    async def _in_sequence(
        self, partition: int, folding: PartitionFold, events: Sequence[Any]
    ) -> AsyncGenerator[list[Record], None]:
        """The records that go on from the last plan up to the last of these events: where one is missing between them,
        all from the log. (Not every offset holds a record.)"""
        for topic in TOPICS:
            expected = folding.taken(topic) + 1
            of_topic = (self._record(event) for event in events if event.message.topic == self._options.prefix + topic)
            records = [record for record in of_topic if record.offset >= expected]
            if not records:
                continue
            last = records[-1].offset
            if [record.offset for record in records] == [*range(expected, last + 1)]:
                yield records
            else:
                async with aclosing(self._from_log(topic, partition, expected, last + 1)) as batches:
                    async for batch in batches:
                        yield batch

    async def _from_log(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[list[Record], None]:
        """What is there at offsets `start` to `end` - 1."""
        log.info("reading from the log itself", topic=topic, partition=partition, start=start, end=end)
        async with aclosing(self._missing.records(topic, partition, start, end)) as batches:
            async for batch in batches:
                yield batch
        self._read_up_to[topic, partition] = end

    def _is_leaving(self) -> bool:
        """Whether partitions are being taken away."""
        return not self._is_reading

    async def _folding(self, partition: int, tables: FaustTables) -> PartitionFold:
        """Of this partition; where it is newly ours, from the last plan on, whose rows are written again."""
        known = self._foldings.get(partition)
        if known is not None:
            return known
        last = last_plan(tables)
        if last is not None:
            await self._carry_out(last, tables)
        folding = PartitionFold(
            self._job.settings, self._options.partitions, self._logs, last, self._put_aside, time.time
        )
        self._foldings[partition] = folding
        return folding

    async def _carry_out(self, plan: WritePlan, tables: FaustTables) -> None:
        tables.put(PLANS, PLAN_KEY, plan.to_bytes())
        await tables.written()
        plan.write(tables)
        await tables.written()

    async def _idle(self) -> None:
        """Say how far each partition is, and drop what is over."""
        try:
            async with self._lock:
                if not self._is_reading:
                    return
                now = time.time()
                for tp in sorted(self.app.consumer.assignment()):
                    if tp.topic != self._options.prefix + TOPICS[0]:
                        continue
                    tables = FaustTables(self._tables, tp.partition)
                    folding = await self._folding(tp.partition, tables)
                    await self._catch_up(tp.partition, tables, folding)
                    if self._is_leaving():
                        return
                    finished = self._finished(tp.partition, {topic: folding.taken(topic) for topic in TOPICS})
                    folding.idle(finished).write(tables)
                    self._sweep.some(tables, self._tables, tp.partition, now)
                    await tables.written()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            _crash(error)

    async def _catch_up(self, partition: int, tables: FaustTables, folding: PartitionFold) -> None:
        """Take what nothing came after that would have shown that it is missing."""
        for topic in TOPICS:
            heard = self._heard.get((self._options.prefix + topic, partition), self._since)
            end = self._end_of(topic, partition)
            if (
                end is None
                or time.monotonic() - heard <= QUIET_SECONDS
                or self._is_read(topic, partition, folding.taken(topic))
            ):
                continue
            async with aclosing(self._from_log(topic, partition, folding.taken(topic) + 1, end)) as batches:
                async for records in batches:
                    if not await self._take(partition, tables, folding, records):
                        return

    def _finished(self, partition: int, taken: Mapping[str, int]) -> set[str]:
        """The topics of which nothing is left to read, so many having been taken."""
        return {topic for topic in TOPICS if self._is_read(topic, partition, taken[topic])}

    def _is_read(self, topic: str, partition: int, offset: int) -> bool:
        """Whether nothing comes after this offset, as far as the consumer knows."""
        end = self._end_of(topic, partition)
        return end is not None and end <= max(offset + 1, self._read_up_to.get((topic, partition), 0))

    def _end_of(self, topic: str, partition: int) -> int | None:
        """The offset of its next record, as far as the consumer knows."""
        end: int | None = self.app.consumer.highwater(TP(self._options.prefix + topic, partition))
        return end

    def _record(self, event: Any) -> Record:
        message = event.message
        topic = message.topic.removeprefix(self._options.prefix)
        return Record(
            topic,
            message.partition,
            message.offset,
            message.key,
            message.value,
            round(message.timestamp * 1000),
            self._logs[topic],
            tuple((name, value) for name, value in _headers(message.headers)),
        )

    def _put_aside(self, record: Record, reason: str, detail: str) -> None:
        log.warning("dead letter", topic=record.topic, place=record.place, reason=reason, detail=detail)
        self._dead_letters.put(record, reason, detail)


def run(source: IO[bytes]) -> None:
    """Work off the job that `source` holds in its first line, until SIGTERM, or until `source` ends: whoever started
    this is gone then. Raises `Misconfigured`."""
    job = WorkerConfig.model_validate_json(source.readline())
    configure_logging(job.log_level, job.log_format)
    options = job.cluster.options()
    logs = log_identities(options, TOPICS)
    producer = KafkaProducer(options)
    tables = log_identities(options, [f"{APP}-{table}-changelog" for table in (PEOPLE, WINDOWS, PLANS)])
    recover_changelogs(job.directory, tables, producer if options.in_process else None)
    dead_letters: DeadLetterWriter = (
        TopicDeadLetterWriter(producer) if job.dead_letters is None else FileDeadLetterWriter(job.dead_letters)
    )
    threading.Thread(target=_exit_with_parent, args=(source,), name="parent", daemon=True).start()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(job, options, logs, dead_letters)
    faust.Worker(
        worker.app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True
    ).execute_from_commandline()


class FaustApplication(faust.App):
    """Tells when a rebalance is over: the tables are recovered, and the streams flow again."""

    def __init__(self, *args: Any, resumed: Callable[[], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._resumed = resumed

    def on_rebalance_end(self) -> None:
        """Faust calls it; none of its signals comes as late."""
        super().on_rebalance_end()
        self._resumed()


def _build_application(job: WorkerConfig, options: KafkaOptions, resumed: Callable[[], None]) -> FaustApplication:
    servers = [f"kafka://{server.strip()}" for server in options.bootstrap_servers.split(",")]
    return FaustApplication(
        options.prefix + APP,
        resumed=resumed,
        broker=servers,
        broker_credentials=credentials(options.client),
        store="rocksdb://",
        datadir=str(job.directory),
        web_enabled=False,
        topic_partitions=options.partitions,
        topic_replication_factor=options.replication_factor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=1.0,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_rebalance_timeout=REBALANCE_SECONDS,
        producer_acks=-1,
        producer_max_request_size=LARGE_RECORD_BYTES,
        consumer_max_fetch_size=LARGE_RECORD_BYTES,
        stream_wait_empty=False,
    )


async def _events(stream: Any) -> AsyncIterator[Any]:
    """Its events, which aren't acknowledged by being read."""
    async for event in stream.noack().events():
        yield event


def _headers(given: Any) -> Iterable[tuple[str, bytes]]:
    if not given:
        return ()
    return given.items() if isinstance(given, Mapping) else given


def _exit_with_parent(source: IO[bytes]) -> None:
    while os.read(source.fileno(), 4096):  # past the buffer, whose lock would be held for ever
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_SECONDS)
    os._exit(0)  # it can't leave its group in order: the broker is gone, too


def _crash(error: BaseException) -> None:
    log.error("insights restarts from its last commit", reason=f"{type(error).__name__}: {error}", exc_info=error)
    sys.stderr.flush()
    os._exit(FAILED)
