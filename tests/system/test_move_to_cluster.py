"""An embedded installation moved to a Kafka cluster and a Qdrant server: all is as it was, and goes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.kafka import Cluster
from tests.support.system import Eddyline, eddyline, on_servers, run, wait_until
from tests.system.test_durability import ITEMS, fill

pytestmark = pytest.mark.system
USERS = [f"u{number}" for number in range(12)]


def live(process: Eddyline) -> None:
    """People of all kinds: who clicks, who logs in, who says what they like, who is erased."""
    for round_ in range(3):
        clicks = [
            {"type": "click", "user_id": user, "item_id": ITEMS[(number * 5 + round_) % len(ITEMS)]}
            for number, user in enumerate(USERS)
        ]
        visitors = [{"type": "click", "anonymous_id": f"a{n}", "item_id": ITEMS[n]} for n in range(6)]
        process.post(*clicks, *visitors)
    for user in USERS:
        process.await_events(user, 3)
    process.post(*({"type": "identify", "anonymous_id": f"a{n}", "user_id": USERS[n]} for n in range(4)))
    for user in USERS[:4]:
        process.await_events(user, 6)
    process.post({"type": "click", "user_id": USERS[0], "item_id": "comes later"})
    assert process.client.put("/v1/users/new", json={"interests": ["Film i3"]}).status_code == 202
    assert process.client.delete(f"/v1/users/{USERS[-1]}").status_code == 202
    assert process.client.delete(f"/v1/items/{ITEMS[-1]}").status_code == 202
    wait_until(lambda: process.person("new"), "the newcomer is known")
    wait_until(lambda: not process.person(USERS[-1]), "one is erased")
    wait_until(lambda: not process.has(ITEMS[-1]), "an item is gone")


def seen(process: Eddyline) -> dict[str, Any]:
    """What their users see of it."""
    people = {user: process.person(user) for user in (*USERS, "new")}
    return {"people": people, "similar": {item: process.similar(item, 10) for item in ITEMS[:5]}}


def audited(env: dict[str, str], *arguments: str) -> str:
    done = run("audit", *arguments, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* people compared, 0 of them differ", done.stdout), done.stdout
    return re.sub("at most .* of the tolerance", "", done.stdout)  # vectors are made unit ones again


@pytest.mark.extended  # tests/maintenance/test_cluster_move.py looks at every place
@pytest.mark.slow(180)
def test_on_the_cluster_everything_is_as_it_was_and_goes_on(
    tmp_path: Path, lean: dict[str, str], kafka_cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    data, there = ("--data-dir", str(tmp_path / "data")), lean | on_servers(kafka_cluster, "moved", request)
    with eddyline("up", *data, log=tmp_path / "before.txt", env=lean) as process:
        fill(process.await_ready())
        live(process)
        before = seen(process)
        assert process.stop() == 0
    audit_before = audited(lean, *data)

    moved = run("move-to-cluster", *data, env=there)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert audited(there) == audit_before

    with eddyline("up", *data, log=tmp_path / "after.txt", env=there) as process:
        process.await_ready()
        assert seen(process) == before
        process.put("comes later", title="Film i1 i2", category="Drama")
        process.await_events(USERS[0], 7)
        process.post(*({"type": "click", "user_id": user, "item_id": ITEMS[1]} for user in USERS[1:4]))
        for user in USERS[1:4]:
            process.await_events(user, 7)
        assert process.stop() == 0
    audited(there)
    replayed = run("replay", env=there)
    assert replayed.returncode == 0, replayed.stderr
    audited(there)


@pytest.mark.extended  # two workers of insights start, and another on Kafka
@pytest.mark.slow(600)
def test_what_was_measured_is_in_a_backup_and_on_the_cluster_and_goes_on(
    tmp_path: Path, stand_in: dict[str, str], kafka_cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    env = stand_in | {"EDDYLINE_INSIGHTS__FLUSH_SECONDS": "0.2"}
    there = env | on_servers(kafka_cluster, "measured", request)
    data, backup, restored = (str(tmp_path / each) for each in ("data", "backup", "restored"))
    with eddyline("up", "--data-dir", data, log=tmp_path / "before.txt", env=env) as process:
        fill(process.await_ready())
        for user in USERS:
            browse(process, user)
        await_measured(process, len(USERS))
        made = run("backup", backup, "--data-dir", data, env=env)
        assert made.returncode == 0, made.stderr
    put_back = run("restore", backup, "--data-dir", restored, env=env)
    assert put_back.returncode == 0, put_back.stderr
    with eddyline("up", "--data-dir", restored, log=tmp_path / "restored.txt", env=env) as process:
        await_measured(process.await_ready(), len(USERS))
        browse(process, "one more")
        await_measured(process, len(USERS) + 1)
        assert process.stop() == 0
    moved = run("move-to-cluster", "--data-dir", restored, env=there)
    assert moved.returncode == 0, moved.stdout + moved.stderr
    with eddyline("up", "--data-dir", restored, log=tmp_path / "moved.txt", env=there) as process:
        await_measured(process.await_ready(), len(USERS) + 1)
        browse(process, "another")
        await_measured(process, len(USERS) + 2)


def await_measured(process: Eddyline, lists: int) -> None:
    """Until exactly so many lists, and a click on each, are measured."""

    def is_measured() -> bool:
        total = process.client.get("/v1/insights/kpis").json()["total"]
        assert total["requests"] <= lists, total
        return (total["requests"], total["clicks"]) == (lists, lists)

    wait_until(is_measured, f"{lists} lists are measured", 90)


def browse(process: Eddyline, user: str) -> None:
    """Look at a list, and click its second item."""
    answer = process.client.get(f"/v1/users/{user}/recommendations").json()
    click = {"type": "click", "user_id": user, "item_id": answer["items"][1]["item_id"]}
    process.post({**click, "request_id": answer["request_id"]})
