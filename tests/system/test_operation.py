"""Starting, stopping, crashing, refusing: what an operator sees."""

from __future__ import annotations

import csv
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from tests.support.kafka import Cluster
from tests.support.system import SAMPLE, Eddyline, eddyline, on_kafka, run, wait_until

pytestmark = pytest.mark.system

PEOPLE = [f"p{number}" for number in range(12)]
ITEMS = [f"i{number}" for number in range(40)]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.extended)])
def env(request: pytest.FixtureRequest, lean: dict[str, str]) -> dict[str, str]:
    """The settings for either broker, with topics of its own."""
    if request.param == "embedded":
        return lean
    return lean | on_kafka(request.getfixturevalue("kafka_cluster"), "operation")


@contextmanager
def running(tmp_path: Path, env: dict[str, str]) -> Iterator[Eddyline]:
    with eddyline("up", "--data-dir", str(tmp_path / "data"), log=tmp_path / "log.txt", env=env) as process:
        yield process


def fill(process: Eddyline) -> None:
    for item in ITEMS:
        process.put(item, title=f"Film {item}", category="Drama")
    for item in ITEMS:
        process.await_item(item)


class Replay(threading.Thread):
    """Sends events as fast as they are taken, and counts those that were acknowledged, by person."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self.acknowledged: Counter[str] = Counter()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30.0) as client:
            for batch in range(10_000):
                events = [
                    {"type": "click", "user_id": PEOPLE[n % len(PEOPLE)], "item_id": ITEMS[(batch + n) % len(ITEMS)]}
                    for n in range(100)
                ]
                try:
                    response = client.post("/v1/events", json={"events": events})
                except httpx.TransportError:
                    return
                if response.status_code != 202:
                    return
                self.acknowledged.update(event["user_id"] for event in events)


@pytest.mark.slow(90)
def test_a_restart_keeps_profiles_and_items_and_sigterm_in_a_replay_loses_no_acknowledged_event(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with running(tmp_path, env) as process:
        assert "is empty" in process.said[0]
        fill(process)
        replay = Replay(process.url)
        replay.start()
        wait_until(lambda: replay.acknowledged.total() >= 1500, "a replay under way")
        assert process.stop() == 0
        replay.join(30)
        assert not replay.is_alive()
    with running(tmp_path, env) as again:
        assert f"holds {len(ITEMS)} items and {len(PEOPLE)} profiles" in again.said[0]
        for person, count in replay.acknowledged.items():
            again.await_events(person, count)
        # A batch under way at the end may have been taken without its answer coming through, never the reverse.
        found = {person: again.person(person)["events"] for person in PEOPLE}
        for person in PEOPLE:
            assert replay.acknowledged[person] <= found[person] <= replay.acknowledged[person] + 9
        assert again.recommend(PEOPLE[0], hide="purchased")


@pytest.mark.slow(60)
def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path, lean: dict[str, str]) -> None:
    with running(tmp_path, lean) as process:
        second = run("up", "--data-dir", str(tmp_path / "data"), "--port", "0", env=lean)
        assert second.returncode == 2
        assert str(tmp_path / "data") in second.stderr
        assert "another process" in second.stderr
        assert "Traceback" not in second.stderr
        taken = process.url.rsplit(":", 1)[1]
        third = run("up", "--data-dir", str(tmp_path / "other"), "--port", taken, env=lean)
        assert third.returncode == 2
        assert f"can't listen on 127.0.0.1:{taken}" in third.stderr
        assert process.client.get("/readyz").status_code == 200


@pytest.mark.extended  # test_durability.py kills a process in `make test`
@pytest.mark.slow(45)
def test_a_crash_keeps_what_was_folded(tmp_path: Path, lean: dict[str, str]) -> None:
    with running(tmp_path, lean) as process:
        fill(process)
        process.post(*({"type": "click", "user_id": "ada", "item_id": item} for item in ITEMS[:7]))
        process.await_events("ada", 7)
        process.kill()
    with running(tmp_path, lean) as again:
        assert again.person("ada")["events"] == 7
        again.post({"type": "click", "user_id": "ada", "item_id": ITEMS[8]})
        again.await_events("ada", 8)


@pytest.mark.slow(45)
def test_a_malformed_record_on_the_topic_becomes_a_dead_letter_and_the_stream_goes_on(
    tmp_path: Path, kafka_cluster: Cluster, lean: dict[str, str]
) -> None:
    env = lean | on_kafka(kafka_cluster, "poison")
    from confluent_kafka import Consumer, Producer

    prefix = env["EDDYLINE_KAFKA__PREFIX"]
    with running(tmp_path, env) as process:
        fill(process)
        producer = Producer({"bootstrap.servers": kafka_cluster.bootstrap_servers, "partitioner": "murmur2_random"})
        poison = b'{"type": "click", "user_id": "eve", "item_id": \xff'
        producer.produce(f"{prefix}interactions", poison, key=b"u:eve", headers=[("trace", b"\x00\xfe")])
        producer.produce(f"{prefix}interactions", b'{"type":"click","user_id":"eve","item_id":"i1"}', key=b"u:eve")
        producer.flush(10)
        process.await_events("eve", 1)
        consumer = Consumer(
            {
                "bootstrap.servers": kafka_cluster.bootstrap_servers,
                "group.id": f"{prefix}look",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([f"{prefix}interactions.dlq"])
        letters = consumer.consume(1, timeout=20)
        consumer.close()
    assert [letter.value() for letter in letters] == [poison]
    headers: dict[str, Any] = dict(cast(Any, letters[0].headers()))
    assert letters[0].key() == b"u:eve"
    assert headers["trace"] == b"\x00\xfe"
    assert headers["eddyline-dlq-reason"] == b"invalid_event"
    assert b"not valid JSON" in headers["eddyline-dlq-detail"]
    assert headers["eddyline-dlq-topic"].endswith(b"interactions")


@pytest.mark.slow(10)
@pytest.mark.parametrize(
    ("arguments", "env", "reason"),
    [
        (("up",), {"EDDYLINE_SERVER__PORT": "many"}, "server.port"),
        (("up",), {"EDDYLINE_COLOUR": "red"}, "EDDYLINE_COLOUR"),
        (("up", "--config", "nowhere.toml"), {}, "nowhere.toml"),
        (("profiler",), {}, "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS"),
        (("serve", "--roles", "barista"), {}, "barista"),
        (("init",), {}, "EDDYLINE_QDRANT__URL"),
        (("import", "nowhere"), {}, "nowhere doesn't exist"),
        (("fly",), {}, "fly"),
    ],
)
def test_a_wrong_start_says_what_and_how_to_fix_it(
    arguments: tuple[str, ...], env: dict[str, str], reason: str
) -> None:
    refused = run(*arguments, env=env)
    assert refused.returncode != 0
    assert reason in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_effective_settings_are_printed_with_secrets_masked(tmp_path: Path) -> None:
    file = tmp_path / "eddyline.toml"
    file.write_text('[kafka]\nclient = {"sasl.password" = "hunter2"}\n[ranking]\nknown_evidence = 6\n')
    env = {"EDDYLINE_RANKING__KNOWN_EVIDENCE": "7.5", "EDDYLINE_QDRANT__API_KEY": "hunter3"}
    shown = run("config", "--config", str(file), env=env)
    assert shown.returncode == 0
    assert '"known_evidence": 7.5' in shown.stdout
    assert "hunter" not in shown.stdout


def part_of_the_sample(folder: Path) -> Path:
    """The sample's first 200 films, and what people did with them."""
    part = folder / "part"
    part.mkdir()
    films: set[str] = set()
    for name in ("movies.csv", "ratings.csv", "tags.csv"):
        with (SAMPLE / name).open(newline="") as whole, (part / name).open("w", newline="") as copy:
            rows = csv.DictReader(whole)
            writer = csv.DictWriter(copy, rows.fieldnames or ())
            writer.writeheader()
            if name == "movies.csv":
                kept = list(islice(rows, 200))
                films.update(row["movieId"] for row in kept)
                writer.writerows(kept)
            else:
                writer.writerows(row for row in rows if row["movieId"] in films)
    return part


@pytest.mark.parametrize("sample", ["a part", pytest.param("all of it", marks=pytest.mark.extended)])
@pytest.mark.slow(180)
def test_the_demo_shows_two_rankings_and_how_long_the_click_took(tmp_path: Path, sample: str) -> None:
    films = SAMPLE if sample == "all of it" else part_of_the_sample(tmp_path)
    imported = "Imported 1,500 items, 30,073 events" if films == SAMPLE else "Imported 200 items"
    demo = run("demo", str(films), "--exit", "--port", "0", "--data-dir", str(tmp_path / "demo"))
    assert demo.returncode == 0, demo.stderr
    assert imported in demo.stdout
    lines = [line.split("│") for line in demo.stdout.splitlines() if line.startswith("│")]
    rows = [line for line in lines if line[1].strip()]  # a long title goes on in the next one
    before, after = [row[2].strip() for row in rows], [row[3].strip() for row in rows]
    assert len(before) == len(after) == 10
    assert before != after
    assert any("new" in row[4] for row in rows)
    assert "From the click's POST to the changed answer:" in demo.stdout
