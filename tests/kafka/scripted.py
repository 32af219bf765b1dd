"""A Kafka that follows the test's script: partitions and consumer groups in memory, and a clock that moves only while
a loop waits, so that a test about back-off or time-outs takes milliseconds and always goes the same way.

What is scripted: `commit_answer` (what a commit meets), `lose` (the group gives a member up), `recreate` (another log
under the same name). All else is as on a Kafka: a member that joins or leaves makes the others give partitions up and
take them over, and a member that the group doesn't count (any more) can't commit. That this is true to Kafka is shown
by the tests that run on both; see `Backend` in `loops.py`.

A test runs `loop.run()` itself where it needs nothing in the midst of it. Otherwise the loop runs on a thread of its
own and takes turns with the test: a turn is from one `poll` to the next, and only one thread runs at any time.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from eddyline.adapters.kafka import (
    KafkaOptions,
    OffsetAndMetadata,
    Outgoing,
    Record,
    RecordMetadata,
    TopicPartition,
    Watermarks,
    partition_of,
)
from eddyline.adapters.kafka.membership import CommitRefused, GroupListener

PARTITIONS = 4
MAX_POLLS = 100_000
"""A script that polls more often than this has run away."""
EPOCH_SECONDS = 1_790_000_000.0


class NoAnswer(Exception):
    """As a `commit_answer`: the commit is lost, and nothing is heard of it."""


class Turns:
    """Threads that take turns: all of them stand still in `wait_for_turn` while another thread runs."""

    def __init__(self) -> None:
        self._threads: dict[int, tuple[threading.Thread, threading.Semaphore]] = {}
        self._back = threading.Semaphore(0)

    def start(self, target: Callable[[], None]) -> threading.Thread:
        """Start a thread, which stands still until the first turn is given."""
        turn = threading.Semaphore(0)

        def run() -> None:
            turn.acquire()
            try:
                target()
            finally:
                del self._threads[threading.get_ident()]
                self._back.release()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert thread.ident is not None
        self._threads[thread.ident] = (thread, turn)
        return thread

    def give(self) -> bool:
        """Let each thread run until it waits for its next turn, or ends, one after the other; False where none is left.

        For the test's thread.
        """
        running = list(self._threads.values())
        for _, turn in running:
            turn.release()
            self._back.acquire()
        return bool(running)

    def give_until_ended(self, thread: threading.Thread) -> None:
        """Give turns until this thread ends."""
        while thread.ident in self._threads:
            self.give()

    def wait_for_turn(self) -> None:
        """Stand still until the next turn. Returns at once on a thread that takes no turns, such as the test's."""
        if (own := self._threads.get(threading.get_ident())) is not None:
            self._back.release()
            own[1].acquire()


@dataclass
class _Log:
    """A topic, and how often it was made."""

    generation: int = 0
    partitions: list[list[Record]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])


class ScriptedKafka:
    """The cluster. `now` is its clock, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = Turns()
        self.commit_answer: Callable[[Mapping[TopicPartition, OffsetAndMetadata]], Exception | None] = (
            lambda positions: None
        )
        """What a commit meets, apart from what Kafka says by itself: None, the error that the member is told, or
        `NoAnswer`. What it raises, sending the commit raises."""
        self.fetched = 0
        """How many records members have polled."""
        self.committed: defaultdict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(dict)
        self._members: defaultdict[str, list[ScriptedMember]] = defaultdict(list)
        self._logs: defaultdict[str, _Log] = defaultdict(_Log)
        self.polls = 0
        self.at_poll: Callable[[], None] | None = None
        """Called whenever a member polls."""

    def clock(self) -> float:
        """Epoch seconds."""
        return EPOCH_SECONDS + self.now

    def monotonic(self) -> float:
        """Seconds since it began."""
        return self.now

    def join(
        self,
        _options: KafkaOptions,
        group: str,
        topics: Sequence[str],
        listener: GroupListener,
        logs: Mapping[str, str],
    ) -> ScriptedMember:
        """A `JoinGroup`."""
        member = ScriptedMember(self, group, topics, listener, logs)
        self._members[group].append(member)
        return member

    def log_identity(self, topic: str) -> str:
        return f"scripted/{topic}-{self._logs[topic].generation}"

    def records(self, source: TopicPartition) -> list[Record]:
        return self._logs[source.topic].partitions[source.partition]

    def send(self, records: Iterable[Outgoing]) -> list[RecordMetadata]:
        return [self._append(record) for record in records]

    def recreate(self, topic: str, offsets_stay: bool = False) -> None:
        """Delete a topic and create it again. Who reads it finds its offset out of range, and reads from the start;
        with `offsets_stay` it is in range again before they look, and they read on from there."""
        self._logs[topic] = _Log(self._logs[topic].generation + 1)
        if offsets_stay:
            return
        for member in (member for members in self._members.values() for member in members):
            member.positions |= {source: 0 for source in member.positions if source.topic == topic}

    def lose(self, group: str = "readers") -> None:
        """Count the group's members no more, as when their sessions end. They hear of it when they poll."""
        for member in self._members.pop(group, []):
            member.is_lost = True

    # What a member asks.

    def poll(self) -> None:
        self.polls += 1
        assert self.polls < MAX_POLLS, "the script has run away"
        if self.at_poll is not None:
            self.at_poll()

    def members(self, group: str) -> list[ScriptedMember]:
        return self._members[group]

    def rejoin(self, member: ScriptedMember) -> None:
        self._members[member.group].append(member)

    def leave(self, member: ScriptedMember) -> None:
        if member in self._members[member.group]:
            self._members[member.group].remove(member)

    def owner(self, group: str, source: TopicPartition) -> ScriptedMember | None:
        return next((member for member in self._members[group] if source in member.positions), None)

    def _append(self, record: Outgoing) -> RecordMetadata:
        number = partition_of(record.key or b"", PARTITIONS) if record.partition is None else record.partition
        records = self.records(TopicPartition(record.topic, number))
        offset, timestamp, log = len(records), int(self.clock() * 1000), self.log_identity(record.topic)
        records.append(Record(record.topic, number, offset, record.key, record.value, timestamp, log, record.headers))
        return RecordMetadata(record.topic, number, offset)


