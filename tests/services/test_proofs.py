"""Who is who: proofs that an application's back end signs, where they are needed, and signed cursors."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.docs.pages import ROOT, blocks
from tests.services.reading import Shop
from tests.services.serving import problem, served
from tests.services.test_access import KEYS, Door, bearer, entry, write
from tests.support.fakes import NOW, FakeProducer

from eddyline.adapters.http import AccessControl, IdentityCheck
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.model.ids import Person
from eddyline.model.proofs import MAX_SECONDS, explain_invalid_proof, sign_proof
from eddyline.reader import router
from eddyline.settings import EventSettings, IdentitySettings, ServerSettings, Settings

SECRET = "a secret of some thirty-two letters"
IDENTIFY = {"type": "identify", "anonymous_id": "v1", "user_id": "ada"}
IMPRESSION = {
    "type": "impression",
    "user_id": "ada",
    "request_id": "r1",
    "items": [{"item_id": "a", "rank": 1}],
    "experiment": "x",
    "variant": "b",
}
CLICK = {"type": "click", "user_id": "ada", "item_id": "a"}


def proof(user_id: str = "ada", seconds: int = 60) -> dict[str, str]:
    return {"Eddyline-Proof": sign_proof(SECRET.encode(), Person("u", user_id), int(NOW) + seconds)}


class App:
    """Collector and reader; with keys where there is a `door`."""

    def __init__(self, secret: str | None, door: Door | None = None) -> None:
        settings = Settings(identity=IdentitySettings(secret=None if secret is None else SecretStr(secret)))
        self.shop = Shop(settings)
        self.producer, metrics = FakeProducer(), Metrics()
        identity = IdentityCheck(settings.identity.secret, self.shop.clock)
        collector = Collector(
            self.producer, EventSettings(), ServerSettings(), metrics, self.shop.clock, identity=identity
        )
        self._routers = [collector.router(), router(self.shop.reader, 100_000, identity=identity)]
        self._access = AccessControl(None) if door is None else door.access

    def serve(self) -> Any:
        return served(*self._routers, access=self._access)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    several = entry("backend", "edk_backend", "events", "lists", "people"), entry("app", "edk_app", "events", "lists")
    return Door(write(tmp_path / "keys.toml", *several, *(entry(name, key, name) for name, key in KEYS.items())))


@pytest.fixture
def proving(door: Door) -> Iterator[tuple[httpx.Client, FakeProducer]]:
    """With keys and a secret."""
    app = App(SECRET, door)
    with app.serve() as client:
        yield client, app.producer


def reasons(answer: httpx.Response) -> list[str]:
    return [one["reason"] for one in answer.json()["rejected"]]


# -- where a proof is needed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [IDENTIFY, IMPRESSION], ids=["identify", "impression of an experiment"])
def test_who_only_sends_events_must_prove_whom_they_speak_for(
    event: dict[str, Any], proving: tuple[httpx.Client, FakeProducer]
) -> None:
    client, producer = proving
    key = bearer(KEYS["events"])
    for headers in (key, key | proof("eve"), key | proof(seconds=-1), key | {"Eddyline-Proof": "1.0"}):
        answer = client.post("/v1/events", json={"events": [event, CLICK]}, headers=headers)
        assert answer.status_code == 202
        assert (answer.json()["accepted"], [one["index"] for one in answer.json()["rejected"]]) == (1, [0])
        assert "proof" in reasons(answer)[0].lower()
    assert {one["type"] for topic in ("interactions", "impressions") for one in producer.values(topic)} == {"click"}
    assert client.post("/v1/events", json=event, headers=key | proof()).status_code == 202
    assert client.post("/v1/events", json=event, headers=bearer("edk_backend")).status_code == 202
    assert len(producer.sent) == 4 + 2


def test_a_proof_in_the_address_is_for_send_beacon(proving: tuple[httpx.Client, FakeProducer]) -> None:
    client, producer = proving
    path = f"/v1/events?key={KEYS['events']}&proof={proof()['Eddyline-Proof']}"
    assert client.post(path, json=IDENTIFY).status_code == 202
    assert producer.values("interactions")[0]["user_id"] == "ada"
    assert "proof" not in producer.values("interactions")[0]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/users/ada/recommendations", None),
        ("POST", "/v1/recommendations", {"user_id": "ada"}),
        ("GET", "/v1/experiments/assignment?user_id=ada", None),
        ("GET", "/v1/search?q=x&user_id=ada", None),
    ],
)
def test_personal_reads_need_a_proof_or_the_key_of_the_back_end(
    method: str, path: str, body: Any, proving: tuple[httpx.Client, FakeProducer]
) -> None:
    client, _ = proving
    key = bearer(KEYS["lists"])
    assert "needs a proof" in problem(client.request(method, path, json=body, headers=key), 403)["detail"]
    wrong = client.request(method, path, json=body, headers=key | proof("eve"))
    assert "doesn't prove this id" in problem(wrong, 403)["detail"]
    for headers in (key | proof(), bearer("edk_backend")):
        assert client.request(method, path, json=body, headers=headers).status_code in (200, 501)


def test_what_is_known_of_a_person_needs_a_proof_where_there_are_no_keys() -> None:
    with App(SECRET).serve() as client:
        problem(client.get("/v1/users/ada"), 403)
        problem(client.get("/v1/users/ada", headers=proof()), 404)
        assert client.get("/v1/trending").status_code == 200
        assert client.post("/v1/recommendations", json={"anonymous_id": "v1"}).status_code == 200


def test_without_a_secret_identify_needs_the_key_of_the_back_end_and_nothing_else_more_than_its_scope(
    door: Door,
) -> None:
    with App(None, door).serve() as client:
        refused = client.post("/v1/events", json=IDENTIFY, headers=bearer("edk_app"))
        assert "scope people" in problem(refused, 422)["detail"]
        assert client.post("/v1/events", json=IDENTIFY, headers=bearer("edk_backend")).status_code == 202
        assert client.post("/v1/events", json=IMPRESSION, headers=bearer("edk_app")).status_code == 202
        assert client.get("/v1/users/ada/recommendations", headers=bearer("edk_app")).status_code == 200


def test_without_keys_and_without_a_secret_everything_is_as_open_as_the_machine() -> None:
    with App(None).serve() as client:
        assert client.post("/v1/events", json={"events": [IDENTIFY, IMPRESSION]}).json()["accepted"] == 2


# -- the proof ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "is not a proof"),
        ("never.abc", "is not a proof"),
        ("²." + "0" * 64, "is not a proof"),
        ("9" * 400 + ".0", "is not a proof"),
        (f"{int(NOW) + 60}.", "doesn't prove"),
        (f"{int(NOW) + 60}.é", "doesn't prove"),
        (sign_proof(b"another secret", Person("u", "ada"), int(NOW) + 60), "doesn't prove"),
        (sign_proof(SECRET.encode(), Person("a", "ada"), int(NOW) + 60), "doesn't prove"),
        (sign_proof(SECRET.encode(), Person("u", "ada"), int(NOW) + 60).replace("1", "2", 1), "doesn't prove"),
        (sign_proof(SECRET.encode(), Person("u", "ada"), int(NOW)), "has expired"),
        (sign_proof(SECRET.encode(), Person("u", "ada"), int(NOW) + MAX_SECONDS + 1), "longer than 24 hours"),
        (sign_proof(SECRET.encode(), Person("u", "ada"), int(NOW) + MAX_SECONDS), None),
    ],
)
def test_a_proof_holds_for_one_id_and_a_time(given: str, reason: str | None) -> None:
    found = explain_invalid_proof(SECRET.encode(), Person("u", "ada"), given, NOW)
    assert found is None if reason is None else found is not None and reason in found


def documented_proof(language: str, *arguments: str) -> str:
    """What the code in docs/security.md makes of (user_id, secret)."""
    (code,) = (block.text for block in blocks(ROOT / "docs" / "security.md") if block.info == f"{language} proof")
    program, option, call = {
        "python": (sys.executable, "-c", "import sys\nprint(proof(*sys.argv[1:]))"),
        "javascript": (shutil.which("node"), "-e", "console.log(proof(...process.argv.slice(1)))"),
    }[language]
    if program is None:
        pytest.skip("no node on this machine")
    command = [program, option, f"{code}\n{call}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.process
@pytest.mark.slow(10)
@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize("user_id", ["ada", "ünïcödé 🎬:/?"])
def test_the_code_of_the_documentation_makes_a_proof(language: str, user_id: str) -> None:
    made = documented_proof(language, user_id, SECRET)
    assert explain_invalid_proof(SECRET.encode(), Person("u", user_id), made, time.time()) is None
    assert explain_invalid_proof(SECRET.encode(), Person("u", "eve"), made, time.time()) is not None


# -- cursors -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = Shop(Settings(identity=IdentitySettings(secret=SecretStr(SECRET))))
    shop.put(*({"item_id": f"i{number}", "title": f"item {number}"} for number in range(30)))
    return shop


def test_a_cursor_that_was_altered_or_signed_elsewhere_is_refused(shop: Shop) -> None:
    with shop.open() as it:
        cursor = it.get("/v1/latest").json()["next"]
        assert it.get("/v1/latest", next=cursor).status_code == 200
        raw = base64.urlsafe_b64decode(cursor + "==")
        for place in (0, 5, 12, len(raw) - 1):
            forged = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
            problem(it.get("/v1/latest", next=base64.urlsafe_b64encode(forged).decode().rstrip("=")), 422)
        problem(it.get("/v1/latest", next=base64.urlsafe_b64encode(raw[:-16]).decode().rstrip("=")), 422)
    other = Shop(Settings(identity=IdentitySettings(secret=SecretStr(SECRET + "!"))), store=shop.store)
    with other.open() as it:
        assert problem(it.get("/v1/latest", next=cursor), 422)["field"] == "next"


def test_every_reader_with_the_same_secret_or_none_takes_a_cursor(shop: Shop) -> None:
    for settings in (Settings(identity=IdentitySettings(secret=SecretStr(SECRET))), Settings()):
        with Shop(settings, store=shop.store).open() as one:
            cursor = one.get("/v1/latest").json()["next"]
        with Shop(settings, store=shop.store).open() as another:
            assert another.get("/v1/latest", next=cursor).status_code == 200
