"""The text template: what of an item is embedded, in which order, and what each field counts for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eddyline.model.text import DEFAULT, Template, content_hash, parts_hash, single_parts
from eddyline.settings import TemplateSettings as Settings

ITEM: dict[str, Any] = {
    "title": "Ferry gliding",
    "description": " How to cross a river. ",
    "category": "Paddling",
    "tags": ["whitewater", " ", "technique"],
    "language": "en",
    "attributes": {"level": 3, "brand": "Eddy", "indoor": False, "boats": ["kayak", "canoe"], "none": None},
}


def template(**given: Any) -> Template:
    return Template.from_settings(Settings(**given))


def only_text(one: Template, item: dict[str, Any]) -> str:
    [(text, _)] = one.parts(item)
    return text


def test_the_default_is_the_text_of_version_2() -> None:
    assert only_text(DEFAULT, ITEM) == (
        "Ferry gliding\nHow to cross a river.\nCategory: Paddling\nTags: whitewater, technique"
    )
    assert only_text(DEFAULT, {"title": " Toy Story "}) == "Toy Story"
    assert only_text(DEFAULT, {"title": "a", "description": " ", "category": " ", "tags": []}) == "a"
    assert DEFAULT.version == "t2"


def test_fields_come_in_the_order_given_with_the_labels_given() -> None:
    mine = template(
        fields=["tags", "title", "attributes.brand", "language"], labels={"tags": "", "attributes.brand": "Brand"}
    )
    assert only_text(mine, ITEM) == "whitewater, technique\nFerry gliding\nBrand: Eddy\nen"


def test_attributes_are_written_as_words() -> None:
    mine = template(fields=[f"attributes.{name}" for name in ("level", "indoor", "boats", "none", "missing")])
    assert only_text(mine, ITEM) == "3\nno\nkayak, canoe"


def test_a_field_stands_as_often_as_its_weight_says() -> None:
    assert only_text(template(fields=["title", "category"], weights={"title": 3}), ITEM) == (
        "Ferry gliding\nFerry gliding\nFerry gliding\nCategory: Paddling"
    )


def test_averaged_fields_are_texts_of_their_own_with_their_weights() -> None:
    mine = template(mode="average", fields=["title", "description", "category"], weights={"title": 2.5})
    assert mine.parts(ITEM) == (("Ferry gliding", 2.5), ("How to cross a river.", 1.0), ("Category: Paddling", 1.0))
    assert mine.parts({"title": "a"}) == (("a", 2.5),)


def test_an_item_without_any_of_the_fields_is_embedded_by_its_title() -> None:
    assert template(fields=["description"]).parts({"title": "a"}) == (("a", 1.0),)
    assert template(fields=["attributes.x"], mode="average").parts({"title": "a", "attributes": {}}) == (("a", 1.0),)


def test_every_change_of_the_definition_is_another_version_and_the_same_definition_is_not() -> None:
    changes: list[dict[str, Any]] = [
        {"fields": ["title"]},
        {"fields": ["description", "title", "category", "tags"]},
        {"labels": {"category": "Kind"}},
        {"labels": {"category": ""}},
        {"weights": {"title": 2}},
        {"mode": "average"},
        {"mode": "average", "weights": {"title": 2}},
        {"mode": "average", "weights": {"title": 2.5}},
    ]
    versions = [template(**change).version for change in changes]
    assert len({*versions, "t2"}) == len(changes) + 1
    assert versions == [template(**change).version for change in changes]
    assert (
        template(fields=["title"]).version == "t47e3b8e0"
    )  # it is in stored spaces: it changes with `RENDERING` alone
    spelt_out = {"fields": ["title", "description", "category", "tags"], "labels": {"tags": "Tags"}}
    assert template(**spelt_out, weights={"title": 1}).version == "t2"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": ["title", "colour"]}, r"no field 'colour'.*title, description.*attributes\.NAME"),
        ({"fields": ["attributes."]}, r"no field 'attributes\.'"),
        ({"fields": []}, "at least 1"),
        ({"fields": ["title", "tags", "title"]}, "title is named more than once"),
        ({"labels": {"colour": "Colour"}}, "no field 'colour'"),
        ({"weights": {"title": 0}}, r"weights\.title\n.*greater than 0"),
        ({"weights": {"title": -1}, "mode": "average"}, r"weights\.title\n.*greater than 0"),
        ({"weights": {"title": float("nan")}}, r"weights\.title"),
        ({"weights": {"language": 2}}, "'language' has a weight, but is not one of the fields"),
        ({"weights": {"title": 1.5}}, "'title' can't stand 1.5 times.*average"),
        ({"weights": {"title": 1000}}, "'title' can't stand 1000 times"),
        ({"mode": "both"}, "mode"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        Settings(**given)


def test_the_hash_covers_all_texts_and_weights_and_the_space() -> None:
    parts = (("a", 1.0), ("b", 2.0))
    others = [
        (("a", 1.0), ("b", 3.0)),
        (("b", 2.0), ("a", 1.0)),
        (("a", 1.0),),
        (("ab", 1.0),),
        (("a", 1.0), ("c", 2.0)),
    ]
    hashes = {parts_hash(parts, "x-t1"), parts_hash(parts, "y-t1"), *(parts_hash(one, "x-t1") for one in others)}
    assert len(hashes) == 2 + len(others)
    assert parts_hash((("a", 7.0),), "x-t1") == content_hash("a", "x-t1")


@given(st.lists(st.text()))
def test_texts_alone_have_the_hashes_of_texts(texts: list[str]) -> None:
    assert [parts_hash(parts, "s") for parts in single_parts(texts)] == [content_hash(text, "s") for text in texts]
