"""Dead letters of the embedded size: whole, and on the disk."""

from __future__ import annotations

import threading
from base64 import b64decode
from pathlib import Path

import orjson

from eddyline.adapters.kafka import FileDeadLetters, Record


def a_record(offset: int, key: bytes | None = b"\xffk", value: bytes | None = b"\x00v") -> Record:
    return Record("users", 2, offset, key, value, 1_700_000_000_000, "log", (("h", b"\xfe"),))


def test_a_dead_letter_keeps_its_bytes_and_says_why_and_where_from(tmp_path: Path) -> None:
    letters = FileDeadLetters(tmp_path / "new" / "dead")
    letters.put(a_record(7), "invalid_event", "can't be read", attempt=3)
    letters.put(a_record(8, key=None, value=None), "expired", "too late")
    first, second = (orjson.loads(line) for line in (tmp_path / "new/dead/users.jsonl").read_bytes().splitlines())
    assert (b64decode(first.pop("key")), b64decode(first.pop("value"))) == (b"\xffk", b"\x00v")
    assert [(name, b64decode(value)) for name, value in first.pop("headers")] == [("h", b"\xfe")]
    assert first == {
        "reason": "invalid_event",
        "detail": "can't be read",
        "topic": "users",
        "partition": "2",
        "offset": "7",
        "timestamp": "1700000000000",
        "attempt": "3",
    }
    assert (second["key"], second["value"], second["attempt"]) == (None, None, "1")


def test_threads_do_not_tear_each_others_lines(tmp_path: Path) -> None:
    letters = FileDeadLetters(tmp_path)

    def write(start: int) -> None:
        for offset in range(start, start + 50):
            letters.put(a_record(offset, value=b"x" * 10_000), "invalid_event", "can't be read")

    threads = [threading.Thread(target=write, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lines = (tmp_path / "users.jsonl").read_bytes().splitlines()
    assert sorted(int(orjson.loads(line)["offset"]) for line in lines) == list(range(200))
