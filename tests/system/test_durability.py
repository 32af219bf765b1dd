"""The embedded mode loses nothing: a killed process, a full disk, a power cut. `make chaos` does the same at random."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.support.disk import Disk, build_disk
from tests.support.system import Eddyline, eddyline, run, wait_until

pytestmark = pytest.mark.system

PEOPLE = [f"p{number}" for number in range(20)]
ITEMS = [f"i{number}" for number in range(30)]
BATCHES = 20


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes a disk of a directory that can be filled, and whose power can be cut."""
    library = build_disk(tmp_path_factory.mktemp("disk"))
    if library is None:
        pytest.skip("no C compiler to build the disk with")
    return library


@contextmanager
def running(place: Path, env: dict[str, str]) -> Iterator[Eddyline]:
    with eddyline("up", "--data-dir", str(place / "data"), log=place / "log.txt", env=env) as process:
        yield process.await_ready()


class Load(threading.Thread):
    """Sends batches until it is stopped, or nobody answers; counts what was acknowledged, by person."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._over = url, threading.Event()
        self.acknowledged: Counter[str] = Counter()
        self.uncertain: Counter[str] = Counter()
        """Sent, and not answered."""

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30.0) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                people = [PEOPLE[(number * 7 + n) % len(PEOPLE)] for n in range(50)]
                events = [
                    {"type": "click", "user_id": person, "item_id": ITEMS[(number + n) % len(ITEMS)]}
                    for n, person in enumerate(people)
                ]
                try:
                    response = client.post("/v1/events", json={"events": events})
                except httpx.TransportError:
                    self.uncertain.update(people)
                    return
                assert response.status_code == 202, response.text
                self.acknowledged.update(people)

    def stop(self) -> None:
        self._over.set()
        self.join()


def fill(process: Eddyline) -> None:
    for item in ITEMS:
        process.put(item, title=f"Film {item}", category="Drama")
    for item in ITEMS:
        process.await_item(item)


def assert_folded(process: Eddyline, *loads: Load) -> None:
    """Everything that was acknowledged is in the profiles, and nothing twice."""
    known: Counter[str] = sum((load.acknowledged for load in loads), Counter())
    possible: Counter[str] = sum((load.uncertain for load in loads), known.copy())
    for person in PEOPLE:
        if known[person]:
            process.await_events(person, known[person], 60)
    for person in PEOPLE:
        events = process.person(person).get("events", 0)
        assert known[person] <= events <= possible[person], person


def assert_clean(place: Path, env: dict[str, str]) -> None:
    audited = run("audit", "--data-dir", str(place / "data"), env=env)
    assert audited.returncode == 0, audited.stdout + audited.stderr
    assert "0 of them differ" in audited.stdout


def assert_nothing_is_lost_or_doubled(place: Path, env: dict[str, str], *loads: Load) -> None:
    """Start once more: everything is in the profiles, and the audit, after a stop, finds nothing."""
    with running(place, env) as process:
        assert_folded(process, *loads)
        assert process.stop() == 0
    assert_clean(place, env)


@pytest.mark.slow(120)
def test_a_process_that_is_killed_right_after_it_acknowledged_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, lean: dict[str, str]
) -> None:
    loads = []
    for life in range(2):
        with running(tmp_path, lean) as process:
            if life == 0:
                fill(process)
            loads.append(Load(process.url))
            loads[-1].start()
            wait_until(lambda: loads[-1].acknowledged.total() >= 50 * BATCHES, "a burst is acknowledged")
            process.process.kill()
            loads[-1].stop()
    assert_nothing_is_lost_or_doubled(tmp_path, lean, *loads)


REUSED = """
import os, sys, time
for number in range(100):
    with open("kept", "w") as file:
        file.write("of another file")
        file.flush()
        os.fsync(file.fileno())
        inode = os.fstat(file.fileno()).st_ino
    os.unlink("kept")
    time.sleep(0.02)  # a clock of files may tick a hundred times a second
    with open("never-synchronised", "w") as file:
        file.write("!")
        if os.fstat(file.fileno()).st_ino == inode:
            sys.exit(0)
    os.unlink("never-synchronised")
sys.exit(3)
"""


def test_what_was_never_synchronised_is_gone_though_a_deleted_file_had_its_inode(tmp_path: Path, library: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = Disk(library, root, tmp_path / "disk")
    wrote = subprocess.run([sys.executable, "-c", REUSED], cwd=root, env=os.environ | disk.env, check=False)
    if wrote.returncode == 3:
        pytest.skip("this file system gives no inode again")
    assert wrote.returncode == 0
    disk.leave(tmp_path / "after")
    assert [*(tmp_path / "after").iterdir()] == []


@pytest.mark.slow(120)
def test_after_a_power_cut_everything_that_was_acknowledged_is_folded_once(
    tmp_path: Path, lean: dict[str, str], library: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    disk = Disk(library, before / "data", tmp_path / "disk")
    with running(before, lean | disk.env) as process:
        fill(process)
        load = Load(process.url)
        load.start()
        wait_until(lambda: load.acknowledged.total() >= 50 * BATCHES, "some are acknowledged")
        wait_until(lambda: process.person(PEOPLE[0]).get("events", 0) > 0, "some are folded")
        process.process.kill()
        load.stop()
    disk.leave(after / "data")
    assert_nothing_is_lost_or_doubled(after, lean, load)


@pytest.mark.slow(60)
def test_a_full_disk_is_named_and_nothing_is_acknowledged_until_there_is_room(
    tmp_path: Path, lean: dict[str, str], library: Path
) -> None:
    disk = Disk(library, tmp_path / "data" / "journal", tmp_path / "disk")
    with running(tmp_path, lean | disk.env) as process:
        fill(process)
        click = {"type": "click", "user_id": "ada", "item_id": ITEMS[0]}
        process.post(click)
        process.await_events("ada", 1)
        disk.fill()
        refused = process.client.post("/v1/events", json=click)
        assert refused.status_code == 503
        wait_until(lambda: "can't be written" in process.client.get("/readyz").text, "it says that it isn't ready")
        assert process.client.get("/readyz").status_code == 503
        refused = process.client.post("/v1/events", json=click)
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        assert "the journal in" in refused.json()["detail"]
        disk.free()
        process.await_ready()
        process.post(click)
        process.await_events("ada", 2)
        assert process.person("ada")["events"] in (2, 3), "the first refused one may have been in its buffer"
