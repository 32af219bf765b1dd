"""Lists for many people at once, as JSON lines: a newsletter's five for each.

The output has a line for each person, in the order in which they are named: the reader's list, or why there is none.
Requests are marked as a batch, so a list counts as shown only once an impression with its `request_id` says so.
Beside it, `<output>.run` keeps the parameters. A run that was stopped, or killed, resumes after the last complete line,
and only with the same parameters.

Requests run in a pool of threads; the main thread alone writes, in order. After a crash the last line may be torn: the
next run cuts it off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeAlias

import orjson
import structlog

from eddyline.clients import requests
from eddyline.clients.client import Client
from eddyline.clients.progress import GOES_ON, ProgressListener, resumable
from eddyline.clients.retries import PAUSES
from eddyline.errors import AlreadyRunning, InvalidEvent, InvalidInput, NotFound, Unavailable, UnexpectedResponse
from eddyline.model.events import check_id

Ask: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns the list for a `RecommendationRequest` in JSON. Raises `InvalidInput` with the field, `Unavailable` where
another attempt is worthwhile, any other error where it isn't. Called from several threads."""

STAGE = "lists"
WHOM = "users"
"""The parameter that tells whom the lists are for."""
AHEAD = 4
"""Requests submitted for each that runs, so that nobody waits for the slowest."""
LEFT_OUT = ("next", "degraded")
"""Members of a response that mean nothing in a file."""

log = structlog.get_logger("recommend")


@dataclass(slots=True)
class ExportReport:
    """Counts of lists that this run wrote, that earlier runs wrote, and of people who have none."""

    written: int = 0
    earlier: int = 0
    failed: int = 0
    finished_before: bool = False
    """Whether there was nothing left to do."""


