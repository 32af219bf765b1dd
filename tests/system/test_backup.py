"""A backup that is made while Eddyline runs under load, and restored elsewhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.support.system import run, wait_until
from tests.system.test_durability import BATCHES, PEOPLE, Load, assert_clean, fill, running

pytestmark = pytest.mark.system


@pytest.mark.slow(120)
def test_a_backup_made_under_load_holds_what_was_acknowledged_before_it_and_eddyline_goes_on_with_it(
    tmp_path: Path, lean: dict[str, str]
) -> None:
    (tmp_path / "restored").mkdir()
    data, backup, restored = (str(tmp_path / each) for each in ("data", "backup", "restored/data"))
    with running(tmp_path, lean) as process:
        fill(process)
        load = Load(process.url)
        load.start()
        wait_until(lambda: load.acknowledged.total() >= 50 * BATCHES, "a burst is acknowledged")
        before = Counter(load.acknowledged)
        made = run("backup", backup, "--data-dir", data, env=lean)
        assert made.returncode == 0, made.stderr
        assert f"{backup} holds 30 items, 20 profiles and " in made.stdout
        after = load.acknowledged.total()
        wait_until(lambda: load.acknowledged.total() > after, "it goes on")
        load.stop()
        sent = load.acknowledged + load.uncertain

    put_back = run("restore", backup, "--data-dir", restored, env=lean)
    assert put_back.returncode == 0, put_back.stderr
    with running(tmp_path / "restored", lean) as process:
        for person in PEOPLE:
            process.await_events(person, before[person], 60)
        last = process.post(*({"type": "click", "user_id": person, "item_id": "i1"} for person in PEOPLE))
        assert last.status_code == 202
        for person in PEOPLE:
            process.await_events(person, before[person] + 1, 60)
            assert process.person(person)["events"] <= sent[person] + 1, person
        assert process.stop() == 0
    assert_clean(tmp_path / "restored", lean)
