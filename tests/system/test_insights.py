"""What is served is measured: from outside, with the worker killed, the broker full of rubbish, and variants that
differ."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer
from tests.support.kafka import Cluster
from tests.support.system import Eddyline, eddyline, run, wait_until

pytestmark = pytest.mark.system

PEOPLE = [f"p{number}" for number in range(10)]
ITEMS = [f"i{number}" for number in range(30)]
SLOWLY = 90.0
EXPERIMENT = """
[[experiment]]
name = "ranking"
surface = "home"
planned_people = 300

[[experiment.variant]]
name = "newest"
strategy = "eddyline"
weights = { affinity = 0, taste = 0, session = 0, popularity = 0, trending = 0, freshness = 1 }

[[experiment.variant]]
name = "personal"
"""


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.extended)])
def env(request: pytest.FixtureRequest, tmp_path: Path, stand_in: dict[str, str]) -> dict[str, str]:
    """The settings for either broker, with topics of its own."""
    experiments = tmp_path / "experiments.toml"
    experiments.write_text(EXPERIMENT)
    given = stand_in | {"EDDYLINE_EXPERIMENTS_FILE": str(experiments), "EDDYLINE_INSIGHTS__FLUSH_SECONDS": "0.2"}
    return given if request.param == "embedded" else given | on_kafka(request.getfixturevalue("kafka_cluster"))


def on_kafka(cluster: Cluster) -> dict[str, str]:
    if cluster.kind == "in-process":
        pytest.skip(f"no real Kafka: {'; '.join(cluster.fell_back)}")
    return {
        "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "EDDYLINE_KAFKA__PREFIX": f"insights-{uuid.uuid4().hex[:8]}.",
    }


def up(tmp_path: Path, env: dict[str, str]) -> Any:
    return eddyline("up", "--data-dir", str(tmp_path / "data"), log=tmp_path / "log.txt", env=env)


def fill(process: Eddyline) -> None:
    for item in ITEMS:
        process.put(item, title=f"Film {item}", category="Drama" if item.endswith("1") else "Comedy")
    for item in ITEMS:
        process.await_item(item, SLOWLY)


def worker_of(process: Eddyline) -> int | None:
    """The process id of its insights worker."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status, line = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(status.rpartition(")")[2].split()[1]) == process.process.pid and b"insights-worker" in line:
            return int(folder.name)
    return None


def kill_worker(process: Eddyline) -> None:
    wait_until(lambda: worker_of(process) is not None, "a worker runs", SLOWLY)
    victim = worker_of(process)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: worker_of(process) != victim, "it has ended", SLOWLY)


def browse(process: Eddyline, user_id: str) -> dict[str, Any]:
    """A list, of which three places are seen and the second is clicked, and then something without a list."""
    answer: dict[str, Any] = process.client.get(
        f"/v1/users/{user_id}/recommendations", params={"surface": "home", "session_id": "s"}
    ).json()
    request_id, items = answer["request_id"], answer["items"]
    assert len(items) == 10
    process.post(
        {"type": "impression", "request_id": request_id, "user_id": user_id, "positions": [1, 2, 3]},
        {
            "type": "click",
            "user_id": user_id,
            "item_id": items[1]["item_id"],
            "request_id": request_id,
            "dwell_ms": 5000,
        },
        {
            "type": "purchase",
            "user_id": user_id,
            "item_id": items[1]["item_id"],
            "request_id": request_id,
            "value": 9.5,
        },
    )
    return answer


def kpis(process: Eddyline, **parameters: Any) -> dict[str, Any]:
    response = process.client.get("/v1/insights/kpis", params=parameters)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def await_total(process: Eddyline, **wanted: Any) -> None:
    def is_there() -> bool:
        total = kpis(process)["total"]
        return all(total[name] == value for name, value in wanted.items())

    wait_until(is_there, f"the measures are {wanted}", SLOWLY)


