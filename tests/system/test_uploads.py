"""Pictures that come with their items: a stop loses none; Kafka keeps them for later, the embedded mode does not."""

from __future__ import annotations

from base64 import b64encode
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.support.clip import build_tiny_clip
from tests.support.image_hosts import picture
from tests.support.kafka import Cluster
from tests.support.system import Eddyline, eddyline, on_kafka, wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("torch")]  # it makes a CLIP

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_clip(tmp_path_factory.mktemp("clip"))


def up(folder: Path, env: dict[str, str]) -> AbstractContextManager[Eddyline]:
    return eddyline("up", "--data-dir", str(folder / "data"), log=folder / "log.txt", env=env)


def with_images(model: Path, folder: Path, env: dict[str, str]) -> AbstractContextManager[Eddyline]:
    return up(folder, env | {"EDDYLINE_IMAGES__ENABLED": "true", "EDDYLINE_IMAGES__MODEL": str(model)})


def upload(place: Eddyline, item_id: str, body: bytes) -> None:
    address = f"data:image/png;base64,{b64encode(body).decode()}"
    place.put(item_id, title=f"item {item_id}", image_url=address)


def image(place: Eddyline, item_id: str) -> dict[str, Any]:
    answer = place.client.get(f"/v1/items/{item_id}")
    return dict(answer.json().get("image") or {}) if answer.status_code == 200 else {}


@pytest.mark.extended  # a model, and two starts
@pytest.mark.slow(90)
def test_an_upload_is_found_by_its_picture_taken_back_by_its_name_and_not_lost_by_a_stop(
    model: Path, tmp_path: Path, lean: dict[str, str]
) -> None:
    with with_images(model, tmp_path, lean) as place:
        upload(place, "a", picture("red"))
        upload(place, "b", b"no picture")
        wait_until(lambda: image(place, "a").get("state") == "ready", "the picture is there")
        wait_until(lambda: image(place, "b").get("state") == "refused", "what is none is refused")
        found = place.client.get("/v1/search", params={"q": "anything", "by": "image"}).json()["items"]
        assert [item["item_id"] for item in found] == ["a"]
        state = place.client.get("/v1/items/a").json()
        assert state["image_url"] == state["image"]["url"]
        assert state["image_url"].startswith("data:image/png;sha256=")
        place.put(**{**state, "title": "another title"})
        wait_until(lambda: place.client.get("/v1/items/a").json()["title"] == "another title", "it is taken back")
        assert image(place, "a") == state["image"]
        items = [f"{colour}-{n}" for n in range(5) for colour in COLOURS]
        for item_id in items:
            upload(place, item_id, picture(item_id.split("-")[0]))
        assert place.stop() == 0
    with with_images(model, tmp_path, lean) as place:
        assert {image(place, item_id).get("state") for item_id in items} == {"ready"}


@pytest.mark.extended  # a model, twice
@pytest.mark.slow(90)
def test_a_picture_of_before_images_were_enabled_is_read_from_the_log_again(
    model: Path, tmp_path: Path, lean: dict[str, str]
) -> None:
    with up(tmp_path, lean) as place:
        upload(place, "a", picture("red"))
        place.await_item("a")
    with with_images(model, tmp_path, lean) as place:
        wait_until(lambda: image(place, "a").get("state") == "ready", "it is there")


@pytest.mark.extended  # another model is loaded twice
@pytest.mark.slow(90)
def test_a_picture_of_before_images_were_enabled_is_read_from_kafka_again(
    model: Path, tmp_path: Path, kafka_cluster: Cluster, lean: dict[str, str]
) -> None:
    env = lean | on_kafka(kafka_cluster, "uploads")
    with up(tmp_path, env) as place:
        for colour in COLOURS:
            upload(place, colour, picture(colour))
            place.await_item(colour)
    with with_images(model, tmp_path, env) as place:
        wait_until(lambda: {image(place, colour).get("state") for colour in COLOURS} == {"ready"}, "all are there")
