"""What every service may rely on: the consume loop's promises, on the scripted Kafka and the most real one there is."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs
from tests.kafka.loops import (
    QUICK,
    Backend,
    Outage,
    RecordingDeadLetters,
    RecordingHandler,
    ScriptedBackend,
    a_loop,
    joined,
    numbered,
    running,
)
from tests.kafka.scripted import NoAnswer
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LoopOptions, Message, Outgoing, Record, TopicDeadLetterWriter, TopicPartition
from eddyline.adapters.kafka.group_member import KafkaGroupMember
from eddyline.adapters.kafka.membership import CommitRefused, OffsetAndMetadata, RebalanceInProgress
from eddyline.adapters.kafka.ownership import epoch_of
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured, TooLarge, TooManyDeadLetters, Unavailable

IMPATIENT = {"max.poll.interval.ms": "2000", "session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}


def owns_all(handler: RecordingHandler) -> bool:
    return len(handler.owned) == 4


class Crash(BaseException):
    """An end without warning."""


@pytest.mark.slow(10)
def test_records_come_in_the_order_of_their_partition_and_whole(backend: Backend) -> None:
    sent = [
        Outgoing("interactions", b"u:1", None if n == 3 else f"{n}".encode(), (("ce_id", b"%d" % n),))
        for n in range(50)
    ]
    delivered = backend.send(sent)
    handler = RecordingHandler()
    with backend.running(backend.loop(handler)):
        backend.wait_until(lambda: len(handler.handled) == 50, "all are handled")
    assert [record.offset for record in handler.handled] == [each.offset for each in delivered]
    assert [(record.key, record.value, record.headers) for record in handler.handled] == [
        (each.key, each.value, each.headers) for each in sent
    ]
    assert {record.log for record in handler.handled} == {backend.log_identity("interactions")}
    assert handler.handled[0].topic == "interactions"
    assert handler.handled[0].timestamp > 1_600_000_000_000


@pytest.mark.slow(10)
def test_what_was_handled_is_not_handled_again_after_a_restart(backend: Backend) -> None:
    first, second = RecordingHandler(), RecordingHandler()
    backend.send(numbered(100))
    with backend.running(backend.loop(first)):
        backend.wait_until(lambda: len(first.handled) == 100, "the first hundred")
    backend.send(numbered(50, start=100))
    with backend.running(backend.loop(second)):
        backend.wait_until(lambda: len(second.handled) >= 50, "the next fifty")
    assert sorted(map(int, second.values)) == list(range(100, 150))


@pytest.mark.slow(10)
def test_what_a_crash_left_uncommitted_is_handled_again(backend: Backend) -> None:
    backend.send(numbered(100))

    def crash(batch: Sequence[Message[str]]) -> None:
        raise Crash

    with pytest.raises(Crash):
        backend.loop(RecordingHandler(crash)).run()
    handler = RecordingHandler()
    with backend.running(backend.loop(handler)):
        backend.wait_until(lambda: len(handler.handled) >= 100, "all are handled")
    assert sorted(map(int, handler.values)) == list(range(100))


@pytest.mark.slow(20)
def test_an_epoch_is_higher_than_every_earlier_owners_whatever_the_clock_says(backend: Backend) -> None:
    clocks = [2_000_000.0, 1_000_000.0, 3_000_000.0]
    seen: list[dict[TopicPartition, int]] = []
    for now in clocks:
        handler = RecordingHandler()
        loop = backend.loop(handler, clock=partial(float, now))
        with backend.running(loop):
            joined(loop, wait=backend.wait_until)
            backend.wait_until(partial(owns_all, handler), "all partitions are owned")
        seen.append({source: epoch for epochs in handler.epochs for source, epoch in epochs.items()})
    for source in seen[0]:
        assert [epochs[source] for epochs in seen] == [2_000_000_000, 2_000_000_001, 3_000_000_000]


def test_the_epoch_is_told_before_the_first_record_of_a_partition(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(200))
    handler = RecordingHandler()

    def owned(batch: Sequence[Message[str]]) -> None:
        assert {message.record.source for message in batch} <= handler.owned

    handler.failing = owned
    with scripted.running(scripted.loop(handler)):
        scripted.wait_until(lambda: len(handler.handled) == 200, "all are handled")


def test_an_epoch_is_committed_before_the_handler_is_told_of_it(scripted: ScriptedBackend) -> None:
    committed = scripted.kafka.committed["readers"]

    class Comparing(RecordingHandler):
        def assigned(self, epochs: Mapping[TopicPartition, int]) -> None:
            super().assigned(epochs)
            assert {source: epoch_of(committed[source].metadata) for source in epochs} == epochs

    scripted.send(numbered(40))
    handler = Comparing()
    scripted.run_until(scripted.loop(handler), lambda: len(handler.handled) == 40)
    assert {source for epochs in handler.epochs for source in epochs} == set(committed)


@pytest.mark.slow(20)
def test_two_members_share_the_partitions_and_lose_and_repeat_nothing(backend: Backend) -> None:
    one, two = RecordingHandler(), RecordingHandler()
    first, second = backend.loop(one), backend.loop(two)
    sent: list[int] = []

    def feed_until(condition: Callable[[], object], what: str) -> None:
        def feed() -> object:
            backend.send(numbered(20, start=len(sent)))
            sent.extend(range(len(sent), len(sent) + 20))
            return condition()

        backend.wait_until(feed, what)

    with backend.running(first):
        joined(first, wait=backend.wait_until)
        feed_until(lambda: len(one.handled) > 50, "the first has work")
        with backend.running(second):
            joined(second, 2, feed_until)
            joined(first, 2, feed_until)
            assert len(one.gone) == 2
            feed_until(lambda: len(two.handled) > 50, "the second has work")
        joined(first, wait=backend.wait_until)
        backend.wait_until(lambda: len(one.handled) + len(two.handled) >= len(sent), "all are handled")
    both = [int(value) for value in one.values + two.values]
    assert sorted(both) == sent
    for handler in (one, two):
        in_order: dict[TopicPartition, list[int]] = defaultdict(list)
        for record in handler.handled:
            in_order[record.source].append(record.offset)
        assert all(offsets == sorted(offsets) for offsets in in_order.values())


@pytest.mark.slow(20)
@pytest.mark.topics("content", "availability", "users")
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_co_partitioned_topics_go_to_the_same_member(
    kafka: KafkaForTest, protocol: Literal["classic", "consumer"]
) -> None:
    if protocol == "consumer" and kafka.kind == "in-process":
        pytest.skip("the in-process broker has no range assignor of its own")
    options = replace(kafka.options, group_protocol=protocol)
    topics = ("content", "availability", "users")
    first, second = (a_loop(kafka, RecordingHandler(), topics=topics, options=options) for _ in range(2))
    with running(first):
        joined(first, 12)
        with running(second):
            joined(second, 6)
            joined(first, 6)
            for loop in (first, second):
                by_topic = defaultdict(set)
                for topic, partition in loop.status().assigned:
                    by_topic[topic].add(partition)
                assert by_topic["content"] == by_topic["availability"] == by_topic["users"]


@pytest.mark.slow(20)
def test_the_consumer_protocol_loses_and_repeats_nothing_either(real_kafka: KafkaForTest) -> None:
    options = replace(real_kafka.options, group_protocol="consumer")
    producer, one, two = real_kafka.producer(), RecordingHandler(), RecordingHandler()
    first, second = (a_loop(real_kafka, handler, options=options) for handler in (one, two))
    producer.send_all(numbered(100))
    with running(first):
        wait_until(lambda: len(one.handled) == 100, "the first hundred")
        with running(second):
            joined(second, 2)
            joined(first, 2)
            producer.send_all(numbered(100, start=100))
            wait_until(lambda: len(one.handled) + len(two.handled) >= 200, "the second hundred")
        joined(first)
        producer.send_all(numbered(100, start=200))
        wait_until(lambda: len(one.handled) + len(two.handled) >= 300, "the third hundred")
    assert sorted(map(int, one.values + two.values)) == list(range(300))
    assert two.handled


@pytest.mark.slow(30)
def test_a_zombies_commit_is_refused_and_it_forgets_everything(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    producer.send_all(numbered(40))
    entered, go_on = threading.Event(), threading.Event()

    def stall(batch: Sequence[Message[str]]) -> None:
        if not go_on.is_set():
            entered.set()
            assert go_on.wait(60)

    # It misses max.poll.interval while it handles, so that the group gives its partitions away.
    stalling = replace(kafka.options, client=IMPATIENT)
    zombie, successor = RecordingHandler(stall), RecordingHandler()
    old = a_loop(kafka, zombie, options=stalling)
    with running(old):
        assert entered.wait(20)
        new = a_loop(kafka, successor)
        with running(new):
            joined(new)
            wait_until(lambda: len(successor.handled) == 40, "the successor has handled all")
            producer.send_all(numbered(10, start=40))
            wait_until(lambda: len(successor.handled) == 50, "and goes on")
            go_on.set()
            wait_until(lambda: len(zombie.gone) == 4, "the zombie has forgotten its partitions")
            wait_until(lambda: len(old.status().assigned) == 2, "the zombie has joined again")
            wait_until(lambda: len(zombie.epochs) > 1, "under a new epoch")
            latest = zombie.epochs[-1]
            before = successor.epochs[0]
            assert all(epoch > before[source] for source, epoch in latest.items())
    after = RecordingHandler()
    producer.send_all(numbered(5, start=50))
    with running(a_loop(kafka, after)):
        wait_until(lambda: len(after.handled) >= 5, "the last five")
    assert sorted(map(int, after.values)) == list(range(50, 55)), "the zombie moved no offset back"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (KafkaError.UNKNOWN_MEMBER_ID, CommitRefused),
        (KafkaError.FENCED_INSTANCE_ID, CommitRefused),
        (KafkaError.FENCED_MEMBER_EPOCH, CommitRefused),
        (KafkaError._ASSIGNMENT_LOST, CommitRefused),
        (KafkaError.REBALANCE_IN_PROGRESS, RebalanceInProgress),
        (KafkaError.ILLEGAL_GENERATION, RebalanceInProgress),
        (KafkaError.STALE_MEMBER_EPOCH, RebalanceInProgress),
        (KafkaError._TRANSPORT, Unavailable),
        (KafkaError.COORDINATOR_NOT_AVAILABLE, Unavailable),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Misconfigured),
    ],
)
def test_what_a_failed_commit_means(code: int, meaning: type[Exception]) -> None:
    errors: list[Exception] = []

    class Listening:
        on_commit_failed = errors.append

    member = KafkaGroupMember.__new__(KafkaGroupMember)
    member._silent, member._listener = False, Listening()  # type: ignore[assignment]
    member._on_commit(KafkaError(code), [])
    assert [type(error) for error in errors] == [meaning]


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (CommitRefused("unknown member"), QUICK),
        (RebalanceInProgress("for too long"), replace(QUICK, rebalance_seconds=0.2)),
    ],
    ids=["refused", "a rebalance that doesn't end"],
)
def test_a_refused_commit_makes_it_forget_everything_and_start_over(
    scripted: ScriptedBackend, error: Exception, settings: LoopOptions
) -> None:
    scripted.send(numbered(40))
    handler = RecordingHandler()
    scripted.kafka.commit_answer = lambda _: error if handler.handled and not handler.gone else None
    with scripted.running(scripted.loop(handler, settings=settings)):
        scripted.wait_until(lambda: len(handler.gone) == 4, "it forgets")
        refused = len(handler.handled)
        scripted.wait_until(lambda: len(handler.handled) >= refused + 40, "and handles again what wasn't committed")
    assert sorted({int(value) for value in handler.values}) == list(range(40))
    before, after = handler.epochs[0], handler.epochs[-1]
    assert all(after[source] > before[source] for source in after)


def test_one_batch_may_be_handled_while_a_commit_is_on_its_way_and_no_second_one(scripted: ScriptedBackend) -> None:
    scripted.send([Outgoing("interactions", b"k", b"%d" % n) for n in range(100)])
    handler, answering, unanswered = RecordingHandler(), threading.Event(), [0]

    def hold(_positions: Mapping[TopicPartition, OffsetAndMetadata]) -> Exception | None:
        if not handler.handled or answering.is_set():
            return None
        unanswered[0] += 1
        return NoAnswer()

    scripted.kafka.commit_answer = hold
    loop = scripted.loop(handler, settings=replace(QUICK, batch_size=10, request_seconds=0.5))
    with scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts > 2, "it asks for an answer, and asks again")
        assert len(handler.handled) == 20, "the first batch, and the one behind it"
        assert unanswered[0] > 2
        answering.set()
        scripted.wait_until(lambda: len(handler.handled) == 100, "all are handled")
    assert handler.values == [f"{n}" for n in range(100)]


def test_nothing_is_fetched_while_it_retries(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(10))
    handler = Outage()
    loop = scripted.loop(handler)
    with scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts > 1, "it retries")
        scripted.send(numbered(2000, start=10))
        attempts = loop.status().attempts
        scripted.wait_until(lambda: loop.status().attempts > attempts + 5, "it goes on retrying")
        assert scripted.kafka.fetched == 10
        handler.is_over = True
        scripted.wait_until(lambda: len(handler.handled) == 2010, "all are handled")


@pytest.mark.slow(10)
def test_a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_stream_goes_on(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    headers = (("ce_id", b"7"), ("ce_id", b"\xff"))
    producer.send_all([Outgoing("interactions", b"k", b"1"), Outgoing("interactions", b"k", b"poison", headers)])
    (last,) = producer.send_all([Outgoing("interactions", b"k", b"2")])
    handler, letters = RecordingHandler(), RecordingHandler()
    loop = a_loop(kafka, handler, dead_letters=TopicDeadLetterWriter(producer))
    with running(loop), running(a_loop(kafka, letters, group="undertaker", topics=("interactions.dlq",))):
        # Its value is poison to `letters` too: it reads the original bytes.
        letters.parse = lambda record: ""  # type: ignore[method-assign]
        wait_until(lambda: handler.values == ["1", "2"], "the stream goes on")
        wait_until(lambda: letters.handled, "the dead letter is there")
        wait_until(lambda: loop.status().records == 3, "a dead letter counts as handled")
    (letter,) = letters.handled
    assert (letter.key, letter.value, letter.headers[:2]) == (b"k", b"poison", headers)
    assert dict(letter.headers[2:]) == {
        "eddyline-dlq-reason": b"invalid_event",
        "eddyline-dlq-detail": b"value: can't be read",
        "eddyline-dlq-topic": b"interactions",
        "eddyline-dlq-partition": b"%d" % last.partition,
        "eddyline-dlq-offset": b"%d" % (last.offset - 1),
        "eddyline-dlq-log": kafka.log_identity("interactions").encode(),
        "eddyline-dlq-timestamp": dict(letter.headers[2:])["eddyline-dlq-timestamp"],
        "eddyline-dlq-attempt": b"1",
        "eddyline-dlq-at": dict(letter.headers[2:])["eddyline-dlq-at"],
    }
    assert loop.status().dead_letters == 1


def test_while_dead_letters_cannot_be_kept_nothing_after_them_is_committed(scripted: ScriptedBackend) -> None:
    scripted.send([Outgoing("interactions", b"k", value) for value in (b"1", b"poison", b"2")])
    buried = RecordingDeadLetters()

    class Full(RecordingDeadLetters):
        broken = True

        def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
            if self.broken:
                raise Unavailable("no room for dead letters")
            buried.put(record, reason, detail, attempt)

    full, handler = Full(), RecordingHandler()
    loop = scripted.loop(handler, dead_letters=full)
    with scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts > 1, "it retries")
        assert handler.values in (["1"], [])
    assert "no room" in (loop.status().problem or "")
    full.broken = False
    again = RecordingHandler()
    with scripted.running(scripted.loop(again, dead_letters=full)):
        scripted.wait_until(lambda: again.values[-1:] == ["2"], "the stream goes on")
    assert [letter[0].value for letter in buried.letters] == [b"poison"]


def failing_at(*values: str, error: Exception) -> Callable[[Sequence[Message[str]]], None]:
    """What a handler does that can't take these records."""

    def fail(batch: Sequence[Message[str]]) -> None:
        if any(message.value in values for message in batch):
            raise error

    return fail


