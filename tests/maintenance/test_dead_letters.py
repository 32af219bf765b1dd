"""Which dead letters are meant, how they are sent again, and what is left of them then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Any

import orjson
import pytest
from tests.support.fakes import FakeProducer

from eddyline.adapters.kafka import DeadLetter, Headers, Record, UnreadableDeadLetter
from eddyline.adapters.kafka.dead_letters.dead_letter import DeadLetterKey
from eddyline.errors import TooLarge, Unavailable
from eddyline.maintenance.dead_letters import (
    DeadLetterSelection,
    ReplayOutcome,
    TopicDestination,
    drop,
    replay,
    restore_record,
    select_dead_letters,
    summarise_dead_letters,
)
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.offsets import LogPosition

ARRIVED = 1_700_000_000_250
ODD_IDS = ["https://a/b?c", "..", "a/similar", "ünï 🎬", "%2F"]
CLICK = {"type": "click", "item_id": "i", "user_id": "ada"}
WRONG = UnreadableDeadLetter("users.dlq:0:3", "it has no key", None, b"?")


def a_letter(
    offset: int = 7,
    value: Any = None,
    *,
    topic: str = "interactions",
    key: bytes | None = b"u:ada",
    reason: str = "invalid_event",
    given_up_at: int = ARRIVED,
    arrived: int = ARRIVED,
    log: str = "cluster/log",
    headers: Headers = (),
) -> DeadLetter:
    content = orjson.dumps(value) if isinstance(value, dict) else value
    return DeadLetter(Record(topic, 1, offset, key, content, arrived, log, headers), reason, "why", 1, given_up_at)


class FakeLog:
    """Letters in memory."""

    name = "a log"

    def __init__(self, *letters: DeadLetter | UnreadableDeadLetter, topic: str = "interactions") -> None:
        self.topic, self.letters = topic, list(letters)
        self.removals: list[set[int]] = []

    def read(self) -> Iterator[DeadLetter | UnreadableDeadLetter]:
        yield from self.letters

    def remove(self, gone: Set[DeadLetterKey]) -> None:
        self.removals.append({identity.offset for identity in gone})
        self.letters = [
            each for each in self.letters if isinstance(each, UnreadableDeadLetter) or each.identity not in gone
        ]


def nothing(count: int) -> None:
    """Nobody watches."""


def offsets(letters: Iterable[DeadLetter | UnreadableDeadLetter]) -> list[int]:
    return [each.record.offset for each in letters if isinstance(each, DeadLetter)]


# -- which are meant ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (DeadLetterSelection(), [1, 2, 3, 4]),
        (DeadLetterSelection(topic="users"), [4]),
        (DeadLetterSelection(reason="unknown_item"), [2]),
        (DeadLetterSelection(key=b"u:bob"), [3]),
        (DeadLetterSelection(since=2.0), [2, 3, 4]),
        (DeadLetterSelection(until=2.0), [1]),
        (DeadLetterSelection(since=2.0, until=3.0, topic="interactions"), [2]),
        (DeadLetterSelection(places=("interactions:1:1", "users:1:4")), [1, 4]),
        (DeadLetterSelection(places=("interactions:1:9",)), []),
        (DeadLetterSelection(places=("interactions:1:1",), reason="unknown_item"), []),
    ],
)
def test_a_letter_is_meant_when_it_meets_all_that_is_given(selection: DeadLetterSelection, found: list[int]) -> None:
    log = FakeLog(
        a_letter(1, given_up_at=1000),
        a_letter(2, given_up_at=2000, reason="unknown_item"),
        a_letter(3, given_up_at=3000, key=b"u:bob"),
        a_letter(4, given_up_at=4000, key=None, topic="users"),
    )
    assert offsets(select_dead_letters([log], selection)) == found


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        (DeadLetterSelection(), True),
        (DeadLetterSelection(topic="users"), True),
        (DeadLetterSelection(places=("users.dlq:0:3",)), True),
        (DeadLetterSelection(places=("users.dlq:0:4",)), False),
        (DeadLetterSelection(reason="invalid_event"), False),
        (DeadLetterSelection(key=b""), False),
        (DeadLetterSelection(since=0.0), False),
        (DeadLetterSelection(until=9e9), False),
    ],
)
def test_what_cannot_be_read_meets_no_condition_but_its_place(selection: DeadLetterSelection, shown: bool) -> None:
    assert list(select_dead_letters([FakeLog(WRONG)], selection)) == [WRONG] * shown


def test_a_survey_counts_all_and_keeps_the_newest() -> None:
    one = FakeLog(*(a_letter(n, given_up_at=n * 10) for n in range(5)), WRONG)
    other = FakeLog(*(a_letter(n, topic="users", reason="odd", given_up_at=n * 10 + 1) for n in range(2)))
    found = summarise_dead_letters([one, other], DeadLetterSelection(), newest=3)
    assert found.counts == {("interactions", "invalid_event"): 5, ("users", "odd"): 2}
    assert found.total == 7
    assert [letter.given_up_at for letter in found.newest] == [40, 30, 20]
    assert found.unreadable == [WRONG]
    assert summarise_dead_letters([one], DeadLetterSelection()).newest == []


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{}, {"event_id": None, "timestamp": None}])
@pytest.mark.parametrize("kind", ["click", "zap", "identify"])
def test_an_interaction_keeps_its_first_place_as_its_id_and_its_first_time(missing: dict[str, Any], kind: str) -> None:
    letter = a_letter(7, {"type": kind, "user_id": "ada", **missing})
    assert orjson.loads(restore_record(letter.record).value or b"") == {
        "type": kind,
        "user_id": "ada",
        "event_id": "cluster/log:1:7",
        "timestamp": "2023-11-14T22:13:20.250000Z",
    }


def test_an_interaction_with_an_id_and_a_time_is_sent_byte_for_byte() -> None:
    value = b'{ "type": "click", "timestamp": 1, "event_id": "e-1", "x": 1.0 }'
    record = a_letter(7, value, headers=(("trace", b"\xff"),)).record
    assert restore_record(record) == record


def test_one_that_a_profiler_passed_on_is_sent_as_though_it_came_from_its_author() -> None:
    headers = (("trace", b"1"), *ForwardedFrom(LogPosition("cluster/log", 3, 12), 11).headers())
    record = a_letter(7, CLICK, headers=headers).record
    assert restore_record(record).headers == (("trace", b"1"),)


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("interactions", b"not json"),
        ("interactions", b"[1]"),
        ("interactions", None),
        ("interactions", b'{"type": "erased", "user_id": "ada"}'),
        ("interactions", b'{"type": "onboarded", "user_id": "ada"}'),
        ("interactions", b'{"type": "transfer", "user_id": "ada"}'),
        ("interactions", b'{"type": "shown", "user_id": "ada", "items": ["a"]}'),
        ("impressions", b'{"type": "served", "user_id": "ada", "request_id": "r"}'),
        ("impressions", b'{"type": "impression", "user_id": "ada", "request_id": "r", "timestamp": 1}'),
        ("users", b'{"user_id": "ada"}'),
        ("activity", b'{"item_id": "i"}'),
        ("content", None),
    ],
)
def test_anything_else_is_sent_byte_for_byte(topic: str, value: bytes | None) -> None:
    headers = ForwardedFrom(LogPosition("cluster/log", 3, 12)).headers()
    record = a_letter(7, value, topic=topic, headers=headers).record
    assert restore_record(record) == record


@pytest.mark.parametrize("topic", ["content", "availability"])
def test_a_state_without_a_time_keeps_that_of_its_arrival_so_that_it_is_not_the_newest(topic: str) -> None:
    record = restore_record(a_letter(7, {"item_id": "i"}, topic=topic).record)
    assert orjson.loads(record.value or b"") == {"item_id": "i", "timestamp": "2023-11-14T22:13:20.250000Z"}


# -- to their topics ---------------------------------------------------------------------------------------------------


def test_letters_go_to_their_topics_and_are_removed(journal: list[int]) -> None:
    producer = FakeProducer()
    users = FakeLog(a_letter(1, b"odd", topic="users", key=b"ada", headers=(("h", b"1"),)), topic="users")
    nobodys = a_letter(2, b"what", key=None)
    mine = FakeLog(WRONG, nobodys, a_letter(3, b"x", reason="unknown_item"))
    outcome = replay(
        [users, mine], DeadLetterSelection(reason="invalid_event"), TopicDestination(producer), journal.append
    )
    assert outcome == ReplayOutcome(accepted=2)
    assert [(one.topic, one.key, one.value, one.headers, one.partition) for one in producer.sent] == [
        ("users", b"ada", b"odd", (("h", b"1"),), None),
        ("interactions", None, b"what", (), 1),
    ]
    assert (users.letters, offsets(mine.letters), mine.letters[0]) == ([], [3], WRONG)
    assert sum(journal) == 2


@pytest.fixture
def journal() -> list[int]:
    return []


def test_letters_are_sent_in_the_order_in_which_they_first_came() -> None:
    producer = FakeProducer()
    log = FakeLog(*(a_letter(n, b"%d" % n, arrived=ARRIVED + n // 2) for n in (5, 2, 4, 3)))
    replay([log], DeadLetterSelection(), TopicDestination(producer), nothing)
    assert [one.value for one in producer.sent] == [b"2", b"3", b"4", b"5"]


class Failing:
    """Takes so many letters, then raises."""

    def __init__(self, room: int, error: BaseException) -> None:
        self.room, self.error = room, error

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        if self.room < len(letters):
            raise self.error
        self.room -= len(letters)
        return [None] * len(letters)

    def refuses(self, letter: DeadLetter) -> str | None:
        return None


@pytest.mark.parametrize("error", [Unavailable("Kafka doesn't answer"), KeyboardInterrupt()])
def test_when_it_is_stopped_what_was_taken_is_removed_and_the_rest_is_kept(error: BaseException) -> None:
    first = FakeLog(a_letter(1))
    second = FakeLog(*(a_letter(n) for n in range(600)))
    third = FakeLog(a_letter(2))
    with pytest.raises(type(error)):
        replay([first, second, third], DeadLetterSelection(), Failing(510, error), nothing)
    assert first.letters == []
    assert offsets(second.letters) == list(range(500, 600))
    assert offsets(third.letters) == [2]


def test_one_that_is_too_large_for_its_topic_does_not_keep_the_others() -> None:
    class Small(FakeProducer):
        def send_all(self, records: Sequence[Any]) -> list[Any]:
            if any(len(record.value or b"") > 10 for record in records):
                raise TooLarge("the record is larger than interactions takes")
            return super().send_all(records)

    log = FakeLog(a_letter(1, b"small"), a_letter(2, b"much too large"), a_letter(3, b"small"))
    outcome = replay([log], DeadLetterSelection(), TopicDestination(Small()), nothing)
    assert (outcome.accepted, [letter.record.offset for letter, _ in outcome.refused]) == (2, [2])
    assert offsets(log.letters) == [2]


def test_dropping_removes_what_is_selected_and_touches_no_other_log(journal: list[int]) -> None:
    one, other = FakeLog(a_letter(1), a_letter(2, reason="odd"), WRONG), FakeLog(a_letter(3))
    assert drop([one, other], DeadLetterSelection(reason="odd"), journal.append) == 1
    assert offsets(one.letters) == [1]
    assert one.letters[1] == WRONG
    assert (one.removals, other.removals) == ([{2}], [])
    assert journal == [1]
