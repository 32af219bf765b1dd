"""Dead letters in Kafka: whole, and removable from the middle of a log while others come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kafka.letters import BURIED, a_record, found, letters, offsets, remove
from tests.support.kafka import KafkaForTest

from eddyline.adapters.kafka import (
    DeadLetter,
    LogReader,
    Outgoing,
    RecordMetadata,
    TopicDeadLetterStore,
    TopicDeadLetterWriter,
    UnreadableDeadLetter,
)
from eddyline.errors import Misconfigured, Unavailable

pytestmark = pytest.mark.topics()  # all: a box looks into every dead letter topic


@pytest.fixture
def box(kafka: KafkaForTest) -> Iterator[TopicDeadLetterStore]:
    it = TopicDeadLetterStore(kafka.options, kafka.producer())
    yield it
    it.close()


def put(kafka: KafkaForTest, *at: int) -> None:
    into = TopicDeadLetterWriter(kafka.producer(), lambda: BURIED)
    for offset in at:
        into.put(a_record(offset), "invalid_event", "can't be read")


def bounds(kafka: KafkaForTest) -> list[tuple[int, int]]:
    """Of the partitions of users.dlq that have ever held anything."""
    reader = LogReader(kafka.options)
    held = [tuple(each) for each in reader.bounds("users.dlq").values() if each.high]
    reader.close()
    return held  # type: ignore[return-value]


@pytest.mark.parametrize(("key", "value"), [(b"\xffk", b"\x00v"), (None, None), (b"", b"")])
def test_a_letter_comes_out_as_it_was_put_in(
    kafka: KafkaForTest, box: TopicDeadLetterStore, key: bytes | None, value: bytes | None
) -> None:
    record = a_record(7, key=key, value=value)
    TopicDeadLetterWriter(kafka.producer(), lambda: BURIED).put(record, "unknown_item", "it never came", attempt=3)
    assert found(box) == [DeadLetter(record, "unknown_item", "it never came", 3, int(BURIED * 1000))]
    assert found(box, "content") == []


def test_a_dead_letter_of_a_dead_letter_says_only_the_last_burial(
    kafka: KafkaForTest, box: TopicDeadLetterStore
) -> None:
    headers = (("eddyline-dlq-reason", b"an older one"), ("eddyline-dlq-null-key", b"true"), ("h", b"1"))
    TopicDeadLetterWriter(kafka.producer()).put(a_record(7, headers=headers), "invalid_event", "")
    (letter,) = letters(box)
    assert (letter.reason, letter.record.key, letter.record.headers) == ("invalid_event", b"\xffk", (("h", b"1"),))


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ((), "from topic None"),
        ((("eddyline-dlq-topic", b"content"),), "from topic 'content'"),
        ((("eddyline-dlq-topic", b"\xff"),), "decode"),
        ((("eddyline-dlq-topic", b"users"), ("eddyline-dlq-reason", b"r")), "partition is None"),
    ],
)
def test_what_is_no_letter_is_shown_with_its_place(
    kafka: KafkaForTest, box: TopicDeadLetterStore, headers: tuple[tuple[str, bytes], ...], problem: str
) -> None:
    put(kafka, 1)
    strange = (("eddyline-dlq-x", b"\x01"), *headers)
    kafka.producer().send_all([Outgoing("users.dlq", None, b"what", strange, partition=3)])
    (wrong,) = (each for each in found(box) if isinstance(each, UnreadableDeadLetter))
    assert wrong == UnreadableDeadLetter("users.dlq:3:0", wrong.problem, None, b"what", strange)
    assert problem in wrong.problem


def test_letters_are_removed_and_those_that_stay_or_come_meanwhile_are_whole(
    kafka: KafkaForTest, box: TopicDeadLetterStore
) -> None:
    put(kafka, 1, 2, 3, 2, 4)
    producer = kafka.producer()
    before = {letter.record.offset: letter for letter in letters(box)}
    (log,) = box.logs()
    partition = int(log.name.split(":")[1])
    strange = Outgoing("users.dlq", None, b"what", (("eddyline-dlq-topic", b"\xff"),), partition)
    producer.send_all([strange])
    (log,) = box.logs()
    put(kafka, 5)
    remove(log, 1, 3)
    after = found(box)
    assert [each.record.offset if isinstance(each, DeadLetter) else each.value for each in after] == [5, 2, 4, b"what"]
    assert [each for each in after if isinstance(each, DeadLetter)][1:] == [before[2], before[4]]
    (wrong,) = (each for each in after if isinstance(each, UnreadableDeadLetter))
    assert (wrong.key, wrong.headers) == (None, strange.headers)
    assert bounds(kafka) == [(6, 10)]


def test_removing_all_leaves_an_empty_log(kafka: KafkaForTest, box: TopicDeadLetterStore) -> None:
    put(kafka, *range(20))
    (log,) = box.logs()
    remove(log, *range(20))
    assert box.logs() == []
    assert bounds(kafka) == [(20, 20)]
    put(kafka, 20)
    assert offsets(box) == [20]


def test_a_crash_before_the_deletion_doubles_nothing_and_loses_nothing(
    kafka: KafkaForTest, box: TopicDeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kafka, 1, 2, 3)
    (log,) = box.logs()

    class Crash(Exception):
        pass

    def crash(offset: int) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(log, "_delete_before", crash)
        with pytest.raises(Crash):
            remove(log, 2)
    assert bounds(kafka) == [(0, 5)]
    assert offsets(box) == [1, 2, 3]
    (log,) = box.logs()
    remove(log, 2)
    assert offsets(box) == [1, 3]
    assert bounds(kafka) == [(5, 7)]


def test_nothing_is_deleted_before_all_that_stays_is_acknowledged(kafka: KafkaForTest) -> None:
    put(kafka, 1, 2, 3)

    class Down:
        def send_all(self, records: list[Outgoing]) -> list[RecordMetadata]:
            raise Unavailable("Kafka doesn't answer")

    box = TopicDeadLetterStore(kafka.options, Down())  # type: ignore[arg-type]
    (log,) = box.logs()
    with pytest.raises(Unavailable):
        remove(log, 2)
    assert offsets(box) == [1, 2, 3]
    assert bounds(kafka) == [(0, 3)]
    box.close()


def test_a_cluster_without_the_topics_says_how_to_make_them(kafka: KafkaForTest) -> None:
    elsewhere = replace(kafka.options, prefix=kafka.options.prefix + "no.")
    box = TopicDeadLetterStore(elsewhere, kafka.producer())
    with pytest.raises(Misconfigured, match="eddyline init"):
        box.logs()
    box.close()
