"""A backup that is made while Eddyline runs under load, and restored elsewhere."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from tests.support.system import run, wait_until
from tests.system.test_durability import ITEMS, PEOPLE, assert_clean, fill, running

pytestmark = pytest.mark.system


class Visitors(threading.Thread):
    """Everybody clicks, some twenty times a second, until they are told to stop; counts what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url, self._over = url, threading.Event()
        self.rounds = 0

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60.0) as client:
            while not self._over.wait(0.05):
                clicks = [
                    {"type": "click", "user_id": person, "item_id": ITEMS[(self.rounds + number) % len(ITEMS)]}
                    for number, person in enumerate(PEOPLE)
                ]
                assert client.post("/v1/events", json={"events": clicks}).status_code == 202
                self.rounds += 1

    def await_more(self, rounds: int) -> int:
        """Wait until so many more clicks of everybody are acknowledged; return how many then are."""
        wanted = self.rounds + rounds
        wait_until(lambda: self.rounds >= wanted, "visitors go on", 60)
        return self.rounds

    def stop(self) -> int:
        """Return how often everybody has clicked in all."""
        self._over.set()
        self.join()
        return self.rounds


@pytest.mark.slow(120)
def test_a_backup_made_under_load_holds_what_was_acknowledged_before_it_and_eddyline_goes_on_with_it(
    tmp_path: Path, lean: dict[str, str]
) -> None:
    (tmp_path / "restored").mkdir()
    data, backup, restored = (str(tmp_path / each) for each in ("data", "backup", "restored/data"))
    with running(tmp_path, lean) as process:
        fill(process)
        visitors = Visitors(process.url)
        visitors.start()
        before = visitors.await_more(20)
        made = run("backup", backup, "--data-dir", data, env=lean)
        assert made.returncode == 0, made.stderr
        assert f"{backup} holds 30 items, 20 profiles and " in made.stdout
        visitors.await_more(5)
        sent = visitors.stop()

    put_back = run("restore", backup, "--data-dir", restored, env=lean)
    assert put_back.returncode == 0, put_back.stderr
    with running(tmp_path / "restored", lean) as process:
        for person in PEOPLE:
            process.await_events(person, before, 60)
        last = process.post(*({"type": "click", "user_id": person, "item_id": "i1"} for person in PEOPLE))
        assert last.status_code == 202
        for person in PEOPLE:
            process.await_events(person, before + 1, 60)
            assert process.person(person)["events"] <= sent + 1, person
        assert process.stop() == 0
    assert_clean(tmp_path / "restored", lean)