class ListFile:
    """A file of lists, open and locked, after its last complete line; a context manager. `done`: who has a line."""

    def __init__(self, path: Path, parameters: Mapping[str, Any]) -> None:
        """Begin, or resume. Raises `InvalidInput` for a file that isn't ours or was begun with other parameters, and
        `AlreadyRunning` where another run writes it."""
        self._path, self._notes = path, path.with_name(f"{path.name}.run")
        self._file = _locked(path)
        self.done: set[str] = set()
        self.failed = 0
        self.is_finished = False
        try:
            self._resume(dict(parameters))
        except BaseException:
            self._file.close()
            raise

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is in the file when this returns."""
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()
        self.failed += "error" in line

    def finish(self) -> None:
        """Mark the run as complete."""
        self._note({**self._read_notes(), "finished": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _resume(self, parameters: dict[str, Any]) -> None:
        if not self._file.read(1):
            self._note({"parameters": parameters})
            return
        notes = self._read_notes()
        self._compare(notes["parameters"], parameters)
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, start=1):
            if line.endswith(b"\n"):  # the last one may be torn
                self._read_line(line, number)
                whole += len(line)
        self._file.seek(whole)
        self._file.truncate()
        self.is_finished = bool(notes.get("finished"))

    def _read_line(self, line: bytes, number: int) -> None:
        try:
            written = orjson.loads(line)
            self.done.add(written["user_id"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InvalidInput(f"line {number} of {self._path} is none of ours; name another file", "output") from None
        self.failed += "error" in written

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                otherwise = f"with {name} {_shown(before.get(name))}, not {_shown(now.get(name))}"
                how = "for other people" if name == WHOM else otherwise
                raise InvalidInput(f"{self._path} was begun {how}: go on with the same, or name another file", "output")

    def _read_notes(self) -> dict[str, Any]:
        try:
            notes = orjson.loads(self._notes.read_bytes())
            return {**notes, "parameters": dict(notes["parameters"])}
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise InvalidInput(
                f"{self._path} is not empty, and no {self._notes.name} beside it says how it was begun; name another "
                "file",
                "output",
            ) from None

    def _note(self, notes: Mapping[str, Any]) -> None:
        new = self._notes.with_name(f"{self._notes.name}.new")
        new.write_bytes(orjson.dumps(notes))
        new.replace(self._notes)


def _locked(path: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}", "output") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise AlreadyRunning(f"another run writes {path}: wait for it, or name another file") from None
    return file


def _shown(value: Any) -> str:
    return "none" if value is None else orjson.dumps(value).decode()[:100]


class ListExport:
    """Requests everyone's list, several at once, and writes them in order. `sleep` takes seconds."""

    def __init__(
        self,
        ask: Ask,
        output: ListFile,
        body: Mapping[str, Any],
        concurrency: int,
        progress: ProgressListener,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        """`body`: what all requests share, without the person."""
        self._ask, self._output, self._body, self._progress = ask, output, body, progress
        self._concurrency = concurrency
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait

    def run(self, users: Sequence[str]) -> ExportReport:
        """Write the lists of those who have no line yet.

        Raises `InvalidInput` where the parameters are refused, `Unavailable` when nobody answers; what was written
        until then, or until it was interrupted, stays.
        """
        report = ExportReport(earlier=len(self._output.done), finished_before=self._output.is_finished)
        if not report.finished_before:
            left = [user for user in users if user not in self._output.done]
            self._progress.start(STAGE, len(users), len(users) - len(left))
            for line in self._lines(left):
                self._output.write(line)
                report.written += 1
                self._progress.advance(STAGE, 1)
                if self._stopped.is_set():
                    raise KeyboardInterrupt
            self._output.finish()
        report.failed = self._output.failed
        return report

    def stop(self) -> None:
        """End with `KeyboardInterrupt` after the line that is being written. From any thread, or a signal's handler."""
        self._stopped.set()

    def _lines(self, users: Iterable[str]) -> Iterator[dict[str, Any]]:
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="recommend")
        pending: deque[Future[dict[str, Any]]] = deque()
        try:
            for user in users:
                pending.append(pool.submit(self._line, user))
                if len(pending) >= self._concurrency * AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            self._stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _line(self, user: str) -> dict[str, Any]:
        try:
            response = self._ask_until_own({**self._body, "user_id": user, "batch": True})
        except Unavailable:
            raise
        except InvalidInput as error:
            if error.field != "user_id":  # it would be refused for everyone
                raise
            return {"user_id": user, "error": str(error)}
        except Exception as error:  # one person's failure isn't everyone's: it is noted, and the run goes on
            log.warning("no list", user=user, reason=str(error))
            return {"user_id": user, "error": str(error) or type(error).__name__}
        return {"user_id": user, **{name: value for name, value in response.items() if name not in LEFT_OUT}}

    def _ask_until_own(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask until the list is the person's own: readers serve one from a cache while their store is away."""
        reason = "answers come from a cache, since its vector store doesn't answer"
        for pause in (*PAUSES, None):
            try:
                response = self._ask(body)
                if not response.get("degraded"):
                    return response
            except Unavailable as error:
                reason = str(error)
            if pause is None or self._stopped.is_set():
                break
            self._sleep(pause)
        raise Unavailable(f"{reason}; {GOES_ON}")


# -- a reader to ask, and for whom ------------------------------------------------------------------------------------


def over_http(client: Client) -> Ask:
    """Ask a running reader. Raises `Unavailable` where nobody answers at its address."""
    with resumable():
        client.ping()

    def ask(body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return client.call(requests.recommend(body))
        except (NotFound, UnexpectedResponse) as error:
            if isinstance(error, UnexpectedResponse) and error.status >= 500:
                raise
            raise InvalidInput(str(error)) from None  # it would fail for everyone

    return ask


@dataclass(frozen=True, slots=True)
class IdList:
    """Distinct ids. `source` tells these from others."""

    ids: Sequence[str] = field(repr=False)
    source: str


def read_ids(path: Path, name: str) -> IdList:
    """Read the ids in a file: one a line, or JSON lines with `name`. Raises `InvalidInput` with the line."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8") from None
    given = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    is_json = bool(given) and given[0][1].startswith("{")
    ids = dict.fromkeys(_id(line, name, is_json, f"{path}:{number}") for number, line in given)
    if not ids:
        raise InvalidInput(f"{path} names nobody" if name == "user_id" else f"{path} names no item")
    return IdList(list(ids), hashlib.sha256(content).hexdigest())


def _id(line: str, name: str, is_json: bool, where: str) -> str:
    try:
        value = orjson.loads(line)[name] if is_json else line
        if not isinstance(value, str):
            raise TypeError
        return check_id(value, name)
    except InvalidEvent as error:
        raise InvalidInput(f"{name} {error.reason}", where) from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise InvalidInput(f"is no JSON object with a {name}, as the first line is", where) from None
