"""`eddyline erase`, as an operator has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr
from tests.cli.test_dead_letters import Place, a_record
from tests.services.reading import Shop
from tests.services.serving import served
from tests.support.fakes import FakeProducer, feed, redelivered
from typer.testing import CliRunner, Result

from eddyline.adapters.http.identity import IdentityCheck
from eddyline.adapters.kafka import Outgoing
from eddyline.adapters.telemetry import Metrics
from eddyline.cli import app
from eddyline.cli import erase as command
from eddyline.collector.api import Collector
from eddyline.errors import EddylineError
from eddyline.reader import router
from eddyline.settings import EventSettings, ServerSettings


class ToShop(FakeProducer):
    """What is sent reaches the services at once, unless they are `down`."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.shop, self.down = shop, False

    def send(self, record: Outgoing) -> Any:
        assert record.key is not None
        if record.topic == "users" and not self.down:
            self.shop.user(record.key.decode(), None if record.value is None else orjson.loads(record.value))
        elif record.topic == "interactions":
            feed(self.shop.profiler, redelivered(record, self.shop._next(), at=self.shop.clock()))
        return super().send(record)


SECRET = "a secret of some thirty-two letters"


@pytest.fixture
def running() -> Iterator[tuple[httpx.Client, ToShop]]:
    with _running(None) as (client, producer):
        yield client, producer


@contextmanager
def _running(secret: SecretStr | None) -> Iterator[tuple[httpx.Client, ToShop]]:
    shop = Shop()
    shop.put({"item_id": "a", "title": "space opera"})
    producer, identity = ToShop(shop), IdentityCheck(secret)
    collector = Collector(producer, EventSettings(), ServerSettings(), Metrics(), shop.clock, identity=identity)
    with served(collector.router(), router(shop.reader, 100_000, identity=identity)) as client:
        yield client, producer


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path)
    yield it
    it.close()


def erase(place: Place, client: httpx.Client, user: str, *more: str) -> Result:
    options = ("--url", str(client.base_url), "--data-dir", str(place.directory), *more)
    return CliRunner().invoke(app, ["erase", user, *options])


def test_it_erases_profile_and_dead_letters_and_says_where_it_looked(
    running: tuple[httpx.Client, ToShop], place: Place
) -> None:
    client, producer = running
    producer.shop.user("ada", {"interests": ["rivers"], "attributes": {"town": "Eddyville"}})
    producer.shop.did("ada", "a")
    producer.shop.identify("v2", "ada")
    identify = {"type": "identify", "anonymous_id": "v1", "user_id": "ada"}
    place.bury(
        a_record(1, {"type": "click", "user_id": "ada"}),
        a_record(2, identify, key=b"a:v1"),
        a_record(3, b"no JSON", topic="users", key=b"ada"),
        a_record(4, {"type": "click", "user_id": "bob"}, key=b"u:bob"),
        a_record(5, None, key=b"ada"),
        a_record(6, b"[]", key=None),
        a_record(7, {"type": "click", "anonymous_id": "v2"}, key=b"a:v2"),
    )
    answer = erase(place, client, "ada", "--yes")
    assert answer.exit_code == 0, answer.output
    assert client.get("/v1/users/ada").status_code == 404
    assert sorted(place.offsets()) == [4, 5, 6]
    assert (
        "profile, and those of 1 anonymous id: 1 event, 1 attribute, 0 waiting for their items, answers; erased"
        in answer.stdout
    )
    assert f"dead letters in {place.directory / 'journal'}: 4 dead letters removed" in answer.stdout
    assert "topic interactions: nothing of theirs" in answer.stdout
    again = erase(place, client, "ada", "--yes")
    assert "nothing was known" in again.stdout
    assert "0 dead letters" in again.stdout


def test_it_asks_first(running: tuple[httpx.Client, ToShop], place: Place) -> None:
    client, producer = running
    producer.shop.did("ada", "a")
    answer = CliRunner().invoke(
        app, ["erase", "ada", "--url", str(client.base_url), "--data-dir", str(place.directory)], input="n\n"
    )
    assert isinstance(answer.exception, EddylineError)
    assert client.get("/v1/users/ada").status_code == 200


def test_an_erasure_that_nobody_carries_out_is_said(
    running: tuple[httpx.Client, ToShop], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, producer = running
    producer.shop.did("ada", "a")
    producer.down = True
    monkeypatch.setattr(command, "AWAIT_SECONDS", 0.2)
    answer = erase(place, client, "ada", "--yes")
    assert isinstance(answer.exception, EddylineError)
    assert "still there" in str(answer.exception)


def test_someone_anonymous_is_erased_by_their_id(running: tuple[httpx.Client, ToShop], place: Place) -> None:
    client, producer = running
    producer.shop.did("a:v1", "a")
    place.bury(a_record(1, {"type": "click", "anonymous_id": "v1"}, key=b"a:v1"), a_record(2, b"[]", key=b"u:v1"))
    answer = erase(place, client, "v1", "--anonymous", "--yes")
    assert answer.exit_code == 0, answer.output
    assert "profile: somebody was known; erased" in answer.stdout
    assert place.offsets() == [2]
    assert client.post("/v1/recommendations", json={"anonymous_id": "v1"}).json()["cold_start"]
    assert "profile: nothing was known" in erase(place, client, "v1", "--anonymous", "--yes").stdout


def test_it_says_in_which_folders_the_persons_key_still_is(running: tuple[httpx.Client, ToShop], place: Place) -> None:
    client, _ = running
    for folder, content in (("vectors", b"\0u:ada\0"), ("insights", b"u:bob")):
        (place.directory / folder).mkdir(parents=True)
        (place.directory / folder / "page_0.dat").write_bytes(bytes(5_000_000) + content)
    printed = erase(place, client, "ada", "--yes").stdout
    assert f"{place.directory / 'vectors'} (1 file): 1 file of theirs, until what is deleted is overwritten" in printed
    assert f"{place.directory / 'insights'} (1 file): nothing of theirs" in printed


def test_with_an_identity_secret_and_no_key_it_proves_whom_it_erases(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _running(SecretStr(SECRET)) as (client, producer):
        producer.shop.did("ada", "a")
        assert client.get("/v1/users/ada").status_code == 403
        monkeypatch.setenv("EDDYLINE_IDENTITY__SECRET", SECRET)
        answer = erase(place, client, "ada", "--yes")
        assert answer.exit_code == 0, answer.output
        assert "1 event" in answer.stdout
        assert "nothing was known" in erase(place, client, "ada", "--yes").stdout