@pytest.mark.parametrize(
    "error", [KeyError("evidence"), TooLarge("is too large for its topic")], ids=["bug", "refusal"]
)
@pytest.mark.parametrize("bad", [("0",), ("61",), ("99",), ("7", "8", "61")], ids=len)
def test_a_record_that_the_handler_fails_at_becomes_a_dead_letter_and_the_others_are_handled(
    scripted: ScriptedBackend, bad: tuple[str, ...], error: Exception
) -> None:
    scripted.send(numbered(100))
    letters, handler = RecordingDeadLetters(), RecordingHandler(failing_at(*bad, error=error))
    loop = scripted.loop(handler, dead_letters=letters)
    with scripted.running(loop):
        scripted.wait_until(lambda: len(handler.handled) == 100 - len(bad), "the others are handled")
        scripted.wait_until(
            lambda: sum(at.offset for at in scripted.kafka.committed["readers"].values()) == 100,
            "all of it is committed",
        )
    assert sorted(handler.values, key=int) == [str(n) for n in range(100) if str(n) not in bad], "each once"
    for source in {record.source for record in handler.handled}:
        offsets = [record.offset for record in handler.handled if record.source == source]
        assert offsets == sorted(offsets), "in order"
    assert sorted(record.value or b"" for record, *_ in letters.letters) == sorted(value.encode() for value in bad)
    assert {(reason, detail) for _, reason, detail, _ in letters.letters} == {
        ("handler_failed", f"{type(error).__name__}: {error}")
    }
    assert loop.status().dead_letters == len(bad)


