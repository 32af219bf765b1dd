"""Profile collections of before, whose points have one or four dense vectors, go on working as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import orjson
import pytest

from eddyline.adapters.vectors import (
    CollectionSpec,
    DenseSpec,
    Distance,
    Point,
    VectorStore,
    profile_collection,
    retrieve_profiles,
    scroll_profiles,
)
from eddyline.errors import GenerationChanged
from eddyline.model.ids import Person, person_point_id
from eddyline.model.profile import Profile, decode_profile
from eddyline.profiler import to_profile_point
from eddyline.settings import ProfileSettings

STORED = Path(__file__).parents[1] / "model" / "stored"
FOUR, ONE = (orjson.loads((STORED / f"profile-{version}.json").read_bytes()) for version in (1, 3))
"""Points as they were stored: with all four vectors by name, and with `taste` alone."""
ADA, BOB = Person("u", "ada"), Person("u", "bob")
NEW = profile_collection()
OLD = replace(NEW, dense=dict.fromkeys(FOUR["vectors"], DenseSpec(4, Distance.DOT)))
NEWER = replace(NEW, dense={"taste": DenseSpec(4, Distance.DOT)})
of_before = pytest.mark.parametrize(("collection", "before"), [(OLD, FOUR), (NEWER, ONE), (OLD, ONE)])


def former_point(before: dict[str, Any]) -> Point:
    vectors = {name: np.array(numbers, dtype=np.float32) for name, numbers in before["vectors"].items()}
    return Point(person_point_id(ADA), vectors, before["payload"])


def loaded(person: Person, point: Point) -> Profile:
    return decode_profile(person, point.payload, point.vectors, ProfileSettings())


def has_all_sums(profile: Profile) -> bool:
    vectors = (*(total.sum for total in profile.taste.sums), profile.taste.onboarding)
    return all(vector is not None and len(vector) == 4 for vector in vectors)


def test_a_collection_has_only_what_is_searched_by() -> None:
    assert (NEW.dense, NEW.sparse) == ({}, ("history",))


@of_before
def test_one_of_before_is_accepted_read_and_rewritten(
    vector_store: VectorStore, collection: CollectionSpec, before: dict[str, Any]
) -> None:
    vector_store.ensure(collection)
    vector_store.upsert(NEW.name, [former_point(before)])
    vector_store.ensure(NEW)
    read = loaded(ADA, retrieve_profiles(vector_store, NEW.name, [person_point_id(ADA)])[person_point_id(ADA)])
    assert has_all_sums(read)
    vector_store.upsert(NEW.name, [to_profile_point(read, 2)])
    stored = vector_store.retrieve(NEW.name, [person_point_id(ADA)], vectors=(*collection.dense, "history"))
    point = stored[person_point_id(ADA)]
    assert point.vectors.keys() == {"history"}
    again = loaded(ADA, point)
    for one, other in zip(again.taste.sums, read.taste.sums, strict=True):
        np.testing.assert_array_equal(one.sum, other.sum)
    assert again.delivery == read.delivery


@of_before
def test_old_and_new_points_are_read_side_by_side(
    vector_store: VectorStore, collection: CollectionSpec, before: dict[str, Any]
) -> None:
    vector_store.ensure(collection)
    bob = loaded(BOB, former_point(before))
    vector_store.upsert(NEW.name, [former_point(before)])
    vector_store.upsert(NEW.name, [to_profile_point(bob, 2)])
    ids = {person_point_id(person): person for person in (ADA, BOB)}
    found = retrieve_profiles(vector_store, NEW.name, [*ids, person_point_id(Person("u", "nobody"))])
    assert found.keys() == ids.keys()
    scrolled = [point for page in scroll_profiles(vector_store, NEW.name) for point in page]
    assert [point.id for point in scrolled] == sorted(ids)
    for point in (*found.values(), *scrolled):
        assert has_all_sums(loaded(ids[point.id], point))


def test_points_of_both_former_kinds_are_read_in_one_look_up(vector_store: VectorStore) -> None:
    vector_store.ensure(OLD)
    vector_store.upsert(NEW.name, [former_point(FOUR), replace(former_point(ONE), id=person_point_id(BOB))])
    ids = {person_point_id(person): person for person in (ADA, BOB)}
    found = retrieve_profiles(vector_store, NEW.name, list(ids))
    assert all(has_all_sums(loaded(person, found[point_id])) for point_id, person in ids.items())


def test_a_new_collection_is_looked_up_at_once(vector_store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    vector_store.ensure(NEW)
    vector_store.upsert(NEW.name, [to_profile_point(loaded(BOB, former_point(FOUR)), 2)])
    look_up = Mock(wraps=vector_store.retrieve)
    monkeypatch.setattr(vector_store, "retrieve", look_up)
    point = retrieve_profiles(vector_store, NEW.name, [person_point_id(BOB)])[person_point_id(BOB)]
    assert has_all_sums(loaded(BOB, point))
    look_up.assert_called_once_with(NEW.name, [person_point_id(BOB)])


@pytest.mark.parametrize("before", [FOUR, ONE])
def test_one_that_is_replaced_between_two_look_ups_is_read_once_more(
    edge_store: VectorStore, before: dict[str, Any]
) -> None:
    """An alias moves on to a collection without these vectors after an old point was found behind it."""
    edge_store.ensure(NEW)
    edge_store.upsert(NEW.name, [replace(former_point(before), vectors={})])
    with pytest.raises(GenerationChanged):
        retrieve_profiles(edge_store, NEW.name, [person_point_id(ADA)])
