"""The import: batches over HTTP, patient with a busy collector, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import orjson

from eddyline.clients.client import Client
from eddyline.clients.import_position import ImportPosition
from eddyline.clients.lines import Json, RefusedLine, SourceLine
from eddyline.clients.progress import ProgressListener, resumable
from eddyline.clients.responses import Rejections
from eddyline.clients.sources import Source, latest_time
from eddyline.errors import EddylineError, InvalidInput, NotFound, UnexpectedResponse
from eddyline.model.events import check_id, format_timestamp, parse_timestamp

BATCHES = {"items": 200, "users": 1, "events": 500}
SAMPLE = 25
"""Items that must be searchable before events are sent."""
AWAIT_SECONDS = 600.0


@dataclass(slots=True)
class ImportReport:
    """Counts by stage of what was sent, and of what an earlier run had sent; and refusals with their lines."""

    sent: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    refused: list[RefusedLine] = field(default_factory=list)


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
        self._client, self._source, self._progress = client, source, progress
        self._sleep, self._clock = sleep, clock
        self._position = ImportPosition(state, source, client.installation())
        if self._position.is_of_another_installation:
            progress.report("another installation than at the last import: from the start")
        self._shift = 0.0

    def run(self, ends_now: bool = False) -> ImportReport:
        """Send items, then people, then, once the items are searchable, events.

        `ends_now` moves all event times by the same amount, so that the newest happens now (an import that goes on
        after a stop keeps the amount). What can't be read, or is refused, costs nothing else. Raises `Unavailable` when
        the collector can't be reached.
        """
        if ends_now:
            self._shift = self._decide_shift()
        report = ImportReport(refused=list(self._source.refused()))
        for what, lines in (("items", self._source.items), ("users", self._source.users)):
            self._stage(what, lines, report)
        if report.sent["items"] or next(self._rest("events", self._source.events), None) is not None:
            with resumable():
                self._await_items()
        self._stage("events", self._source.events, report)
        return report

    def _rest(self, what: str, lines: Callable[[], Iterator[SourceLine]]) -> Iterator[SourceLine]:
        """Yield the lines that no earlier run has sent, or that were refused then."""
        done, seen, refused = dict(self._position.done(what)), Counter[str](), self._position.refused(what)
        for line in _with_ids(lines()) if what == "events" else lines():
            seen[line.file] += 1
            if seen[line.file] > done.get(line.file, 0) or line.where in refused:
                yield line

    def _stage(self, what: str, lines: Callable[[], Iterator[SourceLine]], report: ImportReport) -> None:
        total = sum(1 for _ in lines())
        left = sum(1 for _ in self._rest(what, lines)) if total and self._position.done(what) else total
        report.skipped[what] = total - left
        report.sent[what] = 0
        if total == 0:
            return
        self._progress.start(what, total, total - left)
        rest, before = self._rest(what, lines), self._position.refused(what)
        while batch := list(islice(rest, BATCHES[what])):
            rejected = self._send(what, batch)
            report.sent[what] += len(batch) - len(rejected)
            refused = {batch[index].where: error for index, error in rejected.items()}
            accepted = [line.where for line in batch if line.where not in refused]
            for line in batch:
                if (error := refused.get(line.where)) is not None:
                    report.refused.append(RefusedLine.at(line.where, error.field, error.reason, line.value))
            self._progress.advance(what, len(batch))
            first = Counter(line.file for line in batch if line.where not in before)
            self._position.advance(what, first, accepted, refused)

    def _send(self, what: str, batch: list[SourceLine]) -> Rejections:
        """Send a batch; return what was rejected. Raises `Unavailable` for any other failure."""
        values = [self._moved(line.value) if what == "events" else line.value for line in batch]
        with resumable(batch[0].where):
            if what == "events":
                return self._client.send_events(values)
            if what == "items":
                return self._client.put_items(values)
            try:
                user_id = values[0]["user_id"]
                self._client.put_user(check_id(user_id, "user_id"), values[0])
            except InvalidInput as error:
                return {0: error}
            return {}

    def _moved(self, event: Json) -> Json:
        """Move the time of an event, if it can be read."""
        if not self._shift:
            return event
        try:
            at = max(0.0, parse_timestamp(event.get("timestamp")) + self._shift)
        except ValueError:
            return event
        return {**event, "timestamp": format_timestamp(at)}

    def _decide_shift(self) -> float:
        if self._position.shift is None:
            newest = latest_time(self._source)
            self._position.shift = 0.0 if newest is None else self._clock() - newest
            self._position.write()
        return self._position.shift

    def _await_items(self) -> None:
        """Wait until a sample of the items can be read; without a reader at this address, not at all."""
        refused = self._position.refused("items")
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


def _with_ids(lines: Iterator[SourceLine]) -> Iterator[SourceLine]:
    """Give events without an id one that rests on what they say and on their ordinal among equal ones of their file:
    whatever else a file holds by then, sending them again counts once."""
    alike: Counter[bytes] = Counter()
    file = ""
    for line in lines:
        if line.file != file:
            file = line.file
            alike.clear()
        if line.value.get("event_id") is not None:
            yield line
            continue
        content = hashlib.blake2b(orjson.dumps(line.value, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
        alike[content] += 1
        digest = hashlib.blake2b(content + str(alike[content]).encode(), digest_size=16).hexdigest()
        yield SourceLine(line.where, {**line.value, "event_id": f"import:{digest}"})