def test_a_handler_that_fails_for_a_moment_makes_no_dead_letter(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(20))
    failures = iter(range(2))

    def fail(_: Sequence[Message[str]]) -> None:
        if next(failures, None) is not None:
            raise RuntimeError("just now")

    letters, handler = RecordingDeadLetters(), RecordingHandler(fail)
    with scripted.running(scripted.loop(handler, dead_letters=letters)):
        scripted.wait_until(lambda: len(handler.handled) == 20, "all are handled")
    assert (letters.letters, sorted(map(int, handler.values))) == ([], list(range(20)))


def test_a_bug_that_meets_every_record_stops_the_service(scripted: ScriptedBackend) -> None:
    def fail(_: Sequence[Message[str]]) -> None:
        raise ZeroDivisionError

    scripted.send(numbered(200))
    with pytest.raises(TooManyDeadLetters, match=r"dead letters, the last one at interactions .*upgrade Eddyline"):
        scripted.loop(RecordingHandler(fail)).run()


def test_what_is_not_a_records_fault_stops_the_service(scripted: ScriptedBackend) -> None:
    def fail(_: Sequence[Message[str]]) -> None:
        raise Misconfigured("the collection has another distance")

    letters = RecordingDeadLetters()
    scripted.send(numbered(3))
    with pytest.raises(Misconfigured):
        scripted.loop(RecordingHandler(fail), dead_letters=letters).run()
    assert letters.letters == []


