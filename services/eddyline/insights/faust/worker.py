"""The worker process of insights: `impressions` and `interactions` in, changelogged tables out.

Faust brings the consumer group, the tables with their changelogs and their recovery. What it doesn't bring is a write
of several rows that happens as a whole, so its own acknowledgements are off: a batch is acknowledged when its plan and
its rows are written (see `write_plan`).

Everything runs in one event loop: one agent, which only collects events, and two tasks, which handle them and look
after idle partitions. A lock lets one of them write at a time, and holds a rebalance up until the plan in hand is
carried out. No web server. Nothing may escape the agent, since Faust would count the record as handled: whatever
goes wrong ends the process, and the supervisor starts another, which goes on from the last plan.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import IO, Any

import faust
import structlog
from faust.types import TP

from eddyline.adapters.kafka import (
    DeadLetterWriter,
    KafkaOptions,
    KafkaProducer,
    LogReader,
    Record,
    TopicDeadLetterWriter,
    log_identities,
)
from eddyline.adapters.telemetry import configure_logging
from eddyline.errors import Unavailable
from eddyline.insights.faust.application import build_application
from eddyline.insights.faust.changelog_recovery import recover_changelogs
from eddyline.insights.faust.tables import FaustTables
from eddyline.insights.handler import TOPICS, PartitionHandler
from eddyline.insights.retention import RetentionSweep
from eddyline.insights.worker_config import WorkerConfig
from eddyline.insights.write_plan import PEOPLE, PLAN_KEY, PLANS, WINDOWS, WritePlan, last_plan
from eddyline.topics import INSIGHTS, changelog_topic

BATCH = 500
IDLE_SECONDS = 1.0
LEAVE_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""When nothing has come for so long, what there still is to read is read from the log itself."""
FAILED = 70
"""Exit status (`EX_SOFTWARE`) of a worker that must start again from its last plan."""

log = structlog.get_logger("insights")


