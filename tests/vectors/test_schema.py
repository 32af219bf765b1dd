"""Ids, dimensions and collections: what is stored for ever must not change by accident."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eddyline.adapters.vectors import (
    Distance,
    item_collection,
)
from eddyline.model.ids import item_dimension, item_point_id
from eddyline.settings import AttributeKind


def test_ids_are_the_same_for_ever() -> None:
    assert item_point_id("u:42") == "50bee697-499b-532c-8e7b-fe3ae2cf3468"
    assert item_dimension("movie-1") == 1867293385


@given(st.text(min_size=1))
def test_any_name_has_an_id_and_a_dimension(name: str) -> None:
    assert str(UUID(item_point_id(name))) == item_point_id(name)
    assert 0 <= item_dimension(name) < 2**32


def test_declared_attributes_are_indexed() -> None:
    spec = item_collection(384, Distance.COSINE, {"brand": AttributeKind.KEYWORD, "stars": AttributeKind.FLOAT})
    assert spec.indexes["meta.attributes.brand"] == AttributeKind.KEYWORD
    assert spec.indexes["meta.attributes.stars"] == AttributeKind.FLOAT
    assert spec.indexes["offer.available"] == AttributeKind.BOOL