def test_periodic_work_that_fails_stops_neither_the_stream_nor_itself(scripted: ScriptedBackend) -> None:
    class Restless(RecordingHandler):
        def tick(self) -> None:
            super().tick()
            raise KeyError("what waits")

    handler = Restless()
    with scripted.running(scripted.loop(handler)):
        scripted.wait_until(lambda: handler.ticks > 1, "it is tried again")
        scripted.send(numbered(3))
        scripted.wait_until(lambda: len(handler.handled) == 3, "the stream goes on")


def test_periodic_work_that_lacks_what_it_needs_stops_the_service(scripted: ScriptedBackend) -> None:
    class Misplaced(RecordingHandler):
        def tick(self) -> None:
            raise Misconfigured("there is no collection")

    with pytest.raises(Misconfigured):
        scripted.loop(Misplaced()).run()


def test_a_record_that_parsing_fails_at_becomes_a_dead_letter(scripted: ScriptedBackend) -> None:
    class Fragile(RecordingHandler):
        def parse(self, record: Record) -> str:
            if record.value == b"1":
                raise RecursionError("too deep")
            return super().parse(record)

    scripted.send(numbered(3))
    letters, handler = RecordingDeadLetters(), Fragile()
    with scripted.running(scripted.loop(handler, dead_letters=letters)):
        scripted.wait_until(lambda: len(handler.handled) == 2, "the others are handled")
    assert [(reason, detail) for _, reason, detail, _ in letters.letters] == [
        ("handler_failed", "RecursionError: too deep")
    ]


