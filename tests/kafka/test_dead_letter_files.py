"""Dead letters of the embedded size: whole, on the disk, and removable while others come."""

from __future__ import annotations

import multiprocessing
import os
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests.kafka.letters import BURIED, a_record, found, letters, offsets, remove
from tests.support.fakes import Clock

from eddyline.adapters.kafka import DeadLetter, FileDeadLetterStore, FileDeadLetterWriter, UnreadableDeadLetter
from eddyline.errors import Misconfigured, Unavailable

COUNT = 120


@pytest.fixture
def box(tmp_path: Path) -> Iterator[FileDeadLetterStore]:
    it = FileDeadLetterStore(tmp_path)
    yield it
    it.close()


def keep(directory: Path, first: int, count: int) -> None:
    into = FileDeadLetterWriter(directory, lambda: BURIED)
    for offset in range(first, first + count):
        into.put(a_record(offset, value=b"x" * 3000), "invalid_event", "can't be read")


def test_a_line_holds_the_bytes_and_says_why_when_and_where_from(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "dead"
    FileDeadLetterWriter(directory, lambda: BURIED).put(a_record(7), "invalid_event", "can't be read", attempt=3)
    (line,) = map(orjson.loads, (directory / "users.jsonl").read_bytes().splitlines())
    assert (b64decode(line.pop("key")), b64decode(line.pop("value"))) == (b"\xffk", b"\x00v")
    assert [(name, b64decode(value)) for name, value in line.pop("headers")] == [("h", b"\xfe"), ("h", b"")]
    assert line == {
        "reason": "invalid_event",
        "detail": "can't be read",
        "topic": "users",
        "partition": "2",
        "offset": "7",
        "log": "cluster/log",
        "timestamp": "1700000000000",
        "attempt": "3",
        "at": "1700000500250",
    }


@pytest.mark.parametrize(("key", "value"), [(b"\xffk", b"\x00v"), (None, None), (b"", b"")])
def test_a_letter_comes_out_as_it_was_put_in(
    tmp_path: Path, box: FileDeadLetterStore, key: bytes | None, value: bytes | None
) -> None:
    record = a_record(7, key=key, value=value)
    FileDeadLetterWriter(tmp_path, lambda: BURIED).put(record, "unknown_item", "it never came", attempt=3)
    (letter,) = found(box)
    assert letter == DeadLetter(record, "unknown_item", "it never came", 3, int(BURIED * 1000))


def test_letters_are_told_apart_by_their_log_and_found_by_their_place(tmp_path: Path, box: FileDeadLetterStore) -> None:
    into = FileDeadLetterWriter(tmp_path)
    for log in ("one", "two"):
        into.put(a_record(7, log=log), "invalid_event", "")
    one, two = letters(box)
    assert one.id != two.id
    assert one.id.startswith("users:2:7@")
    assert one.is_at(one.id)
    assert one.is_at("users:2:7")
    assert not one.is_at(two.id)


def test_a_letter_that_was_kept_twice_is_read_once(tmp_path: Path, box: FileDeadLetterStore) -> None:
    keep(tmp_path, 7, 2)
    keep(tmp_path, 7, 2)
    FileDeadLetterWriter(tmp_path, lambda: BURIED).put(a_record(7), "unknown_item", "another reason")
    assert offsets(box) == [7, 8, 7]
    (log,) = box.logs()
    remove(log, 8)
    assert offsets(box) == [7, 7]
    assert len((tmp_path / "users.jsonl").read_bytes().splitlines()) == 2


def test_a_file_keeps_the_newer_half_of_what_is_too_much(tmp_path: Path, box: FileDeadLetterStore) -> None:
    into = FileDeadLetterWriter(tmp_path, lambda: BURIED, max_file_bytes=50_000)
    for offset in range(100):
        into.put(a_record(offset, value=b"x" * 3000), "invalid_event", "")
        assert (tmp_path / "users.jsonl").stat().st_size <= 50_000
    kept = offsets(box)
    assert kept == list(range(kept[0], 100))
    assert len(kept) >= 5


def test_what_is_older_than_thirty_days_goes(tmp_path: Path, box: FileDeadLetterStore) -> None:
    clock = Clock(BURIED)
    into = FileDeadLetterWriter(tmp_path, clock)
    for offset in range(4):
        into.put(a_record(offset), "invalid_event", "")
        clock.forward(10 * 86_400)
    into.put(a_record(4), "invalid_event", "")
    assert offsets(box) == [1, 2, 3, 4]


def test_a_directory_that_is_not_there_holds_none_and_is_not_made(tmp_path: Path) -> None:
    assert FileDeadLetterStore(tmp_path / "none").logs() == []
    assert not (tmp_path / "none").exists()


def test_topics_are_read_one_by_one(tmp_path: Path, box: FileDeadLetterStore) -> None:
    into = FileDeadLetterWriter(tmp_path)
    for topic in ("users", "content"):
        into.put(a_record(1, topic=topic), "invalid_event", "")
    assert [log.name for log in box.logs()] == ["content.jsonl", "users.jsonl"]
    assert [letter.record.topic for letter in found(box, "users") if isinstance(letter, DeadLetter)] == ["users"]
    box.close()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{oops", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "it has no key"),
        (b'{"key": null, "value": null}', "from topic None"),
        (b'{"key": null, "value": null, "topic": "content"}', "from topic 'content'"),
        (b'{"key": null, "value": null, "topic": "users"}', "doesn't say its reason"),
        (b'{"key": null, "value": null, "topic": "users", "reason": "r", "partition": "-1"}', "partition is '-1'"),
        (b'{"key": null, "value": null, "topic": "users", "reason": "r", "partition": 1}', "partition is 1"),
        (b'{"key": "?", "value": null}', "base64"),
        (b'{"key": 1, "value": null}', "argument"),
        (b'{"key": null, "value": null, "headers": 1}', "iterable"),
    ],
)
def test_what_is_no_letter_is_shown_with_its_line_and_kept(
    tmp_path: Path, box: FileDeadLetterStore, line: bytes, problem: str
) -> None:
    keep(tmp_path, 1, 1)
    with (tmp_path / "users.jsonl").open("ab") as file:
        file.write(line + b"\n")
    keep(tmp_path, 2, 1)
    _, wrong, second = found(box)
    assert isinstance(wrong, UnreadableDeadLetter)
    assert (wrong.place, wrong.value) == ("users.jsonl:2", line)
    assert problem in wrong.problem
    (log,) = box.logs()
    remove(log, 1)
    assert [each.place if isinstance(each, UnreadableDeadLetter) else each for each in found(box)] == [
        "users.jsonl:1",
        second,
    ]