class ScriptedMember:
    """A `GroupMember`. What happens in the group, and the answers to commits, reach the listener in the next `poll`."""

    def __init__(
        self,
        kafka: ScriptedKafka,
        group: str,
        topics: Sequence[str],
        listener: GroupListener,
        logs: Mapping[str, str],
    ) -> None:
        self._kafka, self.group, self._topics, self._listener, self._logs = kafka, group, topics, listener, logs
        self.positions: dict[TopicPartition, int] = {}
        """What is assigned, and the offset that is fetched next."""
        self.is_lost = False
        self._joined = False
        self._paused: set[TopicPartition] = set()  # as with the library, a partition that goes stays paused, or not
        self._answers: list[Callable[[], None]] = []

    def poll(self, max_records: int, seconds: float) -> list[Record]:
        self._kafka.turns.wait_for_turn()
        self._kafka.poll()
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()
        self._rebalance()
        records = self._fetch(max_records)
        if not records:
            self._kafka.now += seconds
        self._kafka.fetched += len(records)
        return records

    def commit(self, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        error = self._kafka.commit_answer(positions)
        if isinstance(error, NoAnswer):
            return
        if self not in self._kafka.members(self.group) or any(source not in self.positions for source in positions):
            error = CommitRefused("the group doesn't know this member")
        if error is None:
            self._kafka.committed[self.group] |= positions
            self._answers.append(lambda: self._listener.on_committed(positions))
        else:
            self._answers.append(lambda: self._listener.on_commit_failed(error))

    def committed(
        self, partitions: Iterable[TopicPartition], _seconds: float
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        return {source: self._kafka.committed[self.group].get(source) for source in partitions}

    def watermarks(self, source: TopicPartition, _seconds: float) -> Watermarks:
        return Watermarks(0, len(self._kafka.records(source)))

    def known_high(self, source: TopicPartition) -> int | None:
        return len(self._kafka.records(source))

    def present(self, _seconds: float) -> set[str] | None:
        return set(self._topics)

    def log_identities(self, topics: Iterable[str]) -> dict[str, str]:
        return {topic: self._kafka.log_identity(topic) for topic in topics}

    def seek(self, source: TopicPartition, offset: int) -> None:
        self.positions[source] = offset

    def pause(self) -> None:
        self._paused |= self.positions.keys()

    def resume(self) -> None:
        self._paused -= self.positions.keys()

    def close(self, _seconds: float) -> bool:
        self._kafka.leave(self)
        self.positions.clear()
        return True

    def _rebalance(self) -> None:
        """Give up what is others' by now, and take over what is ours and nobody holds any more."""
        if self.is_lost:
            self.is_lost = self._joined = False
            lost = sorted(self.positions)
            self.positions.clear()
            self._listener.on_lost(lost)
            self._kafka.rejoin(self)
        members = self._kafka.members(self.group)
        ours = {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in range(members.index(self), PARTITIONS, len(members))
        }
        if revoked := sorted(self.positions.keys() - ours):
            self._listener.on_revoked(revoked)  # it may commit them, still
            for source in revoked:
                del self.positions[source]
        assigned = sorted(source for source in ours if self._kafka.owner(self.group, source) is None)
        if assigned or not self._joined:
            self._joined = True
            self.positions |= {source: self._start(source) for source in assigned}
            self._listener.on_assigned(assigned)

    def _start(self, source: TopicPartition) -> int:
        position = self._kafka.committed[self.group].get(source)
        return position.offset if position is not None and position.offset <= len(self._kafka.records(source)) else 0

    def _fetch(self, max_records: int) -> list[Record]:
        fetched: list[Record] = []
        for source, offset in self.positions.items():
            if source not in self._paused:
                found = self._kafka.records(source)[offset : offset + max_records - len(fetched)]
                self.positions[source] = offset + len(found)
                fetched += found
        # The identity is the one that the loop was told, as with the library, which knows none.
        return [replace(record, log=self._logs.get(record.topic, "")) for record in fetched]