def test_too_large_a_share_of_dead_letters_stops_the_service(scripted: ScriptedBackend) -> None:
    scripted.send([Outgoing("interactions", b"k", b"poison" if n % 3 else b"fine") for n in range(200)])
    settings = LoopOptions(dead_letter_minimum=50)
    with pytest.raises(TooManyDeadLetters, match=r"interactions .*eddyline dlq list"):
        scripted.loop(RecordingHandler(), settings=settings).run()


def test_few_dead_letters_do_not_stop_the_service(scripted: ScriptedBackend) -> None:
    scripted.send([Outgoing("interactions", b"k", b"fine" if n % 3 else b"poison") for n in range(200)])
    handler = RecordingHandler()
    loop = scripted.loop(handler, settings=LoopOptions(dead_letter_minimum=50))
    scripted.run_until(loop, lambda: len(handler.handled) == 133)


def test_unavailable_is_retried_with_the_same_batch_and_nothing_is_lost(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(300))
    handler = Outage()
    loop = scripted.loop(handler, settings=replace(QUICK, batch_size=50))
    with scripted.running(loop):
        scripted.wait_until(lambda: len(handler.tried) > 3, "it retries")
        assert handler.tried[0] == handler.tried[1] == handler.tried[2]
        status = loop.status()
        assert status.problem == "Qdrant doesn't answer"
        assert status.since is not None
        assert not status.ready
        scripted.send(numbered(300, start=300))
        handler.is_over = True
        scripted.wait_until(lambda: len(handler.handled) >= 600, "all are handled")
        scripted.wait_until(lambda: loop.status().ready, "all is well again")
    assert sorted(map(int, handler.values)) == list(range(600))