def test_a_line_that_a_crash_cut_short_does_not_take_the_next_one_with_it(
    tmp_path: Path, box: FileDeadLetterStore
) -> None:
    keep(tmp_path, 1, 1)
    path = tmp_path / "users.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:100])
    (log,) = box.logs()
    keep(tmp_path, 2, 1)
    assert [type(each) for each in log.read()] == [DeadLetter, UnreadableDeadLetter]
    assert [type(each) for each in found(box)] == [DeadLetter, UnreadableDeadLetter, DeadLetter]
    path.write_bytes(whole + whole[:100])
    remove(log, 1)
    keep(tmp_path, 3, 1)
    assert [type(each) for each in found(box)] == [UnreadableDeadLetter, DeadLetter]


def test_what_comes_after_a_log_was_opened_is_not_in_it_and_stays(tmp_path: Path, box: FileDeadLetterStore) -> None:
    keep(tmp_path, 1, 3)
    (log,) = box.logs()
    keep(tmp_path, 4, 2)
    assert [each.record.offset for each in log.read() if isinstance(each, DeadLetter)] == [1, 2, 3]
    remove(log, 1, 3)
    assert offsets(box) == [2, 4, 5]
    assert list(tmp_path.glob("*.new")) == []


def test_a_rewritten_file_stays_its_owners_and_as_private_as_it_was(tmp_path: Path, box: FileDeadLetterStore) -> None:
    keep(tmp_path, 1, 2)
    path = tmp_path / "users.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    before = path.stat()
    (log,) = box.logs()
    remove(log, 1)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_what_the_disk_refuses_is_said_and_nothing_is_lost(
    tmp_path: Path, box: FileDeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, 1, 3)
    (log,) = box.logs()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left"):
            remove(log, 1)
    assert offsets(box) == [1, 2, 3]

    def forbidden(descriptor: int, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", forbidden)
        with pytest.raises(Misconfigured, match="the user who runs Eddyline"):
            remove(log, 1)
    remove(log, 1)
    assert offsets(box) == [2, 3]


def test_threads_do_not_tear_each_others_lines(tmp_path: Path, box: FileDeadLetterStore) -> None:
    into = FileDeadLetterWriter(tmp_path)

    def write(start: int) -> None:
        for offset in range(start, start + 50):
            into.put(a_record(offset, value=b"x" * 10_000), "invalid_event", "can't be read")

    threads = [threading.Thread(target=write, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(offsets(box)) == list(range(200))


@pytest.mark.slow(10)
def test_nothing_that_is_put_while_others_are_removed_is_lost(tmp_path: Path, box: FileDeadLetterStore) -> None:
    """Two threads and a process put, while here every second one is removed, again and again."""
    process = multiprocessing.get_context("spawn").Process(target=keep, args=(tmp_path, 2000, COUNT))
    threads = [threading.Thread(target=keep, args=(tmp_path, 1000 * n, COUNT)) for n in (0, 1)]
    process.start()
    for thread in threads:
        thread.start()
    removals = 0
    while process.is_alive() or any(thread.is_alive() for thread in threads):
        for log in box.logs():
            remove(log, *range(0, 3000, 2))
            removals += 1
        box.close()
    process.join()
    assert process.exitcode == 0
    assert removals > 3
    (log,) = box.logs()
    remove(log, *range(0, 3000, 2))
    put = {1000 * n + i for n in range(3) for i in range(COUNT)}
    assert sorted(offsets(box)) == sorted(offset for offset in put if offset % 2)
