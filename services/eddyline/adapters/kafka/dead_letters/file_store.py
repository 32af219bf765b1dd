"""Dead letters of the embedded mode: a file for each topic, which may be rewritten while others write to it.

The directory's lock is held for each write and each rewrite, so that threads and processes exclude each other. A crash
leaves either the old file or the new one, and at most a torn last line, which the next write completes.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson
import structlog

from eddyline.adapters.kafka.contract import Record
from eddyline.adapters.kafka.dead_letters.dead_letter import (
    Clock,
    DeadLetter,
    DeadLetterKey,
    UnreadableDeadLetter,
    from_fields,
    to_fields,
    without_duplicates,
)
from eddyline.adapters.private_files import make_private
from eddyline.errors import EddylineError, Misconfigured, Unavailable

SUFFIX = ".jsonl"
MAX_FILE_BYTES = 64 * 2**20
"""Largest file of a topic's dead letters: beyond, the older half is dropped."""
MAX_AGE_SECONDS = 30 * 86_400.0
"""How long a dead letter is kept, as in Kafka."""
EXPIRY_SECONDS = 3600.0
"""How often a file is looked through for older ones, at most."""
_BYTES = {"key", "value", "headers"}

log = structlog.get_logger("eddyline.kafka")


class FileDeadLetterWriter:
    """Dead letters in `<directory>/<topic>.jsonl`, one JSON object a line, the bytes in base64.

    Safe for several threads and processes; every line is on the disk before `put` returns. What is old, or too much,
    is dropped as others come. `clock` gives epoch seconds.
    """

    def __init__(self, directory: Path, clock: Clock = time.time, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        self._directory, self._clock, self._max_file_bytes = directory, clock, max_file_bytes
        self._next_expiry: dict[str, float] = {}
        """By topic."""
        make_private(directory)

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Keep `record`. Raises `OSError` when the disk refuses, which stops the service."""
        self._append(record.topic, self._line(record, reason, detail, attempt))

    def put_all(self, records: Sequence[tuple[Record, str, str]]) -> None:
        """Keep records, each topic's in one write. Raises `OSError` when the disk refuses, which stops the service."""
        lines: defaultdict[str, bytes] = defaultdict(bytes)
        for record, reason, detail in records:
            lines[record.topic] += self._line(record, reason, detail, 1)
        for topic, written in lines.items():
            self._append(topic, written)

    def _line(self, record: Record, reason: str, detail: str, attempt: int) -> bytes:
        return orjson.dumps(
            {
                **to_fields(record, reason, detail, attempt, self._clock()),
                "key": _base64(record.key),
                "value": _base64(record.value),
                "headers": [[name, _base64(value)] for name, value in record.headers],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def _append(self, topic: str, lines: bytes) -> None:
        path = self._directory / f"{topic}{SUFFIX}"
        with _locked(self._directory):
            new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write(descriptor, _torn_line_end(descriptor) + lines)
                os.fsync(descriptor)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if new:
                _sync_directory(self._directory)
            if size > self._max_file_bytes or self._clock() >= self._next_expiry.get(topic, 0.0):
                self._expire(path, topic, size)

    def _expire(self, path: Path, topic: str, size: int) -> None:
        """Drop what is too old, and of a file that is too large the older half. The directory is locked."""
        self._next_expiry[topic] = self._clock() + EXPIRY_SECONDS
        surplus = size - self._max_file_bytes // 2 if size > self._max_file_bytes else 0
        oldest = (self._clock() - MAX_AGE_SECONDS) * 1000
        dropped = 0

        def stays(line: bytes, begin: int) -> bool:
            nonlocal dropped
            gone = begin < surplus or _given_up_at(line) < oldest
            dropped += gone
            return not gone

        if surplus or _first_given_up_at(path) < oldest:
            _rewrite(path, stays)
            log.warning("dropped the oldest dead letters", file=path.name, dropped=dropped)


class FileDeadLetterStore:
    """The `DeadLetterStore` of a data directory. A directory that isn't there holds none."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: list[IO[bytes]] = []

    def logs(self, topic: str | None = None) -> list[FileDeadLetterLog]:
        """Return a log for each file. Raises `Misconfigured` for those that may not be read, and `Unavailable`."""
        paths = sorted(self._directory.glob("*" + SUFFIX if topic is None else topic + SUFFIX))
        if not paths:
            return []
        try:
            with _locked(self._directory):
                opened = [(path, path.open("rb")) for path in paths]
                self._open += [file for _, file in opened]
                return [FileDeadLetterLog(path, file, os.fstat(file.fileno()).st_size) for path, file in opened]
        except OSError as error:
            raise _translate_os_error(error) from error

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.pop().close()


class FileDeadLetterLog:
    """The `DeadLetterLog` of a file, as far as it went (`size`) when it was opened."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self.name = path.name
        self.topic = path.name.removesuffix(SUFFIX)
        self._path, self._file, self._size = path, file, size

    def read(self) -> Iterator[DeadLetter | UnreadableDeadLetter]:
        """Yield the dead letters in the order in which they were kept, each once."""
        return without_duplicates(self._read_dead_letter(number, line) for number, line in enumerate(self._lines(), 1))

    def remove(self, gone: Set[DeadLetterKey]) -> None:
        """Rewrite the file without them; writers wait meanwhile. Raises `Misconfigured` when it may
        not be written, `Unavailable` when it can't."""
        try:
            with _locked(self._path.parent):
                self._remove(gone)
        except OSError as error:
            raise _translate_os_error(error) from error

    def _remove(self, gone: Set[DeadLetterKey]) -> None:
        seen = set(gone)

        def stays(line: bytes, _: int) -> bool:
            found = self._read_dead_letter(0, line)
            if not isinstance(found, DeadLetter):
                return True
            is_new = found.identity not in seen
            seen.add(found.identity)
            return is_new

        _rewrite(self._path, stays)

    def _lines(self) -> Iterator[bytes]:
        self._file.seek(0)
        left = self._size
        while left > 0 and (line := self._file.readline(left)):
            left -= len(line)
            yield line

    def _read_dead_letter(self, number: int, line: bytes) -> DeadLetter | UnreadableDeadLetter:
        try:
            fields = orjson.loads(line.rstrip(b"\n"))
            if not isinstance(fields, dict):
                raise ValueError("it is not a JSON object")
            headers = tuple((str(name), _bytes(value) or b"") for name, value in fields.get("headers", ()))
            texts = {name: text for name, text in fields.items() if name not in _BYTES}
            return from_fields(texts, self.topic, _bytes(fields["key"]), _bytes(fields["value"]), headers)
        except KeyError as error:
            problem = f"it has no {error.args[0]}"
        except orjson.JSONDecodeError as error:
            problem = f"it is not JSON: {error}"
        except (TypeError, ValueError) as error:
            problem = str(error)
        return UnreadableDeadLetter(f"{self.name}:{number}", problem, None, line.rstrip(b"\n"))


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lock the files of `directory`. (A lock file would belong to whoever came first, and keep others out.)"""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which unlocks it


def _rewrite(path: Path, stays: Callable[[bytes, int], bool]) -> None:
    """Leave out the lines that don't stay; `stays` gets a line and where it begins. The directory is locked."""
    new = path.with_suffix(".new")
    with suppress(FileNotFoundError):
        new.unlink()
    with path.open("rb") as old, new.open("xb") as kept:
        _copy_owner_and_mode(kept.fileno(), old.fileno())
        begin = 0
        for line in old:
            if stays(line, begin):
                kept.write(line if line.endswith(b"\n") else line + b"\n")
            begin += len(line)
        kept.flush()
        os.fsync(kept.fileno())
    new.replace(path)
    _sync_directory(path.parent)


def _first_given_up_at(path: Path) -> float:
    with path.open("rb") as file:
        return _given_up_at(file.readline())


def _given_up_at(line: bytes) -> float:
    """Return when, in epoch milliseconds; what can't be read stays for as long as the file is small enough."""
    try:
        return float(orjson.loads(line)["at"])
    except (KeyError, TypeError, ValueError):
        return math.inf


def _copy_owner_and_mode(descriptor: int, other: int) -> None:
    """Copy owner and mode: whoever could write to the old file must be able to write to the new one."""
    old, new = os.fstat(other), os.fstat(descriptor)
    os.fchmod(descriptor, old.st_mode & 0o777)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)


def _translate_os_error(error: OSError) -> EddylineError:
    reason = f"{error.filename or 'the dead letters'}: {error.strerror}"
    if isinstance(error, PermissionError):
        return Misconfigured(f"{reason}; run this as the user who runs Eddyline")
    return Unavailable(reason)


def _torn_line_end(descriptor: int) -> bytes:
    """Return the end of a line that a crash cut short, so that the next one stays whole."""
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _bytes(text: Any) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
