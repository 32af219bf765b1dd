"""The reference: what a profile should be, worked out from records by hand-checked examples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import LOG, NOW, near, record

from eddyline.adapters.kafka import Record, partition_of
from eddyline.model import decay
from eddyline.model.decay import Accumulator
from eddyline.model.distance import Distance
from eddyline.model.ids import Person
from eddyline.model.passage import Passage
from eddyline.offline.audit.ledger import Did, Ledger, Seen
from eddyline.offline.audit.reference import SETS, Deed, Life, Reference, decayed, newest, shown
from eddyline.settings import Events
from eddyline.settings import Profile as ProfileSettings

PARTITIONS = 4
ADA, BOB, VISITOR = Person("u", "ada"), Person("u", "bob"), Person("a", "cookie")
HOME = {person: partition_of(person.key.encode(), PARTITIONS) for person in (ADA, BOB, VISITOR)}
AWAY = (HOME[ADA] + 1) % PARTITIONS
X, Y = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def deed(item: str = "x", weight: float = 1.0, time: float = 0.0, kind: str = "click") -> Deed:
    return Deed(Did(item, kind, weight, time, 0, 0), time, None)


def said(person: Person, offset: int, *, partition: int | None = None, at: float = NOW, **value: Any) -> Record:
    names = {"u": "user_id", "a": "anonymous_id"}
    whole = {"type": "click", names[person.kind]: person.id, "timestamp": at, **value}
    if whole["type"] == "click":
        whole = {"item_id": "x"} | whole
    where = HOME[person] if partition is None else partition
    return record("interactions", person.key, whole, offset, partition=where, at=at)


def copied(person: Person, offset: int, source: Record, after: int | None = None, **value: Any) -> Record:
    """What the owner of the source's partition passes on to a person."""
    passage = Passage(source.log, source.partition, source.offset, after)
    one = said(person, offset, **value)
    return Record(one.topic, one.partition, one.offset, one.key, one.value, one.timestamp, one.log, passage.headers())


def transferred(user: Person, offset: int, source: Record, after: int | None = None) -> Record:
    payload = {"type": "transfer", "anonymous_id": VISITOR.id, "payload": {}}
    return copied(user, offset, source, after, **payload)


def identified(offset: int, user: Person = ADA, **more: Any) -> Record:
    return said(VISITOR, offset, type="identify", user_id=user.id, **more)


def erased(person: Person, offset: int, at: float, source: int = 0, **more: Any) -> Record:
    origin = {"log": "users", "partition": 0, "offset": source}
    return said(person, offset, type="erased", at=at, origin=origin, **more)


def life(
    *records: Record,
    of: Person = ADA,
    until: int | None = None,
    lows: dict[int, int] | None = None,
    handled: int = 1000,
    event_ids: int = 200,
) -> Life:
    ledger = Ledger(Events(), PARTITIONS)
    for one in records:
        ledger.add(one)
    settings = ProfileSettings(event_ids=event_ids)
    starts = dict.fromkeys(range(PARTITIONS), 0) | (lows or {})
    return Reference(ledger, settings, starts, dict.fromkeys(range(PARTITIONS), handled)).life(of, until)


def items(life: Life) -> list[str]:
    return [deed.did.item_id for deed in life.deeds]


# -- the sums ----------------------------------------------------------------------------------------------------------


def test_a_sum_is_of_each_deed_faded_by_its_age() -> None:
    deeds = [deed("x", 2.0, time=0.0), deed("y", -1.0, time=10.0), deed("x", 0.0, time=5.0)]
    total, weight = decayed(deeds, {"x": X, "y": Y}, tau=10.0, now=20.0)
    near(total, [2.0 * math.exp(-2), -1.0 * math.exp(-1)])
    near(weight, 2.0 * math.exp(-2) + math.exp(-1))


def test_by_euclid_dislikes_are_in_no_sum() -> None:
    deeds = [deed("x", 2.0, time=0.0), deed("y", -1.0, time=10.0)]
    total, weight = decayed(deeds, {"x": X, "y": Y}, tau=10.0, now=20.0, distance=Distance.EUCLID)
    near(total, [2.0 * math.exp(-2), 0.0])
    near(weight, 2.0 * math.exp(-2))


def test_what_weighs_nothing_leaves_no_sum() -> None:
    assert decayed([deed(weight=0.0)], {}, tau=10.0, now=20.0) == (None, 0.0)