@pytest.mark.extended
@pytest.mark.slow(240)
def test_what_is_served_is_measured_through_kills_and_a_restart(tmp_path: Path, env: dict[str, str]) -> None:
    with up(tmp_path, env) as process:
        fill(process)
        for person in PEOPLE:
            browse(process, person)
        await_total(process, requests=10, served=100, impressions=30, clicks=10, conversions=10, revenue=95.0)
        kill_worker(process)
        for person in PEOPLE:
            browse(process, person)
        await_total(process, requests=20, served=200, impressions=60, clicks=20, conversions=20, revenue=190.0)
        answer = kpis(process, by="experiment,variant")
        assert answer["total"]["ctr"] == pytest.approx(1 / 3)
        assert answer["total"]["dwell_ms"] == pytest.approx(5000)
        assert answer["total"]["people"] == pytest.approx(10, abs=0.5)
        assert {row["experiment"] for row in answer["rows"]} == {"ranking"}
        assert answer["progress"]["unreadable"] == answer["progress"]["late"] == 0
        report = process.client.get("/v1/insights/experiments/ranking").json()
        assert sum(one["people"] for one in report["reports"]) == 10
        assert "eddyline_insights_restarts_total 1.0" in process.client.get("/metrics").text
    with up(tmp_path, env) as process:
        await_total(process, requests=20, impressions=60, clicks=20, conversions=20)
        browse(process, PEOPLE[0])
        await_total(process, requests=21, impressions=63, clicks=21, conversions=21)


@pytest.mark.slow(90)
def test_without_its_worker_and_with_rubbish_answers_are_the_same(
    tmp_path: Path, kafka_cluster: Cluster, stand_in: dict[str, str]
) -> None:
    env = stand_in | on_kafka(kafka_cluster)
    with up(tmp_path, env) as process:
        fill(process)
        for number, person in enumerate(PEOPLE):
            process.post({"type": "click", "user_id": person, "item_id": ITEMS[number]})
        for person in PEOPLE:
            process.await_events(person, 1, SLOWLY)

        def answers() -> list[Any]:
            return [
                [(item["item_id"], item["score"]) for item in process.recommend(person, session_id="s", explain=True)]
                for person in PEOPLE
            ]

        def ids() -> list[list[str]]:
            return [[item for item, _ in answer] for answer in answers()]

        chosen = set(ITEMS[: len(PEOPLE)])
        wait_until(lambda: chosen <= {each["item_id"] for each in trending(process)}, "affinity has counted", SLOWLY)
        before = at_rest(ids)
        kill_worker(process)
        assert ids() == before
        producer = Producer({"bootstrap.servers": env["EDDYLINE_KAFKA__BOOTSTRAP_SERVERS"]})
        for number in range(1000):
            producer.produce(env["EDDYLINE_KAFKA__PREFIX"] + "impressions", b"{rubbish" * 50, key=str(number).encode())
        for number in range(50):
            producer.produce(env["EDDYLINE_KAFKA__PREFIX"] + "verdicts", b"{rubbish", key=str(number).encode())
            producer.produce(
                env["EDDYLINE_KAFKA__PREFIX"] + "insights-windows-changelog", b"{rubbish", key=str(number).encode()
            )
        assert producer.flush(30) == 0
        assert ids() == before
        wait_until(lambda: kpis(process)["progress"]["unreadable"] == 1000, "the rubbish is set aside", SLOWLY)
        assert ids() == before
        assert process.client.get("/readyz").status_code == 200


def trending(process: Eddyline) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = process.client.get("/v1/trending", params={"limit": 100}).json()["items"]
    return items


def at_rest(look: Callable[[], list[list[str]]]) -> list[list[str]]:
    """What is seen once it has stayed the same for two seconds."""
    deadline = time.monotonic() + SLOWLY
    before = look()
    while True:
        time.sleep(2)
        now = look()
        if now == before:
            return now
        assert time.monotonic() < deadline, "the lists never hold still"
        before = now


@pytest.mark.extended  # a minute of people
@pytest.mark.slow(120)
def test_the_better_variant_is_found(tmp_path: Path, stand_in: dict[str, str]) -> None:
    experiments = tmp_path / "experiments.toml"
    experiments.write_text(EXPERIMENT)
    env = stand_in | {"EDDYLINE_EXPERIMENTS_FILE": str(experiments)}
    with up(tmp_path, env) as process:
        simulated = run(
            *("simulate", "--url", process.url, "--people", "300", "--items", "60", "--lists", "1500", "--rate", "0"),
            *("--seed", "3", "--json"),
        )
        assert simulated.returncode == 0, simulated.stderr
        seen = orjson.loads(simulated.stdout)["all"]
        await_total(process, requests=seen["lists"], impressions=seen["impressions"], clicks=seen["clicks"])
        report = process.client.get("/v1/insights/experiments/ranking").json()
        (personal,) = (one for one in report["reports"] if one["name"] == "personal")
        assert personal["effects"]["ctr"]["is_decided"], personal
        assert personal["effects"]["ctr"]["low"] > 0
        assert "more than newest" in personal["sentence"]
        assert not report["sample_ratio"]["is_mismatch"]
        told = run("insights", "report", "--url", process.url, "--experiment", "ranking")
        assert personal["sentence"].casefold() in " ".join(told.stdout.split()).casefold()
