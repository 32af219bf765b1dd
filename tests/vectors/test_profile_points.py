"""Profile collections of before, whose points have four dense vectors, go on working as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from eddyline.adapters.vectors import (
    Distance,
    Nearest,
    Point,
    Query,
    VectorStore,
    profile_collection,
    retrieve_profiles,
    scroll_profiles,
)
from eddyline.errors import GenerationChanged
from eddyline.model.ids import Person, person_point_id
from eddyline.model.profile import FORMER_VECTORS, Profile, decode_profile
from eddyline.profiler import to_profile_point
from eddyline.settings import ProfileSettings

BEFORE = orjson.loads((Path(__file__).parents[1] / "model" / "stored" / "profile-1.json").read_bytes())
ADA, BOB = Person("u", "ada"), Person("u", "bob")
NEW = profile_collection(4)
OLD = replace(NEW, dense=dict.fromkeys(FORMER_VECTORS, NEW.dense["taste"]))


def former_point() -> Point:
    vectors = {name: np.array(numbers, dtype=np.float32) for name, numbers in BEFORE["vectors"].items()}
    return Point(person_point_id(ADA), vectors, BEFORE["payload"])


def loaded(person: Person, point: Point) -> Profile:
    return decode_profile(person, point.payload, point.vectors, ProfileSettings())


def has_all_sums(profile: Profile) -> bool:
    vectors = (*(total.sum for total in profile.taste.sums), profile.taste.onboarding)
    return all(vector is not None and len(vector) == 4 for vector in vectors)


def test_a_collection_has_only_what_is_searched_by() -> None:
    assert (set(NEW.dense), NEW.sparse) == ({"taste"}, ("history",))


def test_one_of_before_is_accepted_read_and_rewritten(vector_store: VectorStore) -> None:
    vector_store.ensure(OLD)
    vector_store.upsert(OLD.name, [former_point()])
    vector_store.ensure(NEW)
    read = loaded(ADA, retrieve_profiles(vector_store, NEW.name, [person_point_id(ADA)])[person_point_id(ADA)])
    assert has_all_sums(read)
    vector_store.upsert(NEW.name, [to_profile_point(read, 2)])
    stored = vector_store.retrieve(NEW.name, [person_point_id(ADA)], vectors=(*FORMER_VECTORS, "history"))
    point = stored[person_point_id(ADA)]
    assert point.vectors.keys() == {"taste", "history"}
    again = loaded(ADA, point)
    for one, other in zip(again.taste.sums, read.taste.sums, strict=True):
        np.testing.assert_array_equal(one.sum, other.sum)
    assert again.delivery == read.delivery


def test_old_and_new_points_are_read_side_by_side(vector_store: VectorStore) -> None:
    vector_store.ensure(OLD)
    bob = loaded(BOB, former_point())
    vector_store.upsert(OLD.name, [former_point()])
    vector_store.upsert(OLD.name, [to_profile_point(bob, 2)])
    ids = {person_point_id(person): person for person in (ADA, BOB)}
    found = retrieve_profiles(vector_store, OLD.name, [*ids, person_point_id(Person("u", "nobody"))])
    assert found.keys() == ids.keys()
    scrolled = [point for page in scroll_profiles(vector_store, OLD.name) for point in page]
    assert [point.id for point in scrolled] == sorted(ids)
    for point in (*found.values(), *scrolled):
        assert has_all_sums(loaded(ids[point.id], point))


def test_a_new_collection_is_looked_up_and_searched_as_ever(vector_store: VectorStore) -> None:
    vector_store.ensure(NEW)
    vector_store.upsert(NEW.name, [to_profile_point(loaded(BOB, former_point()), 2)])
    point = retrieve_profiles(vector_store, NEW.name, [person_point_id(BOB)])[person_point_id(BOB)]
    assert has_all_sums(loaded(BOB, point))
    taste = Nearest(np.array(point.vectors["taste"]), "taste", Distance.DOT)
    assert [found.id for found in vector_store.query(NEW.name, [Query(taste, 3)])[0]] == [person_point_id(BOB)]


def test_one_that_is_replaced_between_two_look_ups_is_read_once_more(edge_store: VectorStore) -> None:
    """An alias moves on to a collection without these vectors after an old point was found behind it."""
    edge_store.ensure(NEW)
    edge_store.upsert(NEW.name, [replace(former_point(), vectors={})])
    with pytest.raises(GenerationChanged):
        retrieve_profiles(edge_store, NEW.name, [person_point_id(ADA)])