def test_the_sums_are_those_of_the_algebra_in_any_order() -> None:
    chance = np.random.default_rng(7)
    deeds = [deed(chance.choice(["x", "y"]), w, t) for w, t in chance.normal(scale=50.0, size=(40, 2))]
    folded = Accumulator()
    for one in deeds:
        vector = {"x": X, "y": Y}[one.did.item_id]
        folded = decay.fold(folded, vector, one.did.weight, one.did.time, 30.0)
    total, weight = decayed(reversed(deeds), {"x": X, "y": Y}, tau=30.0, now=folded.time)
    near(total, folded.sum)
    near(weight, folded.weight)


def test_the_newest_items_are_distinct_and_bounded_and_ties_go_by_name() -> None:
    deeds = [deed("a", time=3), deed("b", time=1), deed("a", time=2), deed("c", time=3), deed("d", time=2)]
    assert newest(deeds, 3, SETS["recents"]) == {"c": 3, "a": 3, "d": 2}


@pytest.mark.parametrize(
    ("kind", "weight", "sets"),
    [
        ("view", 1.0, {"recents", "viewed"}),
        ("like", 3.0, {"recents", "viewed", "liked"}),
        ("purchase", 5.0, {"recents", "viewed", "liked", "purchased"}),
        ("rating", 2.0, {"recents", "viewed", "liked"}),
        ("rating", -2.0, {"viewed", "disliked"}),
        ("rating", 0.0, {"viewed"}),
        ("hide", -3.0, {"viewed", "disliked"}),
        ("skip", -0.25, {"viewed"}),
        ("impression", 0.0, set()),
    ],
)
def test_deeds_belong_to_sets_by_type_and_sign(kind: str, weight: float, sets: set[str]) -> None:
    assert {name for name, belongs in SETS.items() if belongs(deed(weight=weight, kind=kind).did)} == sets


# -- what counts, and once ---------------------------------------------------------------------------------------------


def test_an_event_counts_once_by_its_id() -> None:
    assert items(life(said(ADA, 0, item_id="a", event_id="e"), said(ADA, 1, item_id="a", event_id="e"))) == ["a"]


def test_an_id_is_forgotten_after_as_many_others_as_are_kept() -> None:
    many = [said(ADA, n, item_id=f"i{n}", event_id=f"e{n % 3}") for n in range(4)]
    assert items(life(*many, event_ids=3)) == ["i0", "i1", "i2"]
    assert items(life(*many, event_ids=2)) == ["i0", "i1", "i2", "i3"]


def test_an_id_that_comes_again_after_that_may_count_or_not_where_something_was_given_up() -> None:
    many = [said(ADA, n, item_id=f"i{n}", event_id=f"e{n % 3}") for n in range(4)]
    assert [deed.did.item_id for deed in life(*many, event_ids=2).repeated] == ["i0", "i1", "i2"]
    assert [deed.did.item_id for deed in life(*many, event_ids=3).repeated] == ["i0"]


def test_events_without_an_id_are_told_apart_by_their_place() -> None:
    assert items(life(said(ADA, 0), said(ADA, 1))) == ["x", "x"]


def test_what_cannot_be_read_counts_for_nobody() -> None:
    ledger = Ledger(Events(), PARTITIONS)
    for n, value in enumerate(
        (b"{", None, {"type": "click"}, {"type": "unheard of", "user_id": "ada", "item_id": "x"})
    ):
        ledger.add(record("interactions", ADA.key, value, n, partition=HOME[ADA]))
    ledger.add(said(ADA, 4, timestamp=NOW + 100 * 86_400))
    ledger.add(said(ADA, 5, item_id="a"))
    assert (ledger.records, ledger.invalid) == (6, 5)
    assert [entry.place for entry in ledger.entries(ADA)] == [(HOME[ADA], 5)]


def test_a_life_ends_before_the_offset_that_is_asked_for() -> None:
    assert items(life(said(ADA, 0, item_id="a"), said(ADA, 1, item_id="b"), until=1)) == ["a"]


# -- what is passed on -------------------------------------------------------------------------------------------------


def test_an_event_on_a_wrong_partition_counts_from_when_its_copy_arrived() -> None:
    stray = said(ADA, 0, partition=AWAY, item_id="a")
    there = [stray, said(ADA, 0, item_id="b"), copied(ADA, 1, stray, item_id="a")]
    assert items(life(*there)) == ["b", "a"]
    assert items(life(*there, until=1)) == ["b"]


def test_an_event_whose_copy_was_lost_counts_all_the_same() -> None:
    stray = said(ADA, 0, partition=AWAY, item_id="a")
    assert items(life(stray, said(ADA, 0, item_id="b"))) == ["b", "a"]


def test_an_event_that_nobody_has_handled_yet_does_not() -> None:
    assert items(life(said(ADA, 0, partition=AWAY, item_id="a"), handled=0)) == []


