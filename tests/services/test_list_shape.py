"""Lists as a person sees them: calibrated to what they choose, in the order of a series, not too much of one brand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from tests.services.reading import SETTINGS, Shop, ids, pages, share, stocked

from eddyline.settings import Settings

MIXED = ("space0", "space1", "space2", "kitchen0")
"""What ada chose."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    it = stocked(SETTINGS)
    for n, item in enumerate(MIXED):
        it.did("ada", item, "like", ago=600.0 - n)
    with it.open():
        yield it


def ask(shop: Shop, **asked: Any) -> dict[str, Any]:
    return shop.asked(user_id="ada", limit=8, **asked)


def test_a_calibrated_list_has_the_mix_that_someone_chose(shop: Shop) -> None:
    calibrated = ask(shop, calibration=1.0)
    assert Counter(item["category"] for item in calibrated["items"]) == {"space": 6, "kitchen": 2}
    assert share(ask(shop, calibration=0.0), "space") != 0.75
    assert ids(ask(shop, strategy="content", calibration=1.0)), "by a strategy without a sequence, too"


def test_nobody_known_has_no_mix(shop: Shop) -> None:
    assert ids(shop.asked(calibration=1.0, limit=8, explore=0.0)) == ids(shop.asked(limit=8, explore=0.0))


def test_pages_of_a_calibrated_list_belong_together(shop: Shop) -> None:
    first = ask(shop, calibration=0.5)
    second = ask(shop, calibration=0.5, next=first["next"])
    assert set(ids(first)).isdisjoint(ids(second))
    other = {"user_id": "ada", "limit": 8, "calibration": 0.1, "next": first["next"]}
    assert shop.client.post("/v1/recommendations", json=other).status_code == 422


def test_no_more_of_a_brand_than_the_settings_allow() -> None:
    capped = SETTINGS.ranking.model_copy(update={"per_attribute": {"brand": 2}})
    it = stocked(SETTINGS.model_copy(update={"ranking": capped}))
    it.did("ada", "space0", "like", ago=60.0)
    with it.open():
        answer = it.asked(user_id="ada", limit=10)
    assert Counter(item["category"] for item in answer["items"]) == {"space": 2, "kitchen": 2}, "repeats, too"


def test_a_brand_that_is_not_declared_cannot_be_capped() -> None:
    with pytest.raises(ValidationError, match="per_attribute names maker, which"):
        Settings.model_validate({"ranking": {"per_attribute": {"maker": 2}}})


def test_a_sequel_comes_once_its_first_part_was_seen() -> None:
    it = stocked(SETTINGS)
    for number in (1, 2, 3):
        attributes = {"series": "Rockets", "series_number": number}
        it.put({"item_id": f"part{number}", "title": f"Space rockets {number}", "attributes": attributes})

    def parts() -> set[str]:
        return {item_id for item_id in ids(it.asked(user_id="ada", limit=60)) if item_id.startswith("part")}

    with it.open():
        assert parts() == {"part1"}
        it.did("ada", "part1")
        it.monotonic.forward(60.0)
        assert "part2" in parts()
        assert "part3" not in parts()


def test_the_same_thing_is_not_listed_twice() -> None:
    it = stocked(SETTINGS)
    for number in (1, 2, 3):
        it.put({"item_id": f"same{number}", "title": "Space walk" + "!" * number, "category": "space"})
    with it.open():
        listed = [
            item_id for page in pages(lambda cursor: it.ask(user_id="ada", limit=9, **cursor)) for item_id in ids(page)
        ]
        similar = ids(it.get("/v1/items/space1/similar", limit=60).json())
    assert sum(item_id.startswith("same") for item_id in listed) == 1, "on no page"
    assert {"same1", "same2", "same3"} <= set(similar), "a list of what is similar to an item shows all that is"
