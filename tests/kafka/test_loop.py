"""What every service may rely on: the consume loop's promises, on the most real Kafka there is."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs
from tests.kafka.loops import QUICK, Buried, Noting, Running, a_loop, joined, numbered, running
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import LoopOptions, Message, Outgoing, Record, TopicDeadLetterWriter, TopicPartition
from eddyline.adapters.kafka.group_member import CommitRefused, GroupMember, OffsetAndMetadata, RebalanceInProgress
from eddyline.adapters.telemetry import Metrics, PrometheusLoopMetrics
from eddyline.errors import Misconfigured, TooManyDeadLetters, Unavailable

IMPATIENT = {"max.poll.interval.ms": "2000", "session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}


def owns_all(handler: Noting) -> bool:
    return len(handler.owned) == 4


class Crash(Exception):
    """A bug in a handler."""


def unavailable_until(mend: threading.Event) -> Callable[[Sequence[Message[str]]], None]:
    """What a handler does while its store is down."""

    def down(_batch: Sequence[Message[str]]) -> None:
        if not mend.is_set():
            raise Unavailable("Qdrant doesn't answer")

    return down


def test_records_come_in_the_order_of_their_partition_and_whole(kafka: KafkaForTest) -> None:
    sent = [
        Outgoing("interactions", b"u:1", None if n == 3 else f"{n}".encode(), (("ce_id", b"%d" % n),))
        for n in range(50)
    ]
    delivered = kafka.producer().send_all(sent)
    handler = Noting()
    with running(a_loop(kafka, handler)):
        wait_until(lambda: len(handler.handled) == 50, "all are handled")
    assert [record.offset for record in handler.handled] == [each.offset for each in delivered]
    assert [(record.key, record.value, record.headers) for record in handler.handled] == [
        (each.key, each.value, each.headers) for each in sent
    ]
    assert {record.log for record in handler.handled} == {kafka.log_identity("interactions")}
    assert handler.handled[0].topic == "interactions"
    assert handler.handled[0].timestamp > 1_600_000_000_000


def test_what_was_handled_is_not_handled_again_after_a_restart(kafka: KafkaForTest) -> None:
    producer, first, second = kafka.producer(), Noting(), Noting()
    producer.send_all(numbered(100))
    with running(a_loop(kafka, first)):
        wait_until(lambda: len(first.handled) == 100, "the first hundred")
    producer.send_all(numbered(50, start=100))
    with running(a_loop(kafka, second)):
        wait_until(lambda: len(second.handled) >= 50, "the next fifty")
    assert sorted(map(int, second.values)) == list(range(100, 150))


def test_what_a_crash_left_uncommitted_is_handled_again(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(100))

    def crash(batch: Sequence[Message[str]]) -> None:
        raise Crash

    crashed = Running(a_loop(kafka, Noting(crash)))
    assert isinstance(crashed.ended(), Crash)
    handler = Noting()
    with running(a_loop(kafka, handler)):
        wait_until(lambda: len(handler.handled) >= 100, "all are handled")
    assert sorted(map(int, handler.values)) == list(range(100))


def test_an_epoch_is_higher_than_every_earlier_owners_whatever_the_clock_says(kafka: KafkaForTest) -> None:
    clocks = [2_000_000.0, 1_000_000.0, 3_000_000.0]
    seen: list[dict[TopicPartition, int]] = []
    for now in clocks:
        handler = Noting()
        loop = a_loop(kafka, handler, clock=partial(float, now))
        with running(loop):
            joined(loop)
            wait_until(partial(owns_all, handler), "all partitions are owned")
        seen.append({source: epoch for epochs in handler.epochs for source, epoch in epochs.items()})
    for source in seen[0]:
        assert [epochs[source] for epochs in seen] == [2_000_000_000, 2_000_000_001, 3_000_000_000]


def test_the_epoch_is_told_before_the_first_record_of_a_partition(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(200))
    handler = Noting()

    def owned(batch: Sequence[Message[str]]) -> None:
        assert {message.record.source for message in batch} <= handler.owned

    handler.failing = owned
    with running(a_loop(kafka, handler)):
        wait_until(lambda: len(handler.handled) == 200, "all are handled")


def test_two_members_share_the_partitions_and_lose_and_repeat_nothing(kafka: KafkaForTest) -> None:
    producer, one, two = kafka.producer(), Noting(), Noting()
    first, second = a_loop(kafka, one), a_loop(kafka, two)
    stop = threading.Event()
    sent: list[int] = []

    def feed() -> None:
        while not stop.wait(0.005):  # a pace that a slow rebalance doesn't turn into a flood
            producer.send_all(numbered(20, start=len(sent)))
            sent.extend(range(len(sent), len(sent) + 20))

    feeder = threading.Thread(target=feed, daemon=True)
    with running(first):
        joined(first)
        feeder.start()
        wait_until(lambda: len(one.handled) > 50, "the first has work")
        with running(second):
            try:
                joined(second, 2)
                joined(first, 2)
                assert len(one.gone) == 2
                wait_until(lambda: len(two.handled) > 50, "the second has work")
            finally:
                stop.set()
                feeder.join(10)
        joined(first)
        wait_until(lambda: len(one.handled) + len(two.handled) >= len(sent), "all are handled")
    both = [int(value) for value in one.values + two.values]
    assert sorted(both) == sent
    for handler in (one, two):
        in_order: dict[TopicPartition, list[int]] = defaultdict(list)
        for record in handler.handled:
            in_order[record.source].append(record.offset)
        assert all(offsets == sorted(offsets) for offsets in in_order.values())


@pytest.mark.topics("content", "availability", "users")
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_co_partitioned_topics_go_to_the_same_member(
    kafka: KafkaForTest, protocol: Literal["classic", "consumer"]
) -> None:
    if protocol == "consumer" and kafka.kind == "in-process":
        pytest.skip("the in-process broker has no range assignor of its own")
    options = replace(kafka.options, group_protocol=protocol)
    topics = ("content", "availability", "users")
    first, second = (a_loop(kafka, Noting(), topics=topics, options=options) for _ in range(2))
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


def test_the_consumer_protocol_loses_and_repeats_nothing_either(real_kafka: KafkaForTest) -> None:
    options = replace(real_kafka.options, group_protocol="consumer")
    producer, one, two = real_kafka.producer(), Noting(), Noting()
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


def test_a_zombies_commit_is_refused_and_it_forgets_everything(real_kafka: KafkaForTest) -> None:
    producer = real_kafka.producer()
    producer.send_all(numbered(40))
    entered, go_on = threading.Event(), threading.Event()

    def stall(batch: Sequence[Message[str]]) -> None:
        if not go_on.is_set():
            entered.set()
            assert go_on.wait(60)

    # It misses max.poll.interval while it handles, so that the group gives its partitions away.
    stalling = replace(real_kafka.options, client=IMPATIENT)
    zombie, successor = Noting(stall), Noting()
    old = a_loop(real_kafka, zombie, options=stalling)
    with running(old):
        assert entered.wait(20)
        new = a_loop(real_kafka, successor)
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
    after = Noting()
    producer.send_all(numbered(5, start=50))
    with running(a_loop(real_kafka, after)):
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
    told: list[Exception] = []

    class Told:
        on_commit_failed = told.append

    member = GroupMember.__new__(GroupMember)
    member._silent, member._listener = False, Told()  # type: ignore[assignment]
    member._on_commit(KafkaError(code), [])
    assert [type(error) for error in told] == [meaning]


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (CommitRefused("unknown member"), QUICK),
        (RebalanceInProgress("for too long"), replace(QUICK, rebalance_seconds=0.2)),
    ],
    ids=["refused", "a rebalance that doesn't end"],
)
def test_a_refused_commit_makes_it_forget_everything_and_start_over(
    kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch, error: Exception, settings: LoopOptions
) -> None:
    kafka.producer().send_all(numbered(40))
    handler = Noting()
    commit = GroupMember.commit

    def refuse(self: GroupMember, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if handler.handled and not handler.gone:
            raise error
        commit(self, positions)

    monkeypatch.setattr(GroupMember, "commit", refuse)
    with running(a_loop(kafka, handler, settings=settings)):
        wait_until(lambda: len(handler.gone) == 4, "it forgets")
        refused = len(handler.handled)
        wait_until(lambda: len(handler.handled) >= refused + 40, "and handles again what wasn't committed")
    assert sorted({int(value) for value in handler.values}) == list(range(40))
    before, after = handler.epochs[0], handler.epochs[-1]
    assert all(after[source] > before[source] for source in after)


def test_one_batch_may_be_handled_while_a_commit_is_on_its_way_and_no_second_one(
    kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.producer().send_all([Outgoing("interactions", b"k", b"%d" % n) for n in range(100)])
    handler, answering, held = Noting(), threading.Event(), [0]
    commit = GroupMember.commit

    def hold(self: GroupMember, positions: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        if not handler.handled or answering.is_set():
            commit(self, positions)
        else:
            held[0] += 1

    monkeypatch.setattr(GroupMember, "commit", hold)
    loop = a_loop(kafka, handler, settings=replace(QUICK, batch_size=10, request_seconds=0.5))
    with running(loop):
        wait_until(lambda: loop.status().attempts > 2, "it asks for an answer, and asks again")
        assert len(handler.handled) == 20, "the first batch, and the one behind it"
        assert held[0] > 2
        answering.set()
        wait_until(lambda: len(handler.handled) == 100, "all are handled")
    assert handler.values == [f"{n}" for n in range(100)]


def test_nothing_is_fetched_while_it_retries(kafka: KafkaForTest, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = kafka.producer()
    producer.send_all(numbered(10))
    mend, polled, poll = threading.Event(), [0], GroupMember.poll

    def counting(self: GroupMember, most: int, seconds: float) -> list[Record]:
        records = poll(self, most, seconds)
        polled[0] += len(records)
        return records

    down = unavailable_until(mend)
    monkeypatch.setattr(GroupMember, "poll", counting)
    handler = Noting(down)
    loop = a_loop(kafka, handler)
    with running(loop):
        wait_until(lambda: loop.status().attempts > 1, "it retries")
        producer.send_all(numbered(2000, start=10))
        attempts = loop.status().attempts
        wait_until(lambda: loop.status().attempts > attempts + 5, "it goes on retrying")
        assert polled[0] < 100
        mend.set()
        wait_until(lambda: len(handler.handled) == 2010, "all are handled")


def test_a_record_that_cannot_be_read_becomes_a_dead_letter_and_the_stream_goes_on(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    headers = (("ce_id", b"7"), ("ce_id", b"\xff"))
    producer.send_all([Outgoing("interactions", b"k", b"1"), Outgoing("interactions", b"k", b"poison", headers)])
    (last,) = producer.send_all([Outgoing("interactions", b"k", b"2")])
    handler, letters = Noting(), Noting()
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


def test_while_dead_letters_cannot_be_kept_nothing_after_them_is_committed(kafka: KafkaForTest) -> None:
    kafka.producer().send_all([Outgoing("interactions", b"k", value) for value in (b"1", b"poison", b"2")])
    buried = Buried()

    class Full:
        broken = True

        def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
            if self.broken:
                raise Unavailable("no room for dead letters")
            buried.put(record, reason, detail, attempt)

    full, handler = Full(), Noting()
    loop = a_loop(kafka, handler, dead_letters=full)
    with running(loop):
        wait_until(lambda: loop.status().attempts > 1, "it retries")
        assert handler.values in (["1"], [])
    assert "no room" in (loop.status().problem or "")
    full.broken = False
    again = Noting()
    with running(a_loop(kafka, again, dead_letters=full)):
        wait_until(lambda: again.values[-1:] == ["2"], "the stream goes on")
    assert [letter[0].value for letter in buried.letters] == [b"poison"]


def test_too_large_a_share_of_dead_letters_stops_the_service(kafka: KafkaForTest) -> None:
    kafka.producer().send_all([Outgoing("interactions", b"k", b"poison" if n % 3 else b"fine") for n in range(200)])
    settings = LoopOptions(dead_letter_minimum=50)
    ended = Running(a_loop(kafka, Noting(), settings=settings)).ended()
    assert isinstance(ended, TooManyDeadLetters)
    assert "interactions" in str(ended)
    assert "eddyline dlq list" in str(ended)


def test_few_dead_letters_do_not_stop_the_service(kafka: KafkaForTest) -> None:
    kafka.producer().send_all([Outgoing("interactions", b"k", b"fine" if n % 3 else b"poison") for n in range(200)])
    handler = Noting()
    with running(a_loop(kafka, handler, settings=LoopOptions(dead_letter_minimum=50))):
        wait_until(lambda: len(handler.handled) == 133, "the others are handled")


def test_unavailable_is_retried_with_the_same_batch_and_nothing_is_lost(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    producer.send_all(numbered(300))
    attempts: list[list[str]] = []
    mend = threading.Event()

    def down(batch: Sequence[Message[str]]) -> None:
        attempts.append([message.value for message in batch])
        if not mend.is_set():
            raise Unavailable("Qdrant doesn't answer")

    handler = Noting(down)
    loop = a_loop(kafka, handler, settings=replace(QUICK, batch_size=50))
    with running(loop):
        wait_until(lambda: len(attempts) > 3, "it retries")
        assert attempts[0] == attempts[1] == attempts[2]
        status = loop.status()
        assert status.problem == "Qdrant doesn't answer"
        assert status.since is not None
        assert not status.ready
        producer.send_all(numbered(300, start=300))
        mend.set()
        wait_until(lambda: len(handler.handled) >= 600, "all are handled")
        wait_until(lambda: loop.status().ready, "all is well again")
    assert sorted(map(int, handler.values)) == list(range(600))


def test_retrying_is_said_once_when_it_begins_and_ends_and_shows_why_since_when_and_how_often(
    kafka: KafkaForTest,
) -> None:
    kafka.producer().send_all(numbered(30))
    mend, metrics = threading.Event(), Metrics()
    handler = Noting(unavailable_until(mend))
    loop = a_loop(kafka, handler, metrics=PrometheusLoopMetrics(metrics), clock=partial(float, 1_790_000_000.0))

    def measured(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"eddyline_consumer_{name}", {"group": "readers"})

    with capture_logs() as logged, running(loop):
        wait_until(lambda: loop.status().attempts >= 5, "it retries")
        trouble = loop.status().trouble or ""
        assert trouble.startswith("Qdrant doesn't answer (since 2026-09-21T14:13:20Z; tried ")
        assert measured("retrying") == 1
        assert (measured("retries_total") or 0) >= 5
        mend.set()
        wait_until(lambda: loop.status().ready, "all is well again")
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


def test_every_wait_is_drawn_anew(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(3))
    drawn: list[float] = []

    def jitter() -> float:
        drawn.append(0.0)
        return 0.0

    loop = a_loop(kafka, Noting(unavailable_until(threading.Event())), jitter=jitter)
    with running(loop):
        wait_until(lambda: loop.status().attempts > 3, "it retries")
    assert len(drawn) in (loop.status().attempts, loop.status().attempts - 1)


def test_what_stays_unavailable_is_not_committed(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(30))
    attempts: list[int] = []

    def down(batch: Sequence[Message[str]]) -> None:
        attempts.append(len(batch))
        raise Unavailable("Qdrant doesn't answer")

    with running(a_loop(kafka, Noting(down))):
        wait_until(lambda: len(attempts) > 2, "it retries")
    handler = Noting()
    with running(a_loop(kafka, handler)):
        wait_until(lambda: len(handler.handled) >= 30, "all are handled")
    assert sorted(map(int, handler.values)) == list(range(30))


def test_a_retry_goes_on_longer_than_the_group_waits_for_a_poll_and_loses_and_repeats_nothing(
    real_kafka: KafkaForTest,
) -> None:
    producer = real_kafka.producer()
    producer.send_all(numbered(30))
    mend = threading.Event()

    down = unavailable_until(mend)
    handler, stranger = Noting(down), Noting(down)
    impatient = replace(real_kafka.options, client=IMPATIENT)
    waits = replace(QUICK, backoff_initial=3, backoff_cap=3)  # longer than max.poll.interval.ms, 2 s
    loop = a_loop(real_kafka, handler, options=impatient, settings=waits)
    with running(loop):
        wait_until(lambda: loop.status().attempts >= 3, "three waits of up to 3 s", 30)
        producer.send_all(numbered(30, start=30))
        assert handler.gone == [], "it is still a member"
        assert len(handler.epochs) == 1
        mend.set()
        wait_until(lambda: len(handler.handled) == 60, "all are handled")
        wait_until(lambda: sum(loop.lag().values()) == 0, "and nothing comes again")
    assert sorted(map(int, handler.values)) == list(range(60))
    with running(a_loop(real_kafka, stranger)) as after:
        joined(after.loop)
        wait_until(lambda: stranger.ticks > 3, "the next one reads")
    assert stranger.handled == [], "all was committed"


def test_partitions_revoked_during_a_retry_leave_the_batch(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(100))
    mend = threading.Event()

    down = unavailable_until(mend)
    one, two = Noting(down), Noting()
    first, second = a_loop(kafka, one), a_loop(kafka, two)
    with running(first):
        wait_until(lambda: first.status().attempts > 0, "it retries")
        with running(second):
            joined(second, 2)
            joined(first, 2)
            taken = set(second.status().assigned)
            wait_until(lambda: {record.source for record in two.handled} <= taken and two.handled, "the second works")
            mend.set()
            wait_until(lambda: len(one.handled) + len(two.handled) >= 100, "all are handled")
            assert not taken & {record.source for record in one.handled}
    assert sorted(map(int, one.values + two.values)) == list(range(100))


def test_a_partition_that_left_during_a_retry_flows_again_when_it_comes_back(kafka: KafkaForTest) -> None:
    producer = kafka.producer()
    producer.send_all(numbered(100))
    mend = threading.Event()

    down = unavailable_until(mend)
    one, two = Noting(down), Noting(down)
    first, second = a_loop(kafka, one), a_loop(kafka, two)
    with running(first):
        wait_until(lambda: first.status().attempts > 0, "it retries")
        with running(second):
            joined(second, 2)
            joined(first, 2)
        mend.set()
        joined(first)
        producer.send_all(numbered(100, start=100))
        wait_until(lambda: len(one.handled) >= 200, "all are handled")
    assert sorted(map(int, one.values)) == list(range(200))


def test_ticks_come_about_as_often_as_asked_and_follow_the_same_rules(kafka: KafkaForTest) -> None:
    class Ticking(Noting):
        def tick(self) -> None:
            super().tick()
            if self.ticks == 2:
                raise Unavailable("not just now")

    handler = Ticking()
    loop = a_loop(kafka, handler)
    with running(loop):
        wait_until(lambda: handler.ticks > 5, "it ticks on")


def test_stop_finishes_the_batch_and_leaves_the_group(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(40))
    entered, go_on = threading.Event(), threading.Event()

    def slow(batch: Sequence[Message[str]]) -> None:
        entered.set()
        assert go_on.wait(20)

    handler = Noting(slow)
    loop = a_loop(kafka, handler)
    it = Running(loop)
    assert entered.wait(20)
    loop.stop()
    go_on.set()
    assert it.ended() is None
    assert handler.handled
    assert set(handler.gone) == {TopicPartition("interactions", n) for n in range(4)}
    assert not loop.status().running
    successor = Noting()
    next_loop = a_loop(kafka, successor)
    with running(next_loop):
        wait_until(lambda: len(next_loop.status().assigned) == 4, "no wait for a session to end", 5)
        wait_until(lambda: len(handler.handled) + len(successor.handled) >= 40, "the rest")
    assert sorted(map(int, handler.values + successor.values)) == list(range(40))


def test_draining_handles_all_that_is_there_before_it_stops(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(2000))
    handler = Noting()
    loop = a_loop(kafka, handler, settings=replace(QUICK, batch_size=50))
    loop.stop(drain=True, deadline_seconds=30)
    assert Running(loop).ended() is None
    assert sorted(map(int, handler.values)) == list(range(2000))


def test_draining_ticks_once_more_after_the_last_batch(kafka: KafkaForTest) -> None:
    """It may wait for what a service writes that is drained before."""
    kafka.producer().send_all(numbered(10))
    handler = Noting()
    loop = a_loop(kafka, handler, settings=replace(QUICK, tick_seconds=600.0))
    it = Running(loop)
    wait_until(lambda: len(handler.handled) == 10 and sum(loop.lag().values()) == 0, "all are handled")
    ticks = handler.ticks
    loop.stop(drain=True, deadline_seconds=30)
    assert it.ended() is None
    assert handler.ticks == ticks + 1


def test_a_last_tick_that_fails_does_not_keep_a_drain_for_ever(kafka: KafkaForTest) -> None:
    class Failing(Noting):
        def tick(self) -> None:
            raise Unavailable("Qdrant doesn't answer")

    loop = a_loop(kafka, Failing(), settings=replace(QUICK, drain_seconds=0.3))
    it = Running(loop)
    joined(loop)
    loop.stop(drain=True, deadline_seconds=math.inf)
    assert it.ended() is None


def test_the_last_tick_is_waited_for_from_when_all_is_handled(kafka: KafkaForTest) -> None:
    late = threading.Event()
    entered, go_on = threading.Event(), threading.Event()
    now = 0.0

    def slow(batch: Sequence[Message[str]]) -> None:
        entered.set()
        assert go_on.wait(20)

    class FailingOnce(Noting):
        def tick(self) -> None:
            if go_on.is_set() and not late.is_set():
                late.set()
                raise Unavailable("Qdrant doesn't answer")
            super().tick()

    kafka.producer().send_all(numbered(1))
    handler = FailingOnce(slow)
    settings = replace(QUICK, tick_seconds=600.0, drain_seconds=30.0)
    loop = a_loop(kafka, handler, settings=settings, monotonic=lambda: now + time.monotonic())
    it = Running(loop)
    assert entered.wait(20)
    loop.stop(drain=True, deadline_seconds=math.inf)
    ticks, now = handler.ticks, 60.0  # the batch takes longer than the patience
    go_on.set()
    assert it.ended() is None
    assert late.is_set()
    assert handler.ticks == ticks + 1


def test_draining_gives_up_at_its_deadline(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(10))

    def down(batch: Sequence[Message[str]]) -> None:
        raise Unavailable("Qdrant doesn't answer")

    loop = a_loop(kafka, Noting(down))
    it = Running(loop)
    wait_until(lambda: loop.status().attempts > 0, "it retries")
    loop.stop(drain=True, deadline_seconds=0.3)
    assert it.ended(10) is None


def test_lag_counts_what_waits(kafka: KafkaForTest) -> None:
    kafka.producer().send_all(numbered(100))
    hold = threading.Event()

    def down(batch: Sequence[Message[str]]) -> None:
        if not hold.is_set():
            raise Unavailable("Qdrant doesn't answer")

    handler = Noting(down)
    loop = a_loop(kafka, handler)
    with running(loop):
        wait_until(lambda: loop.status().attempts > 0, "it retries")
        hold.set()
        wait_until(lambda: len(handler.handled) == 100, "all are handled")
        wait_until(lambda: len(loop.lag()) == 4 and sum(loop.lag().values()) == 0, "no lag")


def test_a_kafka_that_is_down_is_waited_for(kafka: KafkaForTest) -> None:
    loop = a_loop(kafka, Noting(), options=replace(kafka.options, bootstrap_servers="127.0.0.1:1"))
    with running(loop):
        wait_until(lambda: loop.status().problem, "it says that Kafka is down")
        assert not loop.status().ready
        assert loop.status().running


def test_a_topic_that_is_missing_is_waited_for(real_kafka: KafkaForTest) -> None:
    from eddyline.adapters.kafka import ensure_topics

    elsewhere = replace(
        real_kafka.options,
        prefix=real_kafka.options.prefix + "late.",
        client={"topic.metadata.refresh.interval.ms": "200"},
    )
    loop = a_loop(real_kafka, Noting(), options=elsewhere)
    with running(loop):
        wait_until(lambda: "interactions" in (loop.status().problem or ""), "it says what is missing")
        ensure_topics(elsewhere, ["interactions"])
        joined(loop)
        wait_until(lambda: loop.status().ready, "it is ready")