def test_a_copy_that_came_again_or_through_a_gap_is_not_taken() -> None:
    first, second = (said(ADA, n, partition=AWAY, item_id=f"i{n}") for n in range(2))
    through_a_gap = copied(ADA, 0, second, after=0)
    both = [copied(ADA, 1, first), copied(ADA, 2, second, after=0), copied(ADA, 3, first), copied(ADA, 4, second)]
    there = [first, second, through_a_gap, *both]
    assert [deed.place for deed in life(*there).deeds] == [(HOME[ADA], 1), (HOME[ADA], 2)]


def test_a_copy_that_cannot_be_read_has_come_all_the_same() -> None:
    first, second = (said(ADA, n, partition=AWAY, item_id=f"i{n}") for n in range(2))
    broken = replace(copied(ADA, 0, first), value=b"{")
    assert items(life(first, second, broken, copied(ADA, 1, second, after=0))) == ["i1"]


def test_a_copy_that_nobody_was_to_send_counts_for_nobody() -> None:
    bobs = said(BOB, 0)
    assert items(life(bobs, copied(ADA, 0, bobs))) == []


def test_a_copy_stands_for_itself_where_the_log_has_lost_its_origin() -> None:
    gone = said(ADA, 4, partition=AWAY)
    there = [copied(ADA, 0, gone, item_id="a"), copied(ADA, 1, gone, item_id="a")]
    assert items(life(*there, lows={AWAY: 5})) == ["a"]


# -- from anonymous to known -------------------------------------------------------------------------------------------


def a_visit() -> list[Record]:
    """Something anonymous, an identification, something after it; and what it is passed on as."""
    before, login, after = said(VISITOR, 0, item_id="a"), identified(1), said(VISITOR, 2, item_id="b")
    return [before, login, after, transferred(ADA, 0, login), copied(ADA, 1, after, after=1, item_id="b")]


def test_what_was_done_before_and_after_the_identification_is_the_users() -> None:
    assert items(life(*a_visit())) == ["a", "b"]
    assert life(*a_visit()).twins == ["cookie"]
    assert items(life(*a_visit(), until=1)) == ["a"]


def test_an_event_that_comes_under_both_ids_counts_once() -> None:
    before, login = said(VISITOR, 0, item_id="a", event_id="e"), identified(1)
    assert items(life(before, login, transferred(ADA, 0, login), said(ADA, 1, item_id="b", event_id="e"))) == ["a"]


def test_the_anonymous_id_keeps_nothing_but_where_to_forward() -> None:
    stub = life(*a_visit(), of=VISITOR)
    assert (stub.deeds, stub.forward, stub.is_stub) == ([], ADA, True)


def test_a_transfer_and_a_forwarded_event_that_were_lost_count_all_the_same() -> None:
    assert items(life(*a_visit()[:3])) == ["a", "b"]


def test_a_second_user_gets_only_what_came_since() -> None:
    again, late = identified(3, BOB), said(VISITOR, 4, item_id="c")
    there = [*a_visit(), again, late, transferred(BOB, 0, again), copied(BOB, 1, late, after=3)]
    assert items(life(*there)) == ["a", "b"]
    assert items(life(*there, of=BOB)) == ["c"]


def test_an_anonymous_id_that_was_identified_before_the_log_begins_forwards_still() -> None:
    lost_from_the_log, kept = identified(1), said(VISITOR, 4, item_id="b")
    there = [kept, transferred(ADA, 0, lost_from_the_log), copied(ADA, 1, kept)]
    assert items(life(*there, lows={HOME[VISITOR]: 3})) == ["b"]
    assert items(life(*there, lows={HOME[VISITOR]: 3}, of=VISITOR)) == []
    assert items(life(*there, of=VISITOR)) == ["b"]  # had the log all of it, nobody would have been identified


# -- erasure -----------------------------------------------------------------------------------------------------------


def test_an_erasure_forgets_what_came_before_it_and_what_happened_before_it() -> None:
    there = [
        said(ADA, 0, item_id="a", at=NOW),
        erased(ADA, 1, at=NOW + 10),
        said(ADA, 2, item_id="b", at=NOW + 12, timestamp=NOW + 10),
        said(ADA, 3, item_id="c", at=NOW + 11),
    ]
    assert items(life(*there)) == ["c"]
    assert life(*there, until=3).is_blank
    assert not life(*there).is_blank


def test_a_tombstone_that_is_told_again_changes_nothing() -> None:
    there = [erased(ADA, 0, at=NOW), said(ADA, 1, item_id="a", at=NOW + 1), erased(ADA, 2, at=NOW)]
    assert items(life(*there)) == ["a"]
    assert items(life(*there, erased(ADA, 3, at=NOW, source=1))) == []