def test_retrying_is_said_once_when_it_begins_and_ends_and_shows_why_since_when_and_how_often(
    scripted: ScriptedBackend,
) -> None:
    scripted.send(numbered(30))
    handler, metrics = Outage(), Metrics()
    loop = scripted.loop(handler, metrics=metrics, clock=partial(float, 1_790_000_000.0))

    def measured(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"eddyline_consumer_{name}", {"group": "readers"})

    with capture_logs() as logged, scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts >= 5, "it retries")
        trouble = loop.status().trouble or ""
        assert trouble.startswith("Qdrant doesn't answer (since 2026-09-21T14:13:20Z; tried ")
        assert measured("retrying") == 1
        assert (measured("retries_total") or 0) >= 5
        handler.is_over = True
        scripted.wait_until(lambda: loop.status().ready, "all is well again")
        tried = measured("retries_total")
        assert (loop.status().trouble, loop.status().since, loop.status().attempts) == (None, None, 0)
        assert measured("retrying") == 0
    said = [line for line in logged if line["event"] in ("retrying", "recovered")]
    assert [line["event"] for line in said] == ["retrying", "recovered"]
    assert said[0]["reason"] == "Qdrant doesn't answer"
    assert said[1]["attempts"] == tried


def test_back_off_doubles_up_to_its_cap_and_is_drawn_between_half_and_whole() -> None:
    options = LoopOptions(backoff_initial=0.1, backoff_cap=10.0)
    whole = [options.backoff(failures, 1.0) for failures in range(1, 12)]
    assert whole == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0, 10.0]
    assert options.backoff(1_000_000, 1.0) == 10.0
    assert [options.backoff(failures, 0.0) for failures in range(1, 12)] == [wait / 2 for wait in whole]


def test_every_wait_is_drawn_anew(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(3))
    drawn: list[float] = []
    tried: list[float] = []

    def jitter() -> float:
        drawn.append(0.0)
        return 0.0

    def down(_batch: Sequence[Message[str]]) -> None:
        tried.append(scripted.kafka.now)
        raise Unavailable("Qdrant doesn't answer")

    loop = scripted.loop(RecordingHandler(down), jitter=jitter)
    scripted.run_until(loop, lambda: len(tried) > 6)
    assert len(drawn) == loop.status().attempts
    waits = [after - before - QUICK.poll_seconds for before, after in pairwise(tried)]
    assert waits == pytest.approx([QUICK.backoff(failures, 0.0) for failures in range(1, len(tried))])


def test_what_stays_unavailable_is_not_committed(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(30))
    outage = Outage()
    scripted.run_until(scripted.loop(outage), lambda: len(outage.tried) > 2)
    handler = RecordingHandler()
    scripted.run_until(scripted.loop(handler), lambda: len(handler.handled) >= 30)
    assert sorted(map(int, handler.values)) == list(range(30))


@pytest.mark.slow(30)
def test_a_retry_goes_on_longer_than_the_group_waits_for_a_poll_and_loses_and_repeats_nothing(
    kafka: KafkaForTest,
) -> None:
    producer = kafka.producer()
    producer.send_all(numbered(30))
    handler, stranger = Outage(), RecordingHandler()
    impatient = replace(kafka.options, client=IMPATIENT)
    waits = replace(QUICK, backoff_initial=3, backoff_cap=3)  # longer than max.poll.interval.ms, 2 s
    loop = a_loop(kafka, handler, options=impatient, settings=waits)
    with running(loop):
        wait_until(lambda: loop.status().attempts >= 3, "three waits of up to 3 s", 30)
        producer.send_all(numbered(30, start=30))
        assert handler.gone == [], "it is still a member"
        assert len(handler.epochs) == 1
        handler.is_over = True
        wait_until(lambda: len(handler.handled) == 60, "all are handled")
        wait_until(lambda: sum(loop.lag().values()) == 0, "and nothing comes again")
    assert sorted(map(int, handler.values)) == list(range(60))
    with running(a_loop(kafka, stranger)) as after:
        joined(after.loop)
        wait_until(lambda: stranger.ticks > 3, "the next one reads")
    assert stranger.handled == [], "all was committed"