class Worker:
    """Handles the records of the partitions that the group gives it. `logs`: the topics' identities."""

    def __init__(
        self, config: WorkerConfig, options: KafkaOptions, logs: Mapping[str, str], dead_letters: DeadLetterWriter
    ) -> None:
        self._config, self._options, self._logs, self._dead_letters = config, options, logs, dead_letters
        self.app = build_application(config.directory, options, self._resume)
        self._tables = {
            name: self.app.Table(name, key_type=bytes, value_type=bytes, partitions=options.partitions)
            for name in (PEOPLE, WINDOWS, PLANS)
        }
        topics = self.app.topic(
            *(options.prefix + topic for topic in TOPICS),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        self._handlers: dict[int, PartitionHandler] = {}
        self._pending: list[Any] = []
        """Events that are still to be handled."""
        self._stream: Any = None
        self._lock = asyncio.Lock()
        self._is_reading = False
        """Whether the tables hold all of the partitions that are ours now, and their records come in sequence."""
        self._log_reader: LogReader | None = None
        self._read_up_to: dict[tuple[str, int], int] = {}
        """The offset, by topic and partition, before which the log itself holds nothing more than was handled."""
        self._last_event: dict[tuple[str, int], float] = {}
        """When an event last came, by topic and partition, in monotonic seconds."""
        self._resumed_at = 0.0
        """When reading began, in monotonic seconds."""
        self._sweep = RetentionSweep(config.settings)
        self.app.agent(topics, name=INSIGHTS, concurrency=1)(self._consume)
        self.app.on_partitions_revoked.connect(self._revoke)
        self.app.on_before_shutdown.connect(self._revoke)  # while the producer still takes what is left of the plan
        self.app.task(self._flush_periodically)
        self.app.task(self._idle_periodically)

    # -- the agent, the tasks and the group -----------------------------------------------------------------------

    async def _consume(self, stream: Any) -> None:
        self._stream = stream
        async for event in _events(stream):
            self._pending.append(event)
            self._last_event[event.message.topic, event.message.partition] = time.monotonic()
            if len(self._pending) >= BATCH:
                await self._guard(self._flush)

    async def _flush_periodically(self) -> None:
        while True:
            await asyncio.sleep(self._config.settings.flush_seconds)
            await self._guard(self._flush)

    async def _idle_periodically(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            await self._guard(self._idle)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work under the lock while the partitions are ours. A worker that can't write ends, and another starts
        from its last plan."""
        try:
            async with self._lock:
                if self._is_reading:
                    await work()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            _crash(error)

    def _resume(self) -> None:
        """Begin to read: the tables are those of the partitions that are ours from now on."""
        self._handlers.clear()
        self._read_up_to.clear()
        self._last_event.clear()
        self._resumed_at = time.monotonic()
        self._is_reading = True

    async def _revoke(self, *_: Any, **__: Any) -> None:
        """Carry out the plan in hand; what is pending is read again by whoever owns it next."""
        self._is_reading = False
        async with self._lock:
            self._handlers.clear()
            self._pending.clear()

    async def _flush(self) -> None:
        """Handle what is pending, and acknowledge it."""
        pending, self._pending = self._pending, []
        generation = self.app.consumer_generation_id
        by_partition: defaultdict[int, list[Any]] = defaultdict(list)
        for event in pending:
            if event.message.generation_id == generation:
                by_partition[event.message.partition].append(event)
        for partition, events in by_partition.items():
            tables = FaustTables(self._tables, partition)
            handler = await self._handler(partition, tables)
            async with aclosing(self._in_sequence(partition, handler, events)) as batches:
                async for records in batches:
                    if not await self._handle(partition, tables, handler, records):
                        return
            for event in events:
                await self._stream.ack(event)

    async def _handle(
        self, partition: int, tables: FaustTables, handler: PartitionHandler, records: Sequence[Record]
    ) -> bool:
        """Whether all of these were handled: not so where the partition is being taken away."""
        handled = {topic: handler.handled(topic) for topic in TOPICS} | {one.topic: one.offset for one in records}
        for plan in handler.plans(tables, records, self._finished(partition, handled)):
            if not self._is_reading:  # whoever has the partition next reads on from the last plan
                return False
            await self._carry_out(plan, tables)
        return self._is_reading

    async def _handler(self, partition: int, tables: FaustTables) -> PartitionHandler:
        """The handler of a partition. Where that is newly ours, the rows of its last plan are written again."""
        known = self._handlers.get(partition)
        if known is not None:
            return known
        last = last_plan(tables)
        if last is not None:
            await self._carry_out(last, tables)
        handler = PartitionHandler(
            self._config.settings, self._options.partitions, self._logs, last, self._write_dead_letter, time.time
        )
        self._handlers[partition] = handler
        return handler

    async def _carry_out(self, plan: WritePlan, tables: FaustTables) -> None:
        tables.put(PLANS, PLAN_KEY, plan.to_bytes())
        await tables.flush()
        plan.write(tables)
        await tables.flush()

    # -- what Faust doesn't bring ---------------------------------------------------------------------------------

    async def _in_sequence(
        self, partition: int, handler: PartitionHandler, events: Sequence[Any]
    ) -> AsyncGenerator[list[Record], None]:
        """The records that go on from the last plan up to the last of these events: where one is missing between them,
        all from the log. (Not every offset holds a record.)"""
        for topic in TOPICS:
            expected = handler.handled(topic) + 1
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
        """Read what Faust didn't bring of offsets `start` to `end` - 1.

        Over a rebalance Faust throws away records that it has read, and counts them as handled: it may commit past
        them, and reads on from there. It also empties its queues when it resumes, though it may have read meanwhile.
        """
        log.info("reading from the log itself", topic=topic, partition=partition, start=start, end=end)
        if self._log_reader is None:
            self._log_reader = await asyncio.to_thread(LogReader, self._options)
        records = self._log_reader.read(topic, partition, start, end)
        try:
            while batch := await asyncio.to_thread(lambda: [*islice(records, BATCH)]):
                yield batch
        finally:
            await asyncio.to_thread(records.close)
        self._read_up_to[topic, partition] = end

    async def _catch_up(self, partition: int, tables: FaustTables, handler: PartitionHandler) -> None:
        """Handle what nothing came after that would have shown that it is missing."""
        for topic in TOPICS:
            last_event = self._last_event.get((self._options.prefix + topic, partition), self._resumed_at)
            start, end = handler.handled(topic) + 1, self._end_of(topic, partition)
            if (
                end is None
                or time.monotonic() - last_event <= QUIET_SECONDS
                or self._is_read(topic, partition, start - 1)
            ):
                continue
            async with aclosing(self._from_log(topic, partition, start, end)) as batches:
                async for records in batches:
                    if not await self._handle(partition, tables, handler, records):
                        return

    async def _idle(self) -> None:
        """Write how far each partition is measured, and drop what is over."""
        for tp in sorted(self.app.consumer.assignment()):
            if tp.topic != self._options.prefix + TOPICS[0]:
                continue
            tables = FaustTables(self._tables, tp.partition)
            handler = await self._handler(tp.partition, tables)
            try:
                await self._catch_up(tp.partition, tables, handler)
            except Unavailable as error:  # reading the log failed: nothing was half written
                log.warning("can't catch up; will try again", partition=tp.partition, reason=str(error))
            if not self._is_reading:
                return
            finished = self._finished(tp.partition, {topic: handler.handled(topic) for topic in TOPICS})
            try:
                handler.idle_plan(finished).write(tables)
                self._sweep.drop_some(tables, tp.partition, time.time())
            except Exception:  # what is measured doesn't depend on it
                log.exception("looking after an idle partition failed; will try again", partition=tp.partition)
            await tables.flush()

    def _finished(self, partition: int, handled: Mapping[str, int]) -> set[str]:
        """The topics of which nothing is left to read, once these offsets are handled."""
        return {topic for topic in TOPICS if self._is_read(topic, partition, handled[topic])}

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
        headers = tuple(_headers(message.headers))
        return Record(
            topic,
            message.partition,
            message.offset,
            message.key,
            message.value,
            round(message.timestamp * 1000),
            self._logs[topic],
            headers,
            self._options.trusts(message.key, message.value, headers),
        )

    def _write_dead_letter(self, record: Record, reason: str, detail: str) -> None:
        log.warning("dead letter", topic=record.topic, place=record.place, reason=reason, detail=detail)
        self._dead_letters.put(record, reason, detail)


def run(source: IO[bytes]) -> None:
    """Work by the config that `source` holds in its first line, until SIGTERM, or until `source` ends: whoever started
    this is gone then. Raises `Misconfigured`."""
    config = WorkerConfig.model_validate_json(source.readline())
    configure_logging(config.log_level, config.log_format)
    options = config.cluster
    logs = log_identities(options, TOPICS)
    producer = KafkaProducer(options)
    changelogs = log_identities(options, [changelog_topic(table) for table in (PEOPLE, WINDOWS, PLANS)])
    recover_changelogs(config.directory, changelogs, producer if config.is_embedded else None)
    threading.Thread(target=_exit_with_parent, args=(source,), name="parent", daemon=True).start()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(config, options, logs, TopicDeadLetterWriter(producer))
    faust.Worker(
        worker.app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True
    ).execute_from_commandline()


async def _events(stream: Any) -> AsyncIterator[Any]:
    """The events of a stream, not acknowledged by being read."""
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
    log.error("insights restarts from its last plan", reason=f"{type(error).__name__}: {error}", exc_info=error)
    sys.stderr.flush()
    os._exit(FAILED)
