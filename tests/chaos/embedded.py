"""What is done to `eddyline up` with a log of its own, while it is under load: the real command, killed, cut off from
power, and left without room on its disk. Nothing of Eddyline is imported here.

A history is a number of lives on one data directory, each ended by a fault; what it was sent and didn't acknowledge is
sent again, under the same ids, in the next. At the end each person must have exactly the events that were acknowledged,
each item its last price, and `eddyline audit` must find nothing.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.support.disk import Disk
from tests.support.system import ROOT, Eddyline, command, eddyline, environment, run, wait_until

PEOPLE = [f"p{number}" for number in range(20)]
ITEMS = [f"i{number}" for number in range(30)]
BATCH, SENDERS, PUT_EVERY = 50, 3, 5
FAULTS_A_HISTORY = 10
_LIFE_EVENTS = 2000
_START_SECONDS = 6.0
_SETTLE_SECONDS = 120.0
_LAG = re.compile(r"^eddyline_consumer_lag_records\{.*\} (\S+)$", re.MULTILINE)
_LAG_SECONDS = 2.0
"""The lag that a process tells is a second old."""
_CLEAN = "0 of them differ"

Batch = list[dict[str, Any]]


class Sender(threading.Thread):
    """Sends batches of events, and now and then an item's price, until it is stopped or nobody answers; what wasn't
    acknowledged comes first in its next life."""

    def __init__(self, url: str, before: Sender | None, items: Sequence[str] = ()) -> None:
        """`items`: those that it alone sends."""
        super().__init__(daemon=True)
        self._url, self._items, self._over = url, items, threading.Event()
        self._number: int = before._number if before is not None else 0
        self.waiting: Batch = before.waiting if before is not None else []
        self.prices: dict[str, int] = dict(before.prices) if before is not None else {}
        """By item: what was sent last. It is sent again until it is acknowledged."""
        self.acknowledged: Counter[str] = Counter()
        self.refused = 0

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30.0) as client:
            try:
                while not self._over.is_set():
                    self.waiting = self.waiting or self._next_batch()
                    if self._is_taken(client.post("/v1/events", json={"events": self.waiting})):
                        self.acknowledged.update(event["user_id"] for event in self.waiting)
                        self.waiting = []
                        self._number += 1
                        self._put_price(client)
            except httpx.TransportError:
                return

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _next_batch(self) -> Batch:
        return [
            {
                "type": "click",
                "event_id": uuid.uuid4().hex,
                "user_id": PEOPLE[(self._number * 7 + n) % len(PEOPLE)],
                "item_id": ITEMS[(self._number + n) % len(ITEMS)],
            }
            for n in range(BATCH)
        ]

    def _put_price(self, client: httpx.Client) -> None:
        if self._items and self._number % PUT_EVERY == 0:
            item = self._items[self._number // PUT_EVERY % len(self._items)]
            self.prices[item] = self._number
            while not self._over.is_set() and not self._is_taken(client.put(f"/v1/items/{item}", json=self.item(item))):
                pass

    def item(self, item: str) -> dict[str, Any]:
        """The item, as it was sent last. Its text stays: nothing is embedded anew."""
        return {"title": f"Film {item}", "category": "Drama", "price": self.prices.get(item, 0)}

    def _is_taken(self, response: httpx.Response) -> bool:
        if response.status_code == 503:
            self.refused += 1
            time.sleep(0.05)
            return False
        assert response.status_code == 202, response.text
        return True


@dataclass
class History:
    """What became of some lives on one data directory."""

    seed: int
    directory: Path
    injected: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    lost: int = 0
    doubled: int = 0
    is_clean: bool = False
    """Whether the audit found nothing."""
    problems: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    """Seconds until it was ready."""

    def summary(self) -> str:
        """What it came to, in a line."""
        return (
            f"seed {self.seed}: lost {self.lost}, doubled {self.doubled}, of {self.acknowledged.total()} events, after "
            f"{dict(self.injected)}; the audit is {'clean' if self.is_clean else 'not clean'}"
        )

    def complaint(self) -> str:
        """Why it failed."""
        return "\n".join([f"{self.summary()}; files and logs are in {self.directory}", *self.problems[:20]])


class Lives:
    """The lives of one history. `library`: the disk's; `env`: settings of the process."""

    def __init__(self, seed: int, directory: Path, library: Path, env: Mapping[str, str]) -> None:
        self.history = History(seed, directory)
        self.chance = random.Random(seed)
        self._library, self._env = library, dict(env)
        self._life = 0
        self._place = directory / "0"
        self._place.mkdir(parents=True)
        self._senders: list[Sender] = []

    @property
    def data(self) -> Path:
        """The data directory of this life."""
        return self._place / "data"

    @property
    def acknowledged(self) -> int:
        """Events, in this life."""
        return sum(sender.acknowledged.total() for sender in self._senders)

    def disk(self) -> Disk:
        """The disk of this life, to be asked for once."""
        return Disk(self._library, self.data, self._place / "disk")

    @contextmanager
    def running(self, disk: Disk | None = None) -> Iterator[Eddyline]:
        """A life under load: its end, if it isn't killed before, is a clean one."""
        began = time.monotonic()
        env = self._env | (disk.env if disk is not None else {})
        log = self.history.directory / "log.txt"
        with eddyline("up", "--data-dir", str(self.data), log=log, env=env) as process:
            self.history.starts.append(time.monotonic() - began)
            if self._life == 0:
                _fill(process)
            before: list[Sender | None] = [*self._senders] or [None] * SENDERS
            self._senders = [Sender(process.url, one, () if n else ITEMS) for n, one in enumerate(before)]
            for sender in self._senders:
                sender.start()
            try:
                yield process
            finally:
                self._end_load()

    def kill(self, process: Eddyline) -> None:
        """Kill -9, and go on with what it leaves."""
        process.process.kill()
        self._end_load()

    def await_load(self, process: Eddyline) -> None:
        """Until a random number of events is acknowledged, and often a moment longer."""
        enough = self.acknowledged + self.chance.randrange(1, _LIFE_EVENTS)
        has_ended = process.process.poll
        wait_until(lambda: self.acknowledged >= enough or has_ended() is not None, "it is under load", _SETTLE_SECONDS)
        assert has_ended() is None, f"it ended by itself: {process.log[-2000:]}"
        time.sleep(self.chance.choice((0.0, 0.2, 4.0)) * self.chance.random())

    def kill_while_starting(self) -> None:
        """Start it, and kill it before it can have got far."""
        with (self.history.directory / "log.txt").open("a") as log:
            process = subprocess.Popen(
                command("up", "--data-dir", str(self.data), "--port", "0"),
                env=environment(self._env),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
            time.sleep(self.chance.random() * _START_SECONDS)
            process.kill()
            process.wait(10)
        self.history.injected["kill -9 while it starts"] += 1

    def move(self, leave: Callable[[Path], object]) -> None:
        """Go on in another directory, which `leave` makes."""
        self._life += 1
        before, self._place = self._place, self.history.directory / str(self._life)
        leave(self.data)
        shutil.rmtree(before)

    def conclude(self) -> History:
        """Send what is left, wait until everything is handled, and compare."""
        history = self.history
        with self.running() as process:
            self._end_load()
            self._send_rest(process)
            try:
                for person in PEOPLE:
                    process.await_events(person, history.acknowledged[person], _SETTLE_SECONDS)
                time.sleep(_LAG_SECONDS)
                wait_until(lambda: _is_handled(process), "nothing is left to handle", _SETTLE_SECONDS)
            except AssertionError as error:
                history.problems.append(str(error))
            self._compare(process)
            if (code := process.stop()) != 0:
                history.problems.append(f"it ended with {code}: {process.log[-2000:]}")
        audited = run("audit", "--data-dir", str(self.data), env=self._env)
        history.is_clean = audited.returncode == 0 and _CLEAN in audited.stdout
        if not history.is_clean:
            history.problems.append(f"audit: {audited.stdout}{audited.stderr}")
        return history

    def _end_load(self) -> None:
        for sender in self._senders:
            if sender.is_alive() or sender.acknowledged or sender.refused:
                sender.stop()
                self.history.acknowledged.update(sender.acknowledged)
                self.history.refused += sender.refused
                sender.acknowledged, sender.refused = Counter(), 0

    def _send_rest(self, process: Eddyline) -> None:
        for sender in self._senders:
            if sender.waiting:
                process.post(*sender.waiting)
                self.history.acknowledged.update(event["user_id"] for event in sender.waiting)
            for item in sender.prices:
                process.put(item, **sender.item(item))

    def _compare(self, process: Eddyline) -> None:
        for person in PEOPLE:
            folded, sent = process.person(person).get("events", 0), self.history.acknowledged[person]
            self.history.lost += max(0, sent - folded)
            self.history.doubled += max(0, folded - sent)
            if folded != sent:
                self.history.problems.append(f"{person} has {folded} events, must have {sent}")
        for item, price in self._senders[0].prices.items():
            found = process.client.get(f"/v1/items/{item}").json().get("price")
            if found != price:
                self.history.problems.append(f"{item} costs {found}, must cost {price}")


def _fill(process: Eddyline) -> None:
    for item in ITEMS:
        process.put(item, title=f"Film {item}", category="Drama", price=0)
    for item in ITEMS:
        process.await_item(item)


def _is_handled(process: Eddyline) -> bool:
    lags = _LAG.findall(process.client.get("/metrics").text)
    return bool(lags) and not any(float(lag) for lag in lags)


# -- faults -----------------------------------------------------------------------------------------------------------


def kill(lives: Lives) -> None:
    with lives.running() as process:
        lives.await_load(process)
        lives.kill(process)
    lives.history.injected["kill -9"] += 1
    if lives.chance.random() < 0.2:
        lives.kill_while_starting()


def cut_power(lives: Lives) -> None:
    lives.move(_cut_off(lives).leave)
    lives.history.injected["power cut"] += 1


def tear(lives: Lives) -> None:
    """A power cut that leaves some of what was being written, and some of that damaged."""
    disk = _cut_off(lives)
    lives.move(lambda after: disk.leave(after, lives.chance))
    lives.history.injected["power cut, torn"] += 1


def _cut_off(lives: Lives) -> Disk:
    """A life that ends with its disk; now and then it was killed before, and started again."""
    disk = lives.disk()
    for _ in range(1 + (lives.chance.random() < 0.2)):
        with lives.running(disk) as process:
            lives.await_load(process)
            lives.kill(process)
    return disk


def fill_disk(lives: Lives) -> None:
    """The disk is full for a while, and then has room; or the process dies before."""
    disk = lives.disk()
    with lives.running(disk) as process:
        lives.await_load(process)
        disk.fill()
        time.sleep(2 * lives.chance.random())
        if lives.chance.random() < 0.7:
            disk.free()
            lives.await_load(process)
        lives.kill(process)
    lives.move(disk.leave if lives.chance.random() < 0.5 else lambda after: shutil.copytree(disk.root, after))
    lives.history.injected["disk full"] += 1


@dataclass(frozen=True)
class EmbeddedScenario:
    """`fault` as the table says it; `slug` as the command does. `inject` takes one life, and ends it."""

    fault: str
    slug: str
    inject: Callable[[Lives], None]

    def play(self, seed: int, faults: int, directory: Path, library: Path, env: Mapping[str, str]) -> list[History]:
        """So many faults, in histories of some."""
        histories = []
        while faults > 0:
            lives = Lives(seed, directory / str(seed), library, env)
            for _ in range(min(faults, FAULTS_A_HISTORY)):
                self.inject(lives)
            histories.append(lives.conclude())
            print(f"{self.slug}: {histories[-1].summary()}", flush=True)
            faults, seed = faults - FAULTS_A_HISTORY, seed + 1000
        return histories


def row(scenario: EmbeddedScenario, histories: Sequence[History]) -> str:
    """What came of it, as a line of the table."""
    counts = [sum(each) for each in zip(*((h.acknowledged.total(), h.lost, h.doubled) for h in histories), strict=True)]
    injected = sum(history.injected.total() for history in histories)
    clean = sum(history.is_clean for history in histories)
    cells = (scenario.fault, *(f"{count:,}" for count in (injected, *counts, len(histories), clean)))
    return f"| {' | '.join(cells)} |"


EMBEDDED_SCENARIOS = (
    EmbeddedScenario("killed (kill -9), now and then while it starts, too", "up-killed", kill),
    EmbeddedScenario("its power cut: what wasn't synchronised is gone", "up-power", cut_power),
    EmbeddedScenario("its power cut: what wasn't synchronised is torn, and has flipped bits", "up-torn", tear),
    EmbeddedScenario("its disk filled, and freed again or not, then killed or its power cut", "up-full", fill_disk),
)
