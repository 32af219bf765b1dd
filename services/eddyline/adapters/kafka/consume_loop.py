"""The one consume loop of every service: poll, parse, handle, commit; nothing lost, no zombie's write kept.

Everything runs on the thread that calls `run`: the handler, and the `GroupListener`'s callbacks, which come from within
`GroupMember.poll` and must not raise, so that a failure in one is kept and raised when polling returns. Other threads
and signal handlers may call `stop`, `status` and `lag`, which read or set one attribute.

A crash at any point loses nothing: a record's offset is committed only after its batch was handled, or it was kept as a
dead letter. The next owner of the partition handles again what wasn't committed, under a higher epoch, which is itself
committed before its first record. At most two batches are repeated: the one in hand, and the one whose commit is on its
way.

No record stops it: one that the handler fails at becomes a dead letter, and the others of its batch are handled. A
mistake that fails at most records does, by the share of dead letters.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Generic

import structlog

from eddyline.adapters.kafka.batch import FAILED, Batch
from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.contract import DeadLetterWriter, Handler, Parsed, Record, TopicPartition
from eddyline.adapters.kafka.failure_isolation import FailureIsolation, describe_failure, log_failure
from eddyline.adapters.kafka.group_member import KafkaGroupMember
from eddyline.adapters.kafka.log_watch import LogWatch
from eddyline.adapters.kafka.loop_options import LoopOptions
from eddyline.adapters.kafka.membership import (
    CommitRefused,
    GroupMember,
    JoinGroup,
    OffsetAndMetadata,
    RebalanceInProgress,
)
from eddyline.adapters.kafka.ownership import OffsetCommits, PartitionOwnership, claim
from eddyline.adapters.kafka.status import LoopHealth, LoopStatus
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Fenced, Unavailable

_LOG = structlog.get_logger("eddyline.kafka.loop")
_WAIT_SECONDS = 0.01


class ConsumeLoop(Generic[Parsed]):
    """Feed `handler` with the records of `topics` (logical names) as `group`, as `Handler` says.

    `run` blocks until `stop`, which any thread or signal handler may call, as `status` and `lag` may be. The
    caller must run it at most once. One topic is assigned cooperatively, several by `range` (they must be
    co-partitioned). Records are handled before they are committed, and each commit is answered before the next
    is sent, a batch later; a handler that answers `Unavailable` is called again, with back-off, while everything is
    paused and polling goes on, so that a rebalance isn't missed.
    """

    def __init__(
        self,
        options: KafkaOptions,
        loop_options: LoopOptions,
        group: str,
        topics: Sequence[str],
        handler: Handler[Parsed],
        dead_letters: DeadLetterWriter,
        *,
        metrics: Metrics | None = None,
        join: JoinGroup = KafkaGroupMember,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`run` joins `group`, by `join`.

        `clock` gives epoch seconds, `jitter` a number in [0, 1), `monotonic` the seconds that limits are measured by;
        the loop waits in `GroupMember.poll` alone.
        """
        self._options, self._settings, self._join_group = options, loop_options, join
        self._group, self._topics = group, tuple(topics)
        self._handler, self._dead_letters = handler, dead_letters
        self._metrics = metrics or Metrics()
        self._clock, self._monotonic, self._jitter = clock, monotonic, jitter
        self._health = LoopHealth(group, clock, self._metrics)
        self._member: GroupMember
        self._owned = PartitionOwnership()
        self._logs: dict[str, str] = {}
        self._batch: Batch[Parsed] = Batch(loop_options)
        self._isolation = FailureIsolation(handler, self._batch, self._put_dead_letter, loop_options.handler_tries)
        self._failure: Exception | None = None  # from a callback, raised once polling returns
        self._commits = OffsetCommits(self._owned, self._poll_for_answer, loop_options.request_seconds, monotonic)
        self._joined = self._paused = self._changed = False
        self._replaced = False  # a log that we read was recreated
        self._rebalancing: float | None = None  # since when the group takes no commit for that reason
        self._fenced, self._floor = 0, 0  # how often in a row; the highest epoch that was seen in what is stored
        self._next_tick, self._log_watch = 0.0, LogWatch(loop_options.log_check_seconds, monotonic)
        self._lag: dict[TopicPartition, int] = {}
        self._stopping = False  # after the batch in hand

    def run(self) -> None:
        """Consume until stopped; then leave the group.

        Raises `TooManyDeadLetters`, `Misconfigured` for settings that Kafka refuses, `Fenced` where claiming again
        doesn't help, and the handler's `EddylineError`s that say nothing of a record; what wasn't handled stays
        uncommitted.
        """
        self._member = self._join()
        self._health.running(True)
        try:
            while not self._stopping:
                self._poll(self._batch.room, 0.0 if self._batch.pending else self._settings.poll_seconds)
                self._attempt()
            with suppress(CommitRefused, RebalanceInProgress, Unavailable):  # whoever comes next handles them again
                self._commits.wait()
            self._forget(tuple(self._owned))
            self._raise_failure()
        finally:
            self._forget(tuple(self._owned))
            self._leave()
            self._health.running(False)

    def stop(self) -> None:
        """Ask `run` to return after the batch in hand is handled and committed."""
        self._stopping = True

    def status(self) -> LoopStatus:
        """Return a snapshot."""
        return self._health.status

    def lag(self) -> dict[TopicPartition, int]:
        """Count the records of each owned partition that aren't handled yet, as of the last second."""
        return self._lag

    # One round.

    def _attempt(self) -> None:
        if self._replaced:
            return self._rejoin("the topic was recreated, or truncated")
        try:
            self._round()
        except CommitRefused as refused:
            self._rejoin(str(refused))
        except Fenced as fenced:
            self._claim_again(fenced)
        except RebalanceInProgress as error:
            now = self._monotonic()
            self._rebalancing = self._rebalancing or now
            if now - self._rebalancing > self._settings.rebalance_seconds:
                self._rejoin(str(error))
            else:
                self._wait(self._settings.poll_seconds)
        except Unavailable as error:
            self._wait(self._settings.backoff(self._health.failed(str(error)), self._jitter()))
        else:
            self._rebalancing = None
            self._health.succeeded()
            self._resume()

    def _round(self) -> None:
        self._commits.raise_refusal()
        self._claim()
        if not self._commits.in_flight:
            self._save()
        started = self._monotonic()
        if self._batch.fill(self._owned.announced, self._handler.parse, self._put_dead_letter):
            while part := self._batch.part:
                self._isolation.handle(part)
                self._fenced = 0
            self._isolation.end_batch()
            self._metrics.batch_seconds.labels(self._group).observe(self._monotonic() - started)
            for topic, count in self._batch.counts().items():
                self._metrics.records.labels(self._group, topic).inc(count)
                self._health.count(records=count)
            self._owned.handled(self._batch.take())
            self._commits.wait()
            self._commits.send(self._member)  # awaited after the next batch: by then the answer is there
        else:
            self._commits.wait()
        self._tick()

    def _claim(self) -> None:
        """Give each new partition its epoch, committed before any of its records is handled."""
        new = self._owned.unannounced()
        if not new:
            return
        self._logs.update(self._member.log_identities({source.topic for source in new}))
        min_epoch = max(int(self._clock() * 1000), self._floor + 1)
        claims = claim(self._member, new, min_epoch, self._logs, self._settings.request_seconds)
        self._owned.claim(claims)
        for source, claimed in claims.items():
            if claimed.rewind:
                self._member.seek(source, claimed.handled)
                self._batch.drop([source])  # it was read from an offset of another log
        # Fetched before the log was known, or left over from an earlier time when we owned it.
        self._batch.start({source: claimed.handled for source, claimed in claims.items()}, self._logs)
        self._save()
        epochs = self._owned.confirmed(claims)
        if epochs:
            self._handler.assigned(epochs)
            self._owned.announce(epochs)

    def _save(self) -> None:
        """Commit what is handled, and wait for the answer."""
        self._commits.wait()
        self._commits.send(self._member)
        self._commits.wait()

    def _put_dead_letter(self, record: Record, reason: str, error: Exception) -> None:
        detail = describe_failure(error) if reason == FAILED else str(error)
        self._dead_letters.put(record, reason, detail, attempt=self._health.status.attempts + 1)
        self._metrics.dead_letters.labels(self._group, record.topic, reason).inc()
        self._health.count(dead_letters=1)
        if reason == FAILED:
            log_failure(self._group, record, error)

    def _tick(self) -> None:
        if self._monotonic() < self._next_tick:
            return
        if not self._isolation.tick():
            self._metrics.tick_failures.labels(self._group).inc()
        self._lag = self._owned.lag(self._member.known_high)
        for source, records in self._lag.items():
            self._metrics.lag.labels(self._group, *source).set(records)
        if self._health.troubled and (present := self._member.present(self._settings.poll_seconds * 10)) is not None:
            self._health.reachable(present)
        self._replaced |= self._log_watch.replaced(self._member, self._owned, self._logs)
        self._next_tick = self._monotonic() + self._settings.tick_seconds

    # Polling.

    def _poll(self, max_records: int, seconds: float) -> None:
        records = self._member.poll(max(1, max_records), seconds)
        self._raise_failure()
        if self._changed:
            # A partition comes as it was when it last went: running while all are paused, or paused for ever.
            (self._member.pause if self._paused else self._member.resume)()
            self._changed = False
        if records:
            self._health.reachable()
        self._replaced |= any(self._owned.is_behind(record.source, record.offset) for record in records)
        self._batch.add(record for record in records if record.source in self._owned)

    def _poll_for_answer(self) -> None:
        self._poll(self._settings.batch_size, _WAIT_SECONDS)

    def _wait(self, seconds: float) -> None:
        """Poll with everything paused; what comes out nevertheless is kept."""
        deadline = self._monotonic() + seconds
        while (left := deadline - self._monotonic()) > 0 and not self._stopping:
            if not self._paused:
                self._member.pause()
                self._paused = True
            self._poll(self._settings.batch_size, min(left, self._settings.poll_seconds))

    def _resume(self) -> None:
        if self._paused:
            self._member.resume()
            self._paused = False

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # The group. (The `GroupListener`'s half: called from within `_poll`, on this thread.)

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """See `GroupListener`. `_claim` does the rest, since nothing may block or raise here."""
        self._joined = True
        self._changed = True
        self._owned.add_partitions(partitions)
        self._health.owns(True, self._owned)
        self._health.reachable({source.topic for source in partitions})

    def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """See `GroupListener`. The commit goes out ahead of our answer to the group, on the same connection."""
        uncommitted = {
            source: position for source, position in self._owned.uncommitted().items() if source in partitions
        }
        if uncommitted:
            with suppress(Exception):  # whoever comes next handles them again
                self._member.commit(uncommitted)
        self._forget(partitions)

    def on_lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `GroupListener`. It is too late to commit, and the group no longer counts us."""
        self._joined = False
        self._forget(partitions)

    def on_committed(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """See `GroupListener`."""
        self._owned.confirm(positions)
        self._health.reachable()

    def on_commit_failed(self, error: Exception) -> None:
        """See `GroupListener`. `OffsetCommits` raises it, if it still matters."""
        self._commits.failed(error)

    def on_problem(self, problem: str) -> None:
        """See `GroupListener`. Shown until the cluster answers."""
        self._health.unreachable(problem)

    def on_missing(self, topic: str) -> None:
        """See `GroupListener`. Shown until it is there."""
        self._health.missing(topic)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        announced = self._owned.remove_partitions(partitions)
        self._batch.drop(partitions)
        self._health.owns(self._joined, self._owned)
        if not announced:
            return
        try:
            self._handler.revoked(announced)
        except Exception as error:
            self._failure = error

    def _join(self) -> GroupMember:
        self._joined = self._paused = self._changed = self._replaced = False
        return self._join_group(self._options, self._group, self._topics, self, self._logs)

    def _rejoin(self, reason: str) -> None:
        """Forget what we own, since it is somebody else's, and start over as a new member."""
        _LOG.warning("rejoining", group=self._group, reason=reason)
        self._rebalancing = None
        self._forget(tuple(self._owned))
        self._leave()
        self._member = self._join()

    def _claim_again(self, fenced: Fenced) -> None:
        """Have every partition claimed again, over the epoch that was seen. Kafka refuses a zombie's claim; an owner
        whose epoch went back (a clock set back, offsets expired, another group name) goes on under a higher one.

        Raises `Fenced` where that has not helped a few times in a row: something else writes there, too.
        """
        self._fenced += 1
        if self._fenced > self._settings.fenced_limit:
            raise fenced
        if self._fenced == 1:
            _LOG.warning(
                "fenced: claiming the partitions again", group=self._group, epoch=fenced.epoch, reason=str(fenced)
            )
        self._floor = max(self._floor, fenced.epoch)
        self._handler.revoked(self._owned.invalidate_epochs())

    def _leave(self) -> None:
        self._joined = False
        if not self._member.close(self._settings.request_seconds):
            _LOG.warning("left without telling the group: Kafka doesn't answer", group=self._group)
