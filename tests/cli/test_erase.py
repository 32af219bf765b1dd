"""`eddyline erase`, as an operator has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from tests.cli.test_dead_letters import Place, a_record
from tests.services.reading import Shop
from tests.services.serving import served
from tests.support.fakes import FakeProducer
from typer.testing import CliRunner, Result

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
        if record.topic == "users" and not self.down:
            assert record.key is not None
            self.shop.user(record.key.decode(), None if record.value is None else orjson.loads(record.value))
        return super().send(record)


@pytest.fixture
def running() -> Iterator[tuple[httpx.Client, ToShop]]:
    shop = Shop()
    shop.put({"item_id": "a", "title": "space opera"})
    producer = ToShop(shop)
    collector = Collector(producer, EventSettings(), ServerSettings(), Metrics())
    with served(collector.router(), router(shop.reader, 100_000)) as client:
        yield client, producer


def erase(place: Place, client: httpx.Client, user: str, *more: str) -> Result:
    options = ("--url", str(client.base_url), "--data-dir", str(place.directory), *more)
    return CliRunner().invoke(app, ["erase", user, *options])


def test_it_erases_profile_and_dead_letters_and_says_where_it_looked(
    running: tuple[httpx.Client, ToShop], tmp_path: Path
) -> None:
    client, producer = running
    producer.shop.user("ada", {"interests": ["rivers"], "attributes": {"town": "Eddyville"}})
    producer.shop.did("ada", "a")
    place = Place(tmp_path)
    identify = {"type": "identify", "anonymous_id": "v1", "user_id": "ada"}
    place.bury(
        a_record(1, {"type": "click", "user_id": "ada"}),
        a_record(2, identify, key=b"a:v1"),
        a_record(3, b"no JSON", topic="users", key=b"ada"),
        a_record(4, {"type": "click", "user_id": "bob"}, key=b"u:bob"),
        a_record(5, None, key=b"ada"),
        a_record(6, b"[]", key=None),
    )
    answer = erase(place, client, "ada", "--yes")
    assert answer.exit_code == 0, answer.output
    assert client.get("/v1/users/ada").status_code == 404
    assert sorted(place.offsets()) == [4, 5, 6]
    assert "1 event, 1 attribute, 0 waiting for their items, answers; erased" in answer.stdout
    assert f"dead letters in {place.directory / 'dead-letters'}: 3 dead letters removed" in answer.stdout
    assert "until it ends" in answer.stdout
    again = erase(place, client, "ada", "--yes")
    assert "nothing was known" in again.stdout
    assert "0 dead letters" in again.stdout


def test_it_asks_first(running: tuple[httpx.Client, ToShop], tmp_path: Path) -> None:
    client, producer = running
    producer.shop.did("ada", "a")
    place = Place(tmp_path)
    answer = CliRunner().invoke(
        app, ["erase", "ada", "--url", str(client.base_url), "--data-dir", str(place.directory)], input="n\n"
    )
    assert isinstance(answer.exception, EddylineError)
    assert client.get("/v1/users/ada").status_code == 200


def test_an_erasure_that_nobody_carries_out_is_said(
    running: tuple[httpx.Client, ToShop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, producer = running
    producer.shop.did("ada", "a")
    producer.down = True
    monkeypatch.setattr(command, "AWAIT_SECONDS", 0.2)
    answer = erase(Place(tmp_path), client, "ada", "--yes")
    assert isinstance(answer.exception, EddylineError)
    assert "still there" in str(answer.exception)
