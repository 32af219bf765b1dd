"""The import: batches over HTTP, patient with a busy collector, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from eddyline.clients.client import Client, Rejections
from eddyline.clients.progress import ProgressListener, resumable
from eddyline.clients.sources import Json, Source, SourceLine, latest_time
from eddyline.errors import EddylineError, InvalidInput, NotFound, UnexpectedResponse
from eddyline.model.events import format_timestamp, parse_timestamp

BATCHES = {"items": 200, "users": 1, "events": 500}
SAMPLE = 25
"""Items that must be searchable before events are sent."""
AWAIT_SECONDS = 600.0


@dataclass(slots=True)
class ImportReport:
    """Counts by stage of what was sent, and of what an earlier run had sent; and refusals with their lines."""

    sent: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)


class Importer:
    """Sends a source to a collector. `state`: a file that keeps the position, None to keep none."""

    def __init__(
        self,
        client: Client,
        source: Source,
        state: Path | None,
        progress: ProgressListener,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._source, self._state_file, self._progress = client, source, state, progress
        self._sleep, self._clock = sleep, clock
        self._state = self._load_state()
        self._shift = 0.0

    def run(self, ends_now: bool = False) -> ImportReport:
        """Send items, then people, then, once the items are searchable, events.

        `ends_now` moves all event times by the same amount, so that the newest happens now (an import that goes on
        after a stop keeps the amount). Raises `InvalidInput` for a file that can't be read, `Unavailable` when the
        collector can't be reached.
        """
        if ends_now:
            self._shift = self._decide_shift()
        report = ImportReport()
        for what, lines in (("items", self._source.items), ("users", self._source.users)):
            self._stage(what, lines, report)
        if report.sent["items"] or self._has_events_left():
            with resumable():
                self._await_items()
        self._stage("events", self._source.events, report)
        return report

    def _has_events_left(self) -> bool:
        return next(islice(self._source.events(), int(self._state.get("events", 0)), None), None) is not None

    def _stage(self, what: str, lines: Callable[[], Iterator[SourceLine]], report: ImportReport) -> None:
        total = sum(1 for _ in lines())
        done = min(total, int(self._state.get(what, 0)))
        report.skipped[what] = done
        report.sent[what] = 0
        if total == 0:
            return
        self._progress.start(what, total, done)
        rest = islice(lines(), done, None)
        while batch := list(islice(rest, BATCHES[what])):
            rejected = self._send(what, batch)
            report.sent[what] += len(batch) - len(rejected)
            report.rejected += [f"{batch[index].where}: {reason}" for index, reason in rejected.items()]
            if what == "items":
                self._state.setdefault("refused", []).extend(batch[index].where for index in rejected)
            done += len(batch)
            self._progress.advance(what, len(batch))
            self._state[what] = done
            self._write_state()

    def _send(self, what: str, batch: list[SourceLine]) -> Rejections:
        """Send a batch; return what was rejected. Raises `Unavailable` for any other failure."""
        values = [self._event(line) if what == "events" else line.value for line in batch]
        with resumable(batch[0].where):
            if what == "events":
                return self._client.send_events(values)
            if what == "items":
                return self._client.put_items(values)
            try:
                self._client.put_user(str(values[0]["user_id"]), values[0])
            except InvalidInput as error:
                return {0: str(error)}
            return {}

    def _event(self, line: SourceLine) -> Json:
        """Give an event an id of its own, so that sending it again counts once, and move its time."""
        value = line.value
        if value.get("event_id") is None:
            digest = hashlib.blake2b(f"{self._source.fingerprint}\0{line.where}".encode(), digest_size=16)
            value = {**value, "event_id": f"import:{digest.hexdigest()}"}
        if self._shift and "timestamp" in value:
            at = max(0.0, parse_timestamp(value["timestamp"]) + self._shift)
            value = {**value, "timestamp": format_timestamp(at)}
        return value

    def _decide_shift(self) -> float:
        if "shift" not in self._state:
            newest = latest_time(self._source)
            self._state["shift"] = 0.0 if newest is None else self._clock() - newest
            self._write_state()
        return float(self._state["shift"])

    def _await_items(self) -> None:
        """Wait until a sample of the items can be read; without a reader at this address, not at all."""
        refused = set(self._state.get("refused", ()))
        items = [str(line.value.get("item_id")) for line in self._source.items() if line.where not in refused]
        sample = dict.fromkeys(items[-SAMPLE:] + items[:: max(1, len(items) // SAMPLE)])
        deadline, announced = time.monotonic() + AWAIT_SECONDS, False
        while sample:
            item_id = next(iter(sample))
            try:
                self._client.item(item_id)
                del sample[item_id]
                continue
            except NotFound:
                pass
            except UnexpectedResponse as error:
                if error.status in (404, 405):
                    return
                raise
            if not announced:
                self._progress.report("waiting until the items are embedded …")
                announced = True
            if time.monotonic() > deadline:
                raise EddylineError(
                    f"item {item_id!r} isn't searchable after {AWAIT_SECONDS:g} s (is the embedder running?)"
                )
            self._sleep(0.1)

    # -- the position --------------------------------------------------------------------------------------------

    def _load_state(self) -> dict[str, Any]:
        if self._state_file is None or not self._state_file.exists():
            return {}
        try:
            state = orjson.loads(self._state_file.read_bytes())
            known = state["source"] == self._source.fingerprint
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise InvalidInput(f"{self._state_file} is damaged; delete it to import from the start", "state") from None
        return dict(state) if known else {}

    def _write_state(self) -> None:
        if self._state_file is None:
            return
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        new = self._state_file.with_suffix(".new")
        new.write_bytes(orjson.dumps({**self._state, "source": self._source.fingerprint}))
        new.replace(self._state_file)
