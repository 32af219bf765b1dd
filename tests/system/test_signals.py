"""Ratings, prices and pictures, from outside: what an app says of its items orders the lists that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from tests.support.clip import build_tiny_clip
from tests.support.image_hosts import image_host, picture, sends
from tests.support.system import Eddyline, eddyline, wait_until

# It makes a CLIP. The terms themselves are tested in tests/model and tests/services.
pytestmark = [pytest.mark.system, pytest.mark.extended, pytest.mark.xdist_group("torch")]

STRATEGIES = {name: {name: 1.0} for name in ("rating", "price", "image")}
COLOURS = {"mug": "red", "cup": "darkred", "sofa": "blue", "shelf": "navy"}
PRICES = {"mug": 8.0, "cup": 500.0, "sofa": 700.0, "shelf": 9.5}
RATINGS = {"cup": {"value": 8.8, "count": 900, "scale": 10}, "sofa": {"value": 5, "count": 1}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, lean: dict[str, str]) -> Iterator[Eddyline]:
    """Where lin has just chosen a cheap red mug."""
    folder = tmp_path_factory.mktemp("signals")
    env = lean | {
        "EDDYLINE_STRATEGIES": orjson.dumps(STRATEGIES).decode(),
        "EDDYLINE_IMAGES__ENABLED": "true",
        "EDDYLINE_IMAGES__MODEL": str(build_tiny_clip(folder)),
        "EDDYLINE_IMAGES__ALLOWED_NETWORKS": '["127.0.0.1/32"]',
    }
    with (
        image_host({f"/{name}": sends(picture(colour)) for name, colour in COLOURS.items()}) as host,
        eddyline("up", "--data-dir", str(folder / "data"), log=folder / "log.txt", env=env) as running,
    ):
        for name, price in PRICES.items():
            rating = {"rating": RATINGS[name]} if name in RATINGS else {}
            title = f"A {name} that is made by hand in a small workshop"
            running.put(name, title=title, price=price, image_url=host.url(f"/{name}"), **rating)
        wait_until(lambda: all(_is_ready(running, name) for name in PRICES), "the pictures ready", 60.0)
        running.post({"type": "click", "user_id": "lin", "item_id": "mug"})
        running.await_events("lin", 1)
        yield running


def _item(running: Eddyline, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = httpx.get(f"{running.url}/v1/items/{name}", timeout=30.0).json()
    return shown


def _is_ready(running: Eddyline, name: str) -> bool:
    return bool(_item(running, name).get("image", {}).get("state") == "ready")


@pytest.mark.parametrize(
    ("strategy", "first", "because"),
    [
        ("rating", "cup", "rated 8.8 of 10 by 900 people"),
        ("price", "shelf", "costs about what you chose lately"),
        ("image", "cup", "looks like what you chose lately"),
    ],
)
def test_each_orders_the_list_that_goes_by_it_and_says_why(
    shop: Eddyline, strategy: str, first: str, because: str
) -> None:
    listed = shop.recommend("lin", strategy=strategy, strict=True, explain=True)
    assert {item["item_id"] for item in listed} == {"cup", "sofa", "shelf"}
    assert (listed[0]["item_id"], listed[0]["because"]) == (first, because)


def test_items_are_found_by_their_rating(shop: Eddyline) -> None:
    asked = {"filter": {"rating": {"gt": 6}}}
    answer = httpx.post(f"{shop.url}/v1/recommendations", json=asked, timeout=30.0).json()
    assert [item["item_id"] for item in answer["items"]] == ["cup"]


def test_what_is_given_back_is_taken_back(shop: Eddyline) -> None:
    """With its rating, and with what became of its picture and its language."""
    shown = _item(shop, "cup")
    assert shown["rating"] == {"value": 8.8, "count": 900, "scale": 10.0, "least": 0.0}
    assert shown["detected_language"] == "en"
    changed = shown | {"price": 499.0}
    shop.put("cup", **{name: value for name, value in changed.items() if name != "item_id"})
    wait_until(lambda: _item(shop, "cup") == changed, "the new price, and all else as it was")