@pytest.mark.slow(10)
def test_partitions_revoked_during_a_retry_leave_the_batch(backend: Backend) -> None:
    backend.send(numbered(100))
    one, two = Outage(), RecordingHandler()
    first, second = backend.loop(one), backend.loop(two)
    with backend.running(first):
        backend.wait_until(lambda: first.status().attempts > 0, "it retries")
        with backend.running(second):
            joined(second, 2, backend.wait_until)
            joined(first, 2, backend.wait_until)
            taken = set(second.status().assigned)
            backend.wait_until(lambda: two.handled, "the second works")
            one.is_over = True
            backend.wait_until(lambda: len(one.handled) + len(two.handled) >= 100, "all are handled")
            assert taken.isdisjoint(record.source for record in one.handled)
            assert taken.issuperset(record.source for record in two.handled)
    assert sorted(map(int, one.values + two.values)) == list(range(100))


def test_partitions_that_are_lost_are_forgotten_without_a_commit_and_claimed_anew(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(40))
    lost, went_on = threading.Event(), threading.Event()

    def lose(_batch: Sequence[Message[str]]) -> None:
        if not lost.is_set():
            lost.set()
            scripted.kafka.lose()
        elif not went_on.is_set():
            went_on.set()
            raise Unavailable("Qdrant doesn't answer")

    handler = RecordingHandler(lose)
    scripted.run_until(
        scripted.loop(handler, settings=replace(QUICK, batch_size=40)), lambda: len(handler.handled) > 79
    )
    assert len(handler.batches) == 2, "the same records again, since nothing of the first batch was committed"
    assert handler.values[:40] == handler.values[40:]
    first, second = handler.epochs
    assert all(second[source] > first[source] for source in first)
    assert set(handler.gone) == set(first)
    assert [record.offset for record in handler.batches[1]] == [record.offset for record in handler.batches[0]]
    assert {source: position.offset for source, position in scripted.kafka.committed["readers"].items()} == {
        source: len(scripted.kafka.records(source)) for source in first
    }


def test_a_partition_that_left_during_a_retry_flows_again_when_it_comes_back(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(100))
    one, two = Outage(), Outage()
    first, second = scripted.loop(one), scripted.loop(two)
    with scripted.running(first):
        scripted.wait_until(lambda: first.status().attempts > 0, "it retries")
        with scripted.running(second):
            joined(second, 2, scripted.wait_until)
            joined(first, 2, scripted.wait_until)
        one.is_over = True
        joined(first, wait=scripted.wait_until)
        scripted.send(numbered(100, start=100))
        scripted.wait_until(lambda: len(one.handled) >= 200, "all are handled")
    assert sorted(map(int, one.values)) == list(range(200))


def test_a_partition_that_left_during_a_retry_flows_again_when_it_comes_back_after_it(
    scripted: ScriptedBackend,
) -> None:
    scripted.send(numbered(100))
    one, two = Outage(), Outage()
    first, second = scripted.loop(one), scripted.loop(two)
    with scripted.running(first):
        scripted.wait_until(lambda: first.status().attempts > 0, "it retries")
        with scripted.running(second):
            joined(first, 2, scripted.wait_until)
            one.is_over = True
            scripted.wait_until(lambda: first.status().ready, "it goes on with what it has")
        joined(first, wait=scripted.wait_until)
        scripted.wait_until(lambda: len(one.handled) >= 100, "all are handled")
    assert sorted(map(int, one.values)) == list(range(100))


