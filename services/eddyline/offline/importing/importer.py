"""The import itself: batches over HTTP, patient with a busy collector, picking up where it was stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import orjson

from eddyline.errors import EddylineError, InvalidInput, Unavailable
from eddyline.model.events import format_timestamp, parse_timestamp
from eddyline.offline.importing.sources import Json, Line, Source, latest_time
from eddyline.offline.intake import GOES_ON, Intake, decoded, in_path, said

BATCHES = {"items": 200, "users": 1, "events": 500}
PATHS = {"items": "/v1/items", "events": "/v1/events"}
SAMPLE = 25
MAX_SHOWN = 5


class Progress(Protocol):
    """Told how it goes."""

    def start(self, what: str, total: int, done: int) -> None:
        """A stage begins, `done` of `total` being there already."""

    def advance(self, what: str, count: int) -> None:
        """`count` more are there."""

    def say(self, line: str) -> None:
        """Something worth a line."""


class Silent:
    """Progress that nobody watches."""

    def start(self, what: str, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, what: str, count: int) -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""


@dataclass(slots=True)
class Report:
    """What became of it: counts by stage, those skipped because an earlier run sent them, and refusals."""

    sent: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)


class Refusal(NamedTuple):
    """One line that the collector doesn't take."""

    where: str
    reason: str


class Importer:
    """Sends a source to a collector. `state`: a file that remembers how far it got, None for no memory."""

    def __init__(
        self,
        client: httpx.Client,
        source: Source,
        state: Path | None,
        progress: Progress,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._intake, self._source, self._state_file, self._progress = Intake(client, sleep), source, state, progress
        self._sleep, self._clock = sleep, clock
        self._state = self._load_state()
        self._shift = 0.0

    def run(self, ends_now: bool = False) -> Report:
        """Items, then people, then, once the items are searchable, events.

        `ends_now` moves all event times by the same amount, so that the newest happens now (an import that goes on
        after a stop keeps the amount). Raises `InvalidInput` for a file that can't be read, `Unavailable` when the
        collector can't be reached.
        """
        if ends_now:
            self._shift = self._decide_shift()
        report = Report()
        for what, lines in (("items", self._source.items), ("users", self._source.users)):
            self._stage(what, lines, report)
        if report.sent["items"] or self._has_events_left():
            self._await_items()
        self._stage("events", self._source.events, report)
        return report

    def _has_events_left(self) -> bool:
        return next(islice(self._source.events(), int(self._state.get("events", 0)), None), None) is not None

    def _stage(self, what: str, lines: Callable[[], Iterator[Line]], report: Report) -> None:
        total = sum(1 for _ in lines())
        done = min(total, int(self._state.get(what, 0)))
        report.skipped[what] = done
        report.sent[what] = 0
        if total == 0:
            return
        self._progress.start(what, total, done)
        rest = islice(lines(), done, None)
        while batch := list(islice(rest, BATCHES[what])):
            refused = self._send(what, batch)
            report.sent[what] += len(batch) - len(refused)
            report.rejected += [f"{one.where}: {one.reason}" for one in refused]
            if what == "items":
                self._state.setdefault("refused", []).extend(one.where for one in refused)
            done += len(batch)
            self._progress.advance(what, len(batch))
            self._save_state(what, done)

    def _send(self, what: str, batch: list[Line]) -> list[Refusal]:
        """Send a batch until it is taken; what of it is refused comes back. Any other answer stops the import."""
        if what == "users":
            user = batch[0].value
            response = self._intake.call("PUT", f"/v1/users/{in_path(str(user['user_id']))}", user)
        else:
            values = [self._event(line) if what == "events" else line.value for line in batch]
            response = self._intake.call("POST", PATHS[what], {what: values})
        if response.status_code == 413 and len(batch) > 1:
            middle = len(batch) // 2
            return self._send(what, batch[:middle]) + self._send(what, batch[middle:])
        answer = decoded(response)
        if response.status_code == 202 or (response.status_code == 422 and "rejected" in answer):
            return [
                Refusal(batch[one["index"]].where, f"{one['field'] or 'body'}: {one['reason']}")
                for one in answer["rejected"]
            ]
        if response.status_code in (413, 422) and len(batch) == 1:
            return [Refusal(batch[0].where, said(response))]
        raise Unavailable(
            f"{response.request.url} answered {response.status_code} ({said(response)}), at {batch[0].where}; {GOES_ON}"
        )

    def _event(self, line: Line) -> Json:
        """As it is sent: with an id of its own, so that sending it again counts once, and its time moved."""
        value = line.value
        if value.get("event_id") is None:
            place = hashlib.blake2b(f"{self._source.fingerprint}\0{line.where}".encode(), digest_size=16)
            value = {**value, "event_id": f"import:{place.hexdigest()}"}
        if self._shift and "timestamp" in value:
            at = parse_timestamp(value["timestamp"]) + self._shift
            value = {**value, "timestamp": format_timestamp(at)}
        return value

    def _decide_shift(self) -> float:
        if "shift" not in self._state:
            newest = latest_time(self._source)
            self._state["shift"] = 0.0 if newest is None else self._clock() - newest
            self._write_state()
        return float(self._state["shift"])

    def _await_items(self, deadline_seconds: float = 600.0) -> None:
        """Until a sample of the items can be read; without a reader at this address, not at all."""
        refused = set(self._state.get("refused", ()))
        items = [line.value.get("item_id") for line in self._source.items() if line.where not in refused]
        sample = items[-SAMPLE:] + items[:: max(1, len(items) // SAMPLE)]
        started, announced = time.monotonic(), False
        for item_id in dict.fromkeys(sample):
            while True:
                response = self._intake.request("GET", f"/v1/items/{in_path(str(item_id))}")
                if response.status_code == 200:
                    break
                if response.status_code == 405 or "there is nothing at" in response.text:
                    return
                if not announced:
                    self._progress.say("waiting until the items are embedded …")
                    announced = True
                if time.monotonic() - started > deadline_seconds:
                    raise EddylineError(
                        f"item {item_id!r} isn't searchable after {deadline_seconds:g} s: is the embedder running? "
                        f"{GOES_ON.capitalize()}"
                    )
                self._sleep(0.1)

    # -- how far it got -----------------------------------------------------------------------------------------

    def _load_state(self) -> dict[str, Any]:
        if self._state_file is None or not self._state_file.exists():
            return {}
        try:
            state = orjson.loads(self._state_file.read_bytes())
            known = state["source"] == self._source.fingerprint
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InvalidInput(f"{self._state_file} is damaged; delete it to import from the start", "state") from None
        return dict(state) if known else {}

    def _save_state(self, what: str, done: int) -> None:
        self._state[what] = done
        self._write_state()

    def _write_state(self) -> None:
        if self._state_file is None:
            return
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        new = self._state_file.with_suffix(".new")
        new.write_bytes(orjson.dumps({**self._state, "source": self._source.fingerprint}))
        new.replace(self._state_file)
