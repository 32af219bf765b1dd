"""Eddyline as its users have it: the command, in processes of its own, over HTTP. Imports nothing of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

if TYPE_CHECKING:
    from tests.support.kafka import Cluster

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "examples" / "movielens"
START_SECONDS = 120.0
LISTENING = "Listening on "


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return as soon as `condition` holds; fail the test when it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def command(*arguments: str) -> list[str]:
    """The command line of this environment's Eddyline."""
    return [sys.executable, "-m", "eddyline", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without Eddyline's settings, and `extra`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDDYLINE_")}
    return clean | dict(extra or {})


def run(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(env), cwd=cwd, capture_output=True, text=True, timeout=280, check=False
    )


def on_kafka(cluster: Cluster, name: str) -> dict[str, str]:
    """Settings of topics of a test's own on a real Kafka; the test is skipped where there is none."""
    if cluster.kind == "in-process":
        pytest.skip(f"no real Kafka: {'; '.join(cluster.fell_back)}")
    return {
        "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
        "EDDYLINE_KAFKA__PREFIX": f"{name}-{uuid.uuid4().hex[:8]}.",
    }


def on_servers(cluster: Cluster, name: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """The same, with collections of its own in the Qdrant at QDRANT_URL, or in the stand-in for its API."""
    env, url, key = on_kafka(cluster, name), os.environ.get("QDRANT_URL"), os.environ.get("QDRANT_API_KEY")
    if not url:
        url, key = request.getfixturevalue("qdrant_rest").url, None
    env |= {
        "EDDYLINE_QDRANT__URL": url,
        "EDDYLINE_QDRANT__PREFIX": env["EDDYLINE_KAFKA__PREFIX"],
        "EDDYLINE_QDRANT__TIMEOUT_SECONDS": "30",
    }
    return env | ({"EDDYLINE_QDRANT__API_KEY": key} if key else {})


class Eddyline:
    """A running process of Eddyline and a client of it."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str] | None, log: Path) -> None:
        self._log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                command(*arguments, "--port", "0"),
                env=environment(env),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self.said: list[str] = []
        self.client = httpx.Client(base_url=self._address(), timeout=30.0)
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return str(self.client.base_url).rstrip("/")

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._log.read_text(errors="replace")

    def await_ready(self, seconds: float = START_SECONDS) -> Eddyline:
        """Until /readyz says so."""
        wait_until(self._is_ready, f"{self.url} is ready; it said:\n{self.log[-2000:]}", seconds)
        return self

    def further_urls(self) -> list[str]:
        """The addresses that its second line tells, where it listens at several."""
        wait_until(lambda: len(self.said) > 1, "it tells where else it listens")
        return re.findall(r"http://\S+", self.said[1])

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.client.close()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.stop()

    # -- what its users do ---------------------------------------------------------------------------------------

    def post(self, *events: dict[str, Any]) -> httpx.Response:
        """Send events; they must be taken."""
        response = self.client.post("/v1/events", json={"events": list(events)})
        assert response.status_code == 202, response.text
        return response

    def put(self, item_id: str, **item: Any) -> None:
        """Create or replace an item; it must be taken."""
        response = self.client.put(f"/v1/items/{quote(item_id, safe='')}", json=item)
        assert response.status_code == 202, response.text

    def person(self, user_id: str) -> dict[str, Any]:
        """What is known of a person; empty where nothing is."""
        response = self.client.get(f"/v1/users/{quote(user_id, safe='')}")
        return response.json() if response.status_code == 200 else {}

    def await_events(self, user_id: str, count: int, seconds: float = 30.0) -> None:
        """Until so many of the person's events are folded."""
        wait_until(
            lambda: self.person(user_id).get("events", 0) >= count, f"{count} events of {user_id} folded", seconds
        )

    def await_item(self, item_id: str, seconds: float = 30.0) -> None:
        """Until the item can be read."""
        wait_until(lambda: self.has(item_id), f"item {item_id} searchable", seconds)

    def has(self, item_id: str) -> bool:
        """Whether the item can be read."""
        return self.client.get(f"/v1/items/{quote(item_id, safe='')}").status_code == 200

    def recommend(self, user_id: str, **parameters: Any) -> list[dict[str, Any]]:
        """The person's list."""
        response = self.client.get(f"/v1/users/{quote(user_id, safe='')}/recommendations", params=parameters)
        assert response.status_code == 200, response.text
        items: list[dict[str, Any]] = response.json()["items"]
        return items

    def ranking(self, user_id: str) -> dict[str, int]:
        """Rank by item id, over all pages."""
        ranks: dict[str, int] = {}
        parameters: dict[str, Any] = {"limit": 100}
        while True:
            answer = self.client.get(f"/v1/users/{user_id}/recommendations", params=parameters).json()
            for item in answer["items"]:
                assert item["item_id"] not in ranks, "a page repeats an item"
                ranks[item["item_id"]] = item["rank"]
            if not answer["next"]:
                return ranks
            parameters["next"] = answer["next"]

    def similar(self, item_id: str, limit: int) -> list[str]:
        """The nearest items' ids."""
        response = self.client.get(f"/v1/items/{quote(item_id, safe='')}/similar", params={"limit": limit})
        assert response.status_code == 200, response.text
        return [item["item_id"] for item in response.json()["items"]]

    # -- inside --------------------------------------------------------------------------------------------------

    def _address(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith(LISTENING):
                return line.removeprefix(LISTENING).split()[0]
        self.process.wait(10)
        self.process.stdout.close()
        raise AssertionError(f"it ended with {self.process.returncode}: {self.log[-2000:]}")

    def _drain(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.rstrip())

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log[-2000:]}"
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def eddyline(*arguments: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[Eddyline]:
    """A process that is ready, and ended afterwards."""
    running = Eddyline(arguments, env, log)
    try:
        yield running.await_ready()
    finally:
        running.stop()
