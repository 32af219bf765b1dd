"""The log of the embedded broker: what it acknowledged is there, whatever befalls process, machine and disk."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.fakes import Clock
from tests.support.kafka import wait_until
from tests.support.record_batches import a_batch, headed, keyed, offsets, records

from eddyline.adapters.kafka.embedded.journal import RESERVE_BYTES, Journal, JournalUnavailable
from eddyline.adapters.kafka.embedded.journal_cleaner import JournalCleaner
from eddyline.adapters.kafka.embedded.log_state import LogPartition
from eddyline.adapters.kafka.embedded.producer_sequences import OutOfOrderSequence
from eddyline.errors import AlreadyRunning, Misconfigured

EVERYTHING = 100_000_000
DAY = 86_400.0
TIMED = {"cleanup.policy": "delete", "retention.ms": str(int(90 * DAY * 1000))}
COMPACTED = {"cleanup.policy": "compact"}


@contextmanager
def opened(directory: Path, **options: Any) -> Iterator[Journal]:
    journal = Journal(directory, **{"max_bytes": 10_000_000_000, **options})
    try:
        journal.create_topic("clicks", 2, TIMED).result()
        journal.create_topic("items", 1, COMPACTED).result()
        yield journal
    finally:
        journal.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with opened(tmp_path / "log") as journal:
        yield journal


def clicks(journal: Journal, number: int = 0) -> LogPartition:
    return journal.topics["clicks"].partitions[number]


def items(journal: Journal) -> LogPartition:
    return journal.topics["items"].partitions[0]


def append(journal: Journal, partition: LogPartition, *keys: bytes, value: bytes | None = b"v", **producer: int) -> int:
    batch = a_batch(*keyed(*keys, value=value), **producer)
    return journal.append(partition, *headed(batch)).result(10)


def keys(journal: Journal, partition: LogPartition) -> list[bytes | None]:
    return [record.key for record in records(journal.read(partition, partition.low, EVERYTHING))]


def clean(journal: Journal) -> None:
    """Have everything cleaned once."""
    done = threading.Event()

    def slices() -> Iterator[None]:
        yield from JournalCleaner(journal).slices()
        done.set()

    journal.clean_with(slices)
    assert done.wait(20)
    append(journal, clicks(journal, 1), b"the last slice is on disk")


# -- what was acknowledged --------------------------------------------------------------------------------------------


def test_records_keep_their_offsets_and_logs_their_identity_over_restarts(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        assert [append(journal, clicks(journal), b"a", b"b"), append(journal, clicks(journal), b"c")] == [0, 2]
        assert append(journal, clicks(journal, 1), b"d") == 0
        identity = journal.cluster_id, journal.topics["clicks"].id
    with opened(tmp_path) as journal:
        assert (journal.cluster_id, journal.topics["clicks"].id) == identity
        assert append(journal, clicks(journal), b"e") == 3
        assert keys(journal, clicks(journal)) == [b"a", b"b", b"c", b"e"]
        assert offsets(journal.read(clicks(journal), 1, EVERYTHING)) == [0, 1, 2, 3], "whole batches"
        assert offsets(journal.read(clicks(journal), 2, 1)) == [2], "at least one"
        assert journal.read(clicks(journal), 4, EVERYTHING) == b""


def test_commits_are_kept_until_their_group_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        journal.commit("readers", {clicks(journal): (7, "epoch 3"), clicks(journal, 1): (1, "")}).result()
        journal.commit("others", {clicks(journal): (2, "")}).result()
        journal.forget_group("others").result()
    with opened(tmp_path) as journal:
        found = journal.committed("readers")[clicks(journal).id]
        assert (found.next_offset, found.metadata) == (7, "epoch 3")
        assert journal.committed("others") == {}


def test_a_second_process_is_refused(journal: Journal) -> None:
    with pytest.raises(AlreadyRunning, match="in use by another process"):
        Journal(journal.directory, 10**9)


def test_a_journal_of_a_later_version_is_refused(journal: Journal) -> None:
    journal.database.execute("PRAGMA user_version = 99")
    journal.close()
    with pytest.raises(Misconfigured, match="later version"):
        Journal(journal.directory, 10**9)


def crashed(journal: Journal, into: Path) -> Path:
    """The files as a crash at this moment would leave them."""
    shutil.copytree(journal.directory, into, ignore=shutil.ignore_patterns("*-shm"))
    return into


@pytest.mark.slow(20)
@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12),
    cut=st.floats(0, 1),
    damage=st.sampled_from(["torn", "flipped"]),
)
def test_of_a_damaged_tail_whole_transactions_are_left_and_it_is_said(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cut: float, damage: str
) -> None:
    place = tmp_path_factory.mktemp("journal")
    with opened(place / "log") as journal:
        for number, size in enumerate(sizes):
            append(journal, clicks(journal), *(b"%d-%d" % (number, each) for each in range(size)))
        written = keys(journal, clicks(journal))
        copy = crashed(journal, place / "copy")
    tail = copy / "journal.db-wal"
    data = bytearray(tail.read_bytes())
    at = int(cut * (len(data) - 1))
    if damage == "torn":
        del data[at:]
    else:
        data[at] ^= 0xFF
    tail.write_bytes(data)
    with capture_logs() as said, opened(copy) as journal:
        left = keys(journal, clicks(journal))
        assert left == written[: len(left)], "a beginning of what was written"
        assert clicks(journal).high == len(left)
        assert len(left) in {sum(sizes[:number]) for number in range(len(sizes) + 1)}
        assert append(journal, clicks(journal), b"and on") == len(left)
    if len(left) < len(written) and damage == "flipped":
        assert "cut the journal's end at its last whole transaction" in {each["event"] for each in said}


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_power_cut_that_spoils_all_sectors_that_were_being_written_leaves_what_was_acknowledged(
    tmp_path: Path, sector: int
) -> None:
    with opened(tmp_path / "log") as journal:
        for number in range(5):
            append(journal, clicks(journal), b"acknowledged %d" % number)
            acknowledged = keys(journal, clicks(journal))
            copy = crashed(journal, tmp_path / str(number))
            append(journal, clicks(journal), b"being written %d" % number)
            kept = (copy / "journal.db-wal").read_bytes()
            now = (journal.directory / "journal.db-wal").read_bytes()
            left = bytearray(kept.ljust(len(now), b"\0"))
            for at in range(0, len(now), sector):
                if left[at : at + sector] != now[at : at + sector]:
                    left[at : at + sector] = b"\xaa" * len(now[at : at + sector])
            (copy / "journal.db-wal").write_bytes(left)
            with opened(copy) as after:
                assert keys(after, clicks(after)) == acknowledged


@pytest.mark.slow(20)
@settings(max_examples=15)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 1), st.integers(1, 4)),
            st.tuples(st.just("commit"), st.integers(0, 1), st.integers(0, 9)),
            st.tuples(st.just("crash"), st.just(0), st.just(0)),
            st.tuples(st.just("fail"), st.integers(0, 1), st.integers(1, 4)),
        ),
        max_size=20,
    )
)
def test_whatever_happens_the_log_is_what_was_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    place, lives = tmp_path_factory.mktemp("journal"), 0
    held: dict[int, list[bytes | None]] = {0: [], 1: []}
    committed: dict[int, int] = {}
    journal = Journal(place / "0", 10**9)
    journal.create_topic("clicks", 2, TIMED).result()
    for number, (step, partition, count) in enumerate(steps):
        names = [b"%d-%d" % (number, each) for each in range(count)]
        if step == "append":
            assert append(journal, clicks(journal, partition), *names) == len(held[partition])
            held[partition] += names
        elif step == "commit":
            journal.commit("readers", {clicks(journal, partition): (count, "")}).result()
            committed[partition] = count
        elif step == "fail":  # written, and never committed
            batch, target = a_batch(*keyed(*names)), clicks(journal, partition)

            with pytest.raises(JournalUnavailable, match="the disk is gone"):
                journal._submit(partial(written_then_broken, journal, target, batch)).result()
        else:
            lives += 1
            copy = crashed(journal, place / str(lives))
            journal.close()
            journal = Journal(copy, 10**9)
    for partition, expected in held.items():
        assert keys(journal, clicks(journal, partition)) == expected
        assert clicks(journal, partition).high == len(expected)
    found = journal.committed("readers")
    assert {partition: found[clicks(journal, partition).id].next_offset for partition in committed} == committed
    journal.close()


def written_then_broken(journal: Journal, partition: LogPartition, batch: bytes) -> None:
    journal._append(partition, *headed(batch))
    raise OSError("the disk is gone")


def test_bytes_that_are_damaged_inside_are_skipped_with_their_offsets_named(journal: Journal) -> None:
    for number in range(3):
        append(journal, clicks(journal), b"%d" % number, value=b"x" * 50)
    journal.database.execute("UPDATE batches SET records = zeroblob(length(records)) WHERE base = 1")
    with capture_logs() as said:
        assert keys(journal, clicks(journal)) == [b"0", b"2"]
        assert keys(journal, clicks(journal)) == [b"0", b"2"]
    (line,) = said
    assert (line["log_level"], line["topic"], line["offsets"]) == ("error", "clicks", "1-1")


# -- producers that send again -----------------------------------------------------------------------------------------


def test_a_batch_that_a_producer_sends_again_is_there_once(journal: Journal) -> None:
    log = clicks(journal)
    assert append(journal, log, b"a", b"b", producer=5, sequence=0) == 0
    assert append(journal, log, b"c", producer=5, sequence=2) == 2
    assert append(journal, log, b"a", b"b", producer=5, sequence=0) == 0
    assert append(journal, log, b"d", producer=6, sequence=0) == 3
    assert append(journal, log, b"e", producer=5, sequence=0, producer_epoch=1) == 4
    assert keys(journal, log) == [b"a", b"b", b"c", b"d", b"e"]


def test_no_batch_is_written_before_the_one_that_was_sent_before_it(journal: Journal) -> None:
    log = clicks(journal)
    with pytest.raises(OutOfOrderSequence):
        append(journal, log, b"b", producer=5, sequence=1)
    append(journal, log, b"a", producer=5, sequence=0)
    with pytest.raises(OutOfOrderSequence):
        append(journal, log, b"c", producer=5, sequence=2)
    append(journal, log, b"b", producer=5, sequence=1)
    assert keys(journal, log) == [b"a", b"b"]


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_acknowledges_nothing_says_so_and_recovers_by_itself(journal: Journal) -> None:
    log = clicks(journal)
    append(journal, log, b"before", producer=5, sequence=0)
    (pages,) = journal.database.execute("PRAGMA page_count").fetchone()
    journal.database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailable, match="can't be written: database or disk is full"):
        append(journal, log, b"lost", value=b"x" * 100_000, producer=5, sequence=1)
    assert "database or disk is full" in (journal.problem or "")
    assert (log.high, keys(journal, log)) == (1, [b"before"])
    journal.database.execute("PRAGMA max_page_count = 1000000")
    wait_until(lambda: journal.problem is None, "it can be written again")
    assert append(journal, log, b"after", producer=5, sequence=1) == 1
    assert keys(journal, log) == [b"before", b"after"]


def test_a_reserve_of_the_disk_is_left_and_named(tmp_path: Path) -> None:
    free = [RESERVE_BYTES]
    with opened(tmp_path, free_bytes=lambda _: free[0]) as journal:
        assert journal.limit is None
        free[0] -= 1
        wait_until(lambda: journal.limit is not None, "the limit is seen")
        assert "bytes left" in (journal.limit or "")
        assert append(journal, clicks(journal), b"a service's own") == 0, "the services go on"
        free[0] += 1
        wait_until(lambda: journal.limit is None, "there is room again")


def test_beyond_its_bound_handled_records_go_first_and_nothing_that_is_not(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=2_000_000) as journal:
        log = clicks(journal)
        journal.commit("readers", {log: (0, "")}).result()
        for number in range(25):
            append(journal, log, b"%d" % number, value=b"x" * 100_000)
        clean(journal)
        assert log.low == 0, "nobody has handled them"
        wait_until(lambda: "its bound (journal.max_bytes)" in (journal.limit or ""), "intake is refused")
        journal.commit("readers", {log: (20, "")}).result()
        journal.checkpoint()().result()
        clean(journal)
        assert 0 < log.low <= 20
        assert keys(journal, log)[-5:] == [b"20", b"21", b"22", b"23", b"24"]
        wait_until(lambda: journal.limit is None, "there is room")


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_old_records_go_once_every_group_has_handled_them(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as journal:
        log = clicks(journal)
        append(journal, log, b"a", b"b")
        append(journal, log, b"c")
        clock.forward(89 * DAY)
        append(journal, log, b"d")
        journal.commit("quick", {log: (4, "")}).result()
        journal.commit("slow", {log: (2, "")}).result()
        journal.checkpoint()().result()
        clean(journal)
        assert log.low == 0, "none is old"
        clock.forward(2 * DAY)
        clean(journal)
        assert keys(journal, log) == [b"c", b"d"], "the slow one hasn't handled the third"
        journal.forget_group("slow").result()
        clean(journal)
        assert (keys(journal, log), log.low, log.high) == ([b"d"], 3, 4)
    with opened(tmp_path, clock=clock) as journal:
        assert (clicks(journal).low, clicks(journal).high) == (3, 4)


def test_a_compacted_topic_keeps_the_newest_state_of_each_key_at_its_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.adapters.kafka.embedded.journal_cleaner.MIN_DIRTY_BYTES", 1)
    clock = Clock()
    long_key = b"k" * 100
    with opened(tmp_path, clock=clock) as journal:
        log = items(journal)
        append(journal, log, b"a", b"b", long_key)
        append(journal, log, b"a")
        append(journal, log, b"b", value=None)
        append(journal, log, long_key)
        append(journal, log, b"c")
        clean(journal)
        assert [(r.offset, r.key) for r in records(journal.read(log, 0, EVERYTHING))] == [
            (3, b"a"),
            (4, b"b"),
            (5, long_key),
            (6, b"c"),
        ]
        clock.forward(2 * DAY)
        append(journal, log, b"a", b"d", value=b"x" * 500)
        append(journal, log, b"e")
        clean(journal)
        assert keys(journal, log) == [long_key, b"c", b"a", b"d", b"e"], "the tombstone is gone"
        assert log.high == 10
        with (tmp_path / "journal.db").open("rb") as file:
            journal.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert b"b" * 3 not in file.read()


def test_what_a_group_has_yet_to_read_is_not_compacted(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.adapters.kafka.embedded.journal_cleaner.MIN_DIRTY_BYTES", 1)
    log = items(journal)
    for _ in range(4):
        append(journal, log, b"a")
    journal.commit("readers", {log: (1, "")}).result()
    clean(journal)
    assert offsets(journal.read(log, 0, EVERYTHING)) == [1, 2, 3]
    journal.commit("readers", {log: (4, "")}).result()
    journal.checkpoint()().result()
    clean(journal)
    assert offsets(journal.read(log, 0, EVERYTHING)) == [3]


# -- a store that is on disk only after a flush ------------------------------------------------------------------------


def test_after_a_failure_of_the_machine_groups_go_on_from_what_is_stored(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        log = clicks(journal)
        journal.commit("writers", {log: (3, "1")}).result()
        flushed = journal.checkpoint()
        journal.commit("writers", {log: (5, "1")}).result()
        flushed().result()
        journal.commit("writers", {log: (9, "1")}).result()
        journal.commit("insights", {log: (9, "1")}).result()
    with opened(tmp_path) as journal:
        journal.rewind(but={"insights"}).result()
        log = clicks(journal)
        assert journal.committed("writers")[log.id].next_offset == 3
        assert journal.committed("writers")[log.id].metadata == "1"
        assert journal.committed("insights")[log.id].next_offset == 9
        assert (journal.repeats("writers"), journal.repeats("insights")) == (True, False)
        journal.commit("writers", {log: (8, "1")}).result()
        assert journal.repeats("writers")
    with opened(tmp_path) as journal:  # also when it fails once more before that
        journal.rewind(but={"insights"}).result()
        assert journal.repeats("writers")
        journal.commit("writers", {clicks(journal): (9, "1")}).result()
        assert not journal.repeats("writers")


def test_what_a_store_may_have_lost_is_not_dropped(tmp_path: Path) -> None:
    clock = Clock()
    with opened(tmp_path, clock=clock) as journal:
        log = clicks(journal)
        append(journal, log, b"a")
        journal.commit("writers", {log: (0, "")}).result()
        journal.commit("writers", {log: (1, "")}).result()
        clock.forward(91 * DAY)
        clean(journal)
        assert keys(journal, log) == [b"a"]
        journal.checkpoint()().result()
        clean(journal)
        assert keys(journal, log) == []
