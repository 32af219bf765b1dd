"""Records that nobody sends who means well: each becomes a dead letter, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.services.learning import Learning, came
from tests.services.profiling import Profiling, click, same_sums
from tests.support.fakes import LOG, NOW, FakeProducer, FakeStore, TinyEncoder
from tests.support.poison import FAILED, INVALID, Poison, all_poison

from eddyline.adapters.kafka import Message, Record, is_records_fault, partition_of
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS
from eddyline.embedder.handler import Embedder
from eddyline.errors import InvalidInput
from eddyline.model.profile import Profile
from eddyline.profiler.profile_updater import ProfileUpdater

PARTITIONS = 4
USER, ITEM = "ada", "a"


def to_record(poison: Poison, offset: int) -> Record:
    home = partition_of(poison.key or b"", PARTITIONS)
    partition = (home + 1) % PARTITIONS if poison.misplaced else home
    headers = tuple((name, value or b"") for name, value in poison.headers)
    return Record(poison.topic, partition, offset, poison.key, poison.value, int(NOW * 1000), LOG, headers)


def of(*topics: str) -> pytest.MarkDecorator:
    chosen = [one for one in all_poison(NOW, USER, ITEM) if one.topic in topics and one.reason == INVALID]
    return pytest.mark.parametrize("poison", chosen, ids=lambda one: f"{one.topic}-{one.name}".replace(" ", "-"))


def reasons(handler: Any, record: Record) -> list[str]:
    """What the loop makes of a record by itself: the reasons of its dead letters."""
    try:
        parsed = handler.parse(record)
    except InvalidInput:
        return [INVALID]
    try:
        handler.handle([Message(record, parsed)])
    except Exception as error:
        return [FAILED if is_records_fault(error) else f"it stops the service: {error!r}"]
    return []


@of("interactions")
def test_poison_changes_no_profile(poison: Poison) -> None:
    poisoned, spared = Profiling(partitions=PARTITIONS), Profiling(partitions=PARTITIONS)
    home = partition_of(f"u:{USER}".encode(), PARTITIONS)
    for it in (poisoned, spared):
        it.add_items("a", "b", "c")
        it.feed(click(0, "a", partition=home))
    found = reasons(poisoned.profiler, to_record(poison, 1))
    assert [*found, *(reason for _, reason, _ in poisoned.dead_letters.letters)] == [INVALID]
    for it in (poisoned, spared):
        it.feed(click(2, "b", partition=home))
        it.restart()
        it.profiler.tick()
        it.feed(click(3, "c", partition=home))
    one, other = poisoned.stored(), spared.stored()
    same_sums(one, other, 1e-9)
    assert (one.seen, one.events, one.identity, one.delivery.pending) == (
        other.seen,
        other.events,
        other.identity,
        other.delivery.pending,
    )
    assert poisoned.producer.sent == spared.producer.sent


@of("content", "availability", "users")
def test_poison_changes_no_item_and_is_passed_on_to_nobody(poison: Poison) -> None:
    store, producer = FakeStore(), FakeProducer()
    embedder = Embedder(store, TinyEncoder(), producer, Metrics())
    assert reasons(embedder, to_record(poison, 1)) == [INVALID]
    assert (store.count(ITEMS), producer.sent) == (0, [])


@of("activity")
def test_poison_changes_no_row(poison: Poison) -> None:
    it = Learning(partitions=PARTITIONS)
    it.add_items("a", "b")
    before = it.point("a")
    assert reasons(it.affinity, to_record(poison, 1)) == [INVALID]
    after = it.point("a")
    assert (after.payload, after.vectors) == (before.payload, before.vectors)
    it.feed(replace(came(2, "a"), partition=partition_of(b"a", PARTITIONS)))
    assert it.trend("a")["count"] == 1


def test_one_person_at_whom_periodic_work_fails_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Profiling()
    people = [f"p{n}" for n in range(5)]
    it.feed(*(click(n, "late", user=user) for n, user in enumerate(people)))
    it.add_items("late")
    apply = ProfileUpdater.apply_pending

    def fail(self: ProfileUpdater, profile: Profile, *rest: Any) -> None:
        if profile.person.id == "p3":
            raise ZeroDivisionError("a bug")
        apply(self, profile, *rest)

    monkeypatch.setattr(ProfileUpdater, "apply_pending", fail)
    it.profiler.tick()
    assert [it.stored(f"u:{user}").events for user in people] == [1, 1, 1, 0, 1]
    assert [(record.offset, reason) for record, reason, _ in it.dead_letters.letters] == [(3, FAILED)]
    assert it.stored("u:p3").delivery.pending == ()