def test_nothing_is_fetched_of_a_partition_that_comes_during_a_retry(scripted: ScriptedBackend) -> None:
    one, two = Outage(), RecordingHandler()
    first, second = (scripted.loop(handler, settings=replace(QUICK, batch_size=10)) for handler in (one, two))
    with scripted.running(first):
        with scripted.running(second):
            joined(first, 2, scripted.wait_until)
            scripted.send([Outgoing("interactions", b"k", b"0", partition=first.status().assigned[0].partition)])
            scripted.wait_until(lambda: first.status().attempts > 0, "it retries")
            coming = second.status().assigned[0].partition
        scripted.send([Outgoing("interactions", b"k", b"%d" % n, partition=coming) for n in range(1, 100)])
        joined(first, wait=scripted.wait_until)
        attempts = first.status().attempts
        scripted.wait_until(lambda: first.status().attempts > attempts + 5, "it goes on retrying")
        assert scripted.kafka.fetched <= 11, "no more than came with the partition, before it could be paused"
        one.is_over = True
        scripted.wait_until(lambda: len(one.handled) == 100, "all are handled")


def test_what_was_handled_is_committed_when_its_partition_goes(scripted: ScriptedBackend) -> None:
    """Even while the commit before is not answered."""
    scripted.send([Outgoing("interactions", b"k", b"%d" % n, partition=1) for n in range(40)])
    one, two = RecordingHandler(), RecordingHandler()
    first, second = (scripted.loop(handler, settings=replace(QUICK, batch_size=10)) for handler in (one, two))
    scripted.kafka.commit_answer = lambda _: NoAnswer() if len(one.handled) == 10 else None
    with scripted.running(first):
        scripted.wait_until(lambda: len(one.handled) == 20, "a second batch is handled")
        with scripted.running(second):
            scripted.wait_until(lambda: two.handled and two.values[-1] == "39", "the second member goes on")
    assert one.values + two.values == [f"{n}" for n in range(40)]


def test_ticks_come_about_as_often_as_asked_and_follow_the_same_rules(scripted: ScriptedBackend) -> None:
    class Ticking(RecordingHandler):
        def tick(self) -> None:
            super().tick()
            if self.ticks == 2:
                raise Unavailable("not just now")

    handler = Ticking()
    loop = scripted.loop(handler)
    scripted.run_until(loop, lambda: handler.ticks > 5)
    assert loop.status().problem is None
    assert 5 * QUICK.tick_seconds <= scripted.kafka.now <= 10 * QUICK.tick_seconds


@pytest.mark.slow(20)
def test_stop_finishes_the_batch_and_leaves_the_group(backend: Backend) -> None:
    backend.send(numbered(40))
    handler = RecordingHandler(lambda _batch: loop.stop())
    loop = backend.loop(handler)
    loop.run()
    assert handler.handled
    assert set(handler.gone) == {TopicPartition("interactions", n) for n in range(4)}
    assert not loop.status().running
    successor = RecordingHandler()
    next_loop = backend.loop(successor)
    with backend.running(next_loop):
        backend.wait_until(lambda: len(next_loop.status().assigned) == 4, "no wait for a session to end", 5)
        backend.wait_until(lambda: len(handler.handled) + len(successor.handled) >= 40, "the rest")
    assert sorted(map(int, handler.values + successor.values)) == list(range(40))


def test_lag_counts_what_waits(scripted: ScriptedBackend) -> None:
    scripted.send(numbered(100))
    handler = Outage()
    loop = scripted.loop(handler)
    with scripted.running(loop):
        scripted.wait_until(lambda: loop.status().attempts > 0, "it retries")
        handler.is_over = True
        scripted.wait_until(lambda: len(handler.handled) == 100, "all are handled")
        scripted.wait_until(lambda: len(loop.lag()) == 4 and sum(loop.lag().values()) == 0, "no lag")


@pytest.mark.slow(10)
def test_a_kafka_that_is_down_is_waited_for(kafka: KafkaForTest) -> None:
    loop = a_loop(kafka, RecordingHandler(), options=replace(kafka.options, bootstrap_servers="127.0.0.1:1"))
    with running(loop):
        wait_until(lambda: loop.status().problem, "it says that Kafka is down")
        assert not loop.status().ready
        assert loop.status().running


@pytest.mark.slow(10)
def test_a_topic_that_is_missing_is_waited_for(kafka: KafkaForTest) -> None:
    from eddyline.adapters.kafka import ensure_topics

    elsewhere = replace(
        kafka.options,
        prefix=kafka.options.prefix + "late.",
        client={"topic.metadata.refresh.interval.ms": "200"},
    )
    loop = a_loop(kafka, RecordingHandler(), options=elsewhere)
    with running(loop):
        wait_until(lambda: "interactions" in (loop.status().problem or ""), "it says what is missing")
        ensure_topics(elsewhere, ["interactions"])
        joined(loop)
        wait_until(lambda: loop.status().ready, "it is ready")