def test_an_erasure_reaches_the_anonymous_ids_by_a_record_of_their_own() -> None:
    there = [*a_visit(), erased(ADA, 2, at=NOW + 10)]
    assert life(*there).orphans == [VISITOR]
    told = erased(VISITOR, 3, at=NOW + 10, user_id=ADA.id)
    assert life(*there, told).orphans == []
    assert life(*there, told, of=VISITOR).is_blank


def test_an_anonymous_id_that_is_someone_elses_by_now_is_not_erased() -> None:
    there = [*a_visit(), identified(3, BOB), erased(VISITOR, 4, at=NOW + 10, user_id=ADA.id)]
    assert life(*there, of=VISITOR).forward == BOB


def test_who_was_identified_before_the_erasure_is_erased_though_the_transfer_comes_after_it() -> None:
    visit = [*a_visit()[:3], erased(ADA, 0, at=NOW + 10)]
    there = [*visit, transferred(ADA, 1, visit[1]), copied(ADA, 2, visit[2], after=1)]
    assert life(*there).is_blank
    assert life(*there).orphans == [VISITOR]


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_the_ledger_gives_back_what_it_was_given_of_those_who_are_wanted() -> None:
    ledger = Ledger(Events(), PARTITIONS, {ADA})
    stray = said(ADA, 9, partition=AWAY)
    for one in (said(BOB, 0), said(ADA, 1, type="rating", item_id="a", value=5, event_id="e"), identified(2)):
        ledger.add(one)
    ledger.add(copied(ADA, 3, stray, after=7, timestamp=NOW - 5))
    (first, second) = ledger.entries(ADA)
    assert isinstance(first.said, Did)
    assert (first.said.item_id, first.said.type, first.said.weight, first.said.time) == ("a", "rating", 3.375, NOW)
    assert isinstance(second.said, Did)
    assert second.said.time == NOW - 5
    assert second.origin is not None
    assert (second.origin.place, second.origin.after, second.arrived) == ((AWAY, 9), 7, NOW)
    assert list(ledger.people()) == [ADA]
    assert ledger.anonymous_ids(ADA) == [VISITOR]
    assert (ledger.log, ledger.records) == (LOG, 4)
    ledger.add(said(ADA, 4))
    assert len(ledger.entries(ADA)) == 3


# -- what was shown ----------------------------------------------------------------------------------------------------


def lists(person: Person, offset: int, *items: str, **more: Any) -> Record:
    return said(person, offset, type="shown", items=list(items), **more)


def test_what_was_shown_is_noted_and_is_no_deed() -> None:
    one = life(lists(ADA, 0, "a", "b"), lists(ADA, 1, "b", at=NOW + 60))
    assert (one.seen, one.deeds) == ([Seen(("a", "b"), NOW), Seen(("b",), NOW + 60)], [])
    assert one.is_stub


def test_of_what_was_shown_the_newest_minutes_are_kept_and_ties_go_by_name() -> None:
    seen = [Seen(("a", "b"), 60.0), Seen(("a",), 125.0), Seen(("a", "c"), 179.0), Seen(("b",), 0.0)]
    assert shown(seen, 10) == {"a": (1, 2), "b": (0, 1), "c": (2,)}
    assert shown(seen, 3) == {"b": (1,), "a": (2,), "c": (2,)}


def test_what_was_shown_before_an_erasure_is_gone() -> None:
    told = (
        lists(ADA, 0, "a"),
        erased(ADA, 1, NOW + 10),
        lists(ADA, 2, "b", at=NOW + 5),
        lists(ADA, 3, "c", at=NOW + 20),
    )
    assert life(*told).seen == [Seen(("c",), NOW + 20)]
    assert life(*told[:3]).is_blank
    assert not life(*told).is_blank


def test_what_was_shown_anonymously_becomes_the_users_and_what_is_shown_later_follows() -> None:
    first, who, later = lists(VISITOR, 0, "a"), identified(1), lists(VISITOR, 2, "b", at=NOW + 60)
    copy = copied(ADA, 1, later, 1, type="shown", items=["b"], at=NOW + 60)
    user = life(first, who, later, transferred(ADA, 0, who), copy)
    assert user.seen == [Seen(("a",), NOW), Seen(("b",), NOW + 60)]
    assert life(first, who, later, of=VISITOR).seen == []


def test_a_copy_of_what_was_shown_is_a_forerunner_of_what_follows_it() -> None:
    stray = lists(ADA, 0, "a", partition=AWAY)
    click = said(ADA, 1, partition=AWAY, event_id="e")
    passed = copied(ADA, 0, stray, type="shown", items=["a"]), copied(ADA, 1, click, 0, event_id="e")
    one = life(stray, click, *passed)
    assert (one.seen, items(one)) == ([Seen(("a",), NOW)], ["x"])
