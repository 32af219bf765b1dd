"""What every vector store does, on every vector store."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.ids import stable
from tests.vectors.worlds import (
    SPEC,
    dense,
    entries,
    ids,
    matching,
    numbers,
    payload_of,
    point,
    sparse,
)

from eddyline.adapters.vectors import (
    CollectionSpec,
    DenseSpec,
    Distance,
    Filter,
    HasId,
    IsEmpty,
    Match,
    Nearest,
    OrderBy,
    Point,
    Query,
    Range,
    Vector,
    VectorStore,
    cosine_or_zero,
)
from eddyline.errors import EddylineError, GenerationChanged, Misconfigured, NotStorable
from eddyline.model.ids import item_point_id
from eddyline.settings import AttributeKind


@pytest.fixture
def store(vector_store: VectorStore) -> VectorStore:
    vector_store.ensure(SPEC)
    return vector_store


def _only(store: VectorStore, name: str, *vectors: str) -> Point:
    return store.retrieve(SPEC.name, ids(name), vectors=vectors)[item_point_id(name)]


@pytest.mark.parametrize(
    ("distance", "order", "best"),
    [
        (Distance.COSINE, ["diagonal", "long", "right"], 0.99),
        (Distance.DOT, ["long", "diagonal", "right"], 10.0),
        (Distance.EUCLID, ["right", "diagonal", "long"], 0.5),
    ],
)
def test_whatever_the_distance_the_closest_comes_first_and_has_the_largest_score(
    vector_store: VectorStore, distance: Distance, order: list[str], best: float
) -> None:
    name = f"by-{distance.lower()}"
    vector_store.ensure(CollectionSpec(name, {"content": DenseSpec(2, distance)}))
    places = {"right": (1, 0), "diagonal": (3, 4), "long": (10, 0.1)}
    vector_store.upsert(name, [point(each, {"content": dense(*place)}) for each, place in places.items()])
    found = vector_store.query(name, [Query(Nearest(dense(1, 1), "content", distance), 3)])[0]
    assert [one.id for one in found] == ids(*order)
    assert found[0].score == pytest.approx(best, abs=0.2)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    stored = vector_store.retrieve(name, ids("diagonal"), vectors=("content",))[ids("diagonal")[0]]
    assert cosine_or_zero(stored.vectors["content"], dense(1, 1)) == pytest.approx(0.99, abs=0.001)
    assert cosine_or_zero(stored.vectors["content"], None) == 0.0


# Whole points


def test_dot_vectors_come_back_to_the_last_bit(store: VectorStore) -> None:
    taste = dense(0.1, -1e-7, 123456.79, 3.4028e18)
    store.upsert(SPEC.name, [point("a", {"taste": taste})])
    kept = _only(store, "a", "taste").vectors["taste"]
    assert np.asarray(kept).tobytes() == taste.tobytes()


def test_many_random_vectors_come_back_to_the_last_bit(store: VectorStore) -> None:
    tastes = np.random.default_rng(7).standard_normal((450, 4)).astype(np.float32)
    store.upsert(SPEC.name, [point(f"n{i}", {"taste": taste}) for i, taste in enumerate(tastes)])
    kept = store.retrieve(SPEC.name, ids(*(f"n{i}" for i in range(450))), payload=(), vectors=("taste",))
    assert len(kept) == 450
    for i, taste in enumerate(tastes):
        assert np.asarray(kept[item_point_id(f"n{i}")].vectors["taste"]).tobytes() == taste.tobytes()


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("content", [3, 0, 4, 0], [0.6, 0, 0.8, 0]), ("taste", [0, 0, 0, 0], [0, 0, 0, 0])],
    ids=["cosine: normalised", "zero: kept"],
)
def test_dense_vectors_come_back(store: VectorStore, name: str, given: list[float], kept: list[float]) -> None:
    store.upsert(SPEC.name, [point("a", {name: dense(*given)})])
    assert numbers(_only(store, "a", name).vectors[name]) == pytest.approx(kept)


def test_sparse_vectors_come_back(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"affinity": sparse({4294967295: 0.25, 7: -1.5, 0: 0.1})})])
    kept = entries(_only(store, "a", "affinity").vectors["affinity"])
    assert kept == pytest.approx({0: 0.1, 7: -1.5, 4294967295: 0.25})


def test_payloads_come_back_with_their_types(store: VectorStore) -> None:
    payload = {
        "žluťoučký 🛶": 'кайак\n"quoted"',
        "whole": 1761000000000,
        "fraction": 0.1,
        "yes": True,
        "empty": [],
        "nested": {"deep": [{"er": 1}, "two"]},
        "state": "x" * 1700,
    }
    store.upsert(SPEC.name, [Point(item_point_id("a"), {}, payload)])
    kept = payload_of(store, "a")
    assert kept == payload
    assert type(kept["whole"]) is int
    assert kept["yes"] is True


def test_points_of_one_batch_may_have_different_vectors(store: VectorStore) -> None:
    everything: dict[str, Vector] = {
        "content": dense(1, 0, 0, 0),
        "taste": dense(1, 2, 3, 4),
        "affinity": sparse({1: 1.0}),
    }
    points = [
        point("none", n=0),
        point("content", {"content": everything["content"]}, n=1),
        point("both", {"taste": everything["taste"], "affinity": everything["affinity"]}, n=2),
        point("all", everything, n=3),
        point("none too", n=4),
    ]
    store.upsert(SPEC.name, points)
    kept = store.retrieve(SPEC.name, [each.id for each in points], vectors=("content", "taste", "affinity"))
    for each in points:
        assert kept[each.id].vectors.keys() == each.vectors.keys()
        assert kept[each.id].payload == each.payload


def test_upsert_removes_what_the_new_point_lacks(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4), "affinity": sparse({1: 1.0})}, x=1, y=2)])
    store.upsert(SPEC.name, [point("a", {"taste": dense(4, 3, 2, 1)}, y=3)])
    kept = _only(store, "a", "taste", "affinity", "content")
    assert kept.payload == {"y": 3}
    assert kept.vectors.keys() == {"taste"}
    assert numbers(kept.vectors["taste"]) == [4, 3, 2, 1]


def test_insert_only_leaves_existing_points_as_they_are(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("old", {"taste": dense(1, 2, 3, 4)}, x="first")])
    store.upsert(SPEC.name, [point("old", x="second"), point("new", x="second")], insert_only=True)
    assert payload_of(store, "old") == {"x": "first"}
    assert "taste" in _only(store, "old", "taste").vectors
    assert payload_of(store, "new") == {"x": "second"}


def _not_newer_than(epoch: int) -> Filter:
    return Filter(must_not=(Range("epoch", gt=epoch),))


def test_an_older_writer_changes_nothing(store: VectorStore) -> None:
    store.upsert(
        SPEC.name,
        [point("a", {"taste": dense(1, 1, 1, 1)}, epoch=1761000000007, by="successor")],
        condition=_not_newer_than(1761000000007),
    )
    zombie = point("a", {"taste": dense(2, 2, 2, 2)}, epoch=1761000000005, by="zombie")
    store.upsert(SPEC.name, [zombie], condition=_not_newer_than(1761000000005))
    assert payload_of(store, "a") == {"epoch": 1761000000007, "by": "successor"}
    assert numbers(_only(store, "a", "taste").vectors["taste"]) == [1, 1, 1, 1]


@pytest.mark.parametrize("epoch", [7, 8])
def test_the_same_and_a_newer_writer_replace(store: VectorStore, epoch: int) -> None:
    store.upsert(SPEC.name, [point("a", epoch=7, by="first")], condition=_not_newer_than(7))
    store.upsert(SPEC.name, [point("a", epoch=epoch, by="second")], condition=_not_newer_than(epoch))
    assert payload_of(store, "a") == {"epoch": epoch, "by": "second"}


def test_a_condition_lets_missing_points_and_those_without_the_field_in(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("fieldless", by="somebody"), point("newer", epoch=9)])
    written = [point(name, epoch=5) for name in ("fieldless", "newer", "missing")]
    store.upsert(SPEC.name, written, condition=_not_newer_than(5))
    epochs = {name: payload_of(store, name)["epoch"] for name in ("fieldless", "newer", "missing")}
    assert epochs == {"fieldless": 5, "newer": 9, "missing": 5}


# Parts of points


def test_update_vectors_changes_those_named_and_nothing_else(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4), "content": dense(1, 0, 0, 0)}, x=1)])
    changes: dict[str, Vector] = {"taste": dense(9, 9, 9, 9), "affinity": sparse({3: 0.5})}
    store.update_vectors(SPEC.name, {item_point_id("a"): changes})
    kept = _only(store, "a", "taste", "content", "affinity")
    assert numbers(kept.vectors["taste"]) == [9, 9, 9, 9]
    assert numbers(kept.vectors["content"]) == [1, 0, 0, 0]
    assert entries(kept.vectors["affinity"]) == {3: 0.5}
    assert kept.payload == {"x": 1}


def test_set_payload_replaces_a_top_level_key_whole(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, meta={"title": "old", "gone": 1}, kept=1)])
    store.set_payload(SPEC.name, {item_point_id("a"): {"meta": {"title": "new"}, "added": [1, 2]}})
    assert payload_of(store, "a") == {"meta": {"title": "new"}, "kept": 1, "added": [1, 2]}
    assert "taste" in _only(store, "a", "taste").vectors


def test_set_payload_gives_each_point_its_own(store: VectorStore) -> None:
    names = [f"n{i}" for i in range(230)]
    store.upsert(SPEC.name, [point(name, n=-1) for name in names])
    store.set_payload(SPEC.name, {item_point_id(name): {"n": i} for i, name in enumerate(names)})
    kept = store.retrieve(SPEC.name, ids(*names))
    assert [kept[item_point_id(name)].payload["n"] for name in names] == list(range(230))


def test_delete_payload_removes_keys(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", x=1, y=2, meta={"z": 3}), point("b", y=2)])
    store.delete_payload(SPEC.name, ids("a", "b"), ["x", "meta", "absent"])
    assert payload_of(store, "a") == {"y": 2}
    assert payload_of(store, "b") == {"y": 2}


def test_delete_payload_takes_keys_as_they_are_spelt(store: VectorStore) -> None:
    store.upsert(SPEC.name, [Point(item_point_id("a"), {}, {"a.b": 1, "two words": 2, "klíč": 3, "a": {"b": 4}})])
    store.delete_payload(SPEC.name, ids("a"), ["a.b", "two words", "klíč"])
    assert payload_of(store, "a") == {"a": {"b": 4}}


def test_delete_removes_points(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a"), point("b"), point("c")])
    store.delete(SPEC.name, ids("a", "b", "missing"))
    assert store.retrieve(SPEC.name, ids("a", "b", "c")).keys() == set(ids("c"))
    assert store.count(SPEC.name) == 1


def test_delete_matching_removes_what_matches_and_nothing_else(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point(f"n{i}", epoch=i) for i in range(700)])
    store.upsert(SPEC.name, [point("bare")])
    store.delete_matching(SPEC.name, Filter(must=(Range("epoch", lt=650),)))
    assert store.count(SPEC.name) == 51
    store.delete_matching(SPEC.name, Filter(must_not=(IsEmpty("epoch"),)))
    assert store.scroll(SPEC.name)[0] == [point("bare")]
    store.delete_matching(SPEC.name, Filter())
    assert store.count(SPEC.name) == 0


def test_missing_ids_are_passed_over_and_the_rest_is_applied(store: VectorStore) -> None:
    there = [f"n{i}" for i in range(250)]
    store.upsert(SPEC.name, [point(name, old=1) for name in there])
    store.delete(SPEC.name, ids("n3"))
    asked = ids("missing first", *there, "missing last")
    store.update_vectors(SPEC.name, {each: {"taste": dense(1, 2, 3, 4)} for each in asked})
    store.set_payload(SPEC.name, {each: {"new": 1} for each in asked})
    store.delete_payload(SPEC.name, asked, ["old"])
    kept = store.retrieve(SPEC.name, asked, vectors=("taste",))
    assert kept.keys() == set(ids(*there)) - set(ids("n3"))
    assert all(each.payload == {"new": 1} and "taste" in each.vectors for each in kept.values())
    assert store.count(SPEC.name) == 249


def test_updates_of_missing_points_alone_do_nothing(store: VectorStore) -> None:
    store.update_vectors(SPEC.name, {item_point_id("a"): {"taste": dense(1, 2, 3, 4)}})
    store.set_payload(SPEC.name, {item_point_id("a"): {"x": 1}})
    store.delete_payload(SPEC.name, ids("a"), ["x"])
    store.delete(SPEC.name, ids("a"))
    assert store.count(SPEC.name) == 0


def test_empty_batches_do_nothing(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, x=1)])
    store.upsert(SPEC.name, [])
    store.update_vectors(SPEC.name, {})
    store.update_vectors(SPEC.name, {item_point_id("a"): {}})
    store.set_payload(SPEC.name, {})
    store.delete_payload(SPEC.name, [], ["x"])
    store.delete_payload(SPEC.name, ids("a"), [])
    store.delete(SPEC.name, [])
    assert store.retrieve(SPEC.name, []) == {}
    assert store.query(SPEC.name, []) == []
    assert payload_of(store, "a") == {"x": 1}


def test_a_vector_that_is_not_finite_is_refused(store: VectorStore) -> None:
    with pytest.raises(NotStorable, match="taste"):
        store.upsert(SPEC.name, [point("a", {"taste": dense(1, float("nan"), 3, 4)})])
    assert store.count(SPEC.name) == 0


def test_a_vector_of_another_size_is_refused(store: VectorStore) -> None:
    with pytest.raises(NotStorable):
        store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3)})])


def test_a_search_by_a_vector_of_another_size_is_outdated(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"content": dense(1, 2, 3, 4)})])
    with pytest.raises(GenerationChanged, match="went live in between"):
        store.query(SPEC.name, [Query(Nearest(dense(1, 2, 3), "content"), 1)])


# Reading by id


def test_only_what_was_asked_for_comes_back(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, x=1, meta={"title": "t", "url": "u"})])
    bare = store.retrieve(SPEC.name, ids("a"), payload=())[item_point_id("a")]
    assert bare.payload == {}
    assert bare.vectors == {}
    some = store.retrieve(SPEC.name, ids("a"), payload=("meta.title", "absent"), vectors=("content",))
    assert some[item_point_id("a")].payload == {"meta": {"title": "t"}}
    assert some[item_point_id("a")].vectors == {}


def test_ids_that_are_not_there_are_left_out(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a")])
    assert store.retrieve(SPEC.name, ids("a", "b")).keys() == set(ids("a"))


def test_scroll_pages_through_all_points_in_id_order(store: VectorStore) -> None:
    names = [f"n{i}" for i in range(25)]
    store.upsert(SPEC.name, [point(name, {"taste": dense(1, 2, 3, i)}, n=i) for i, name in enumerate(names)])
    pages: list[list[str]] = []
    after: str | None = None
    while True:
        page, after = store.scroll(SPEC.name, limit=10, after=after, payload=("n",), vectors=("taste",))
        assert all("taste" in each.vectors and "n" in each.payload for each in page)
        pages.append([each.id for each in page])
        if after is None:
            break
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [each for page in pages for each in page] == sorted(ids(*names))


def test_a_page_that_ends_exactly_at_the_end_is_the_last(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a"), point("b")])
    page, after = store.scroll(SPEC.name, limit=2)
    assert len(page) == 2
    assert after is None
    assert store.scroll(SPEC.name, filter=Filter(must=(HasId(tuple(ids("z"))),))) == (
        [],
        None,
    )


# Filters

POPULATION = [
    point("news", meta={"category": "news", "tags": ["a", "b"]}, offer={"available": True, "price": 1}),
    point("sport", meta={"category": "sport", "tags": ["b"]}, offer={"available": False, "price": 2.5}),
    point("empty", meta={"category": None, "tags": []}, offer={"available": None, "price": None}),
    point("bare"),
    point("many", meta={"category": "žluť", "tags": "a"}, prices=[1, 10], years=[2020, 2024]),
]
NAMES = ["news", "sport", "empty", "bare", "many"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (Filter(), set(NAMES)),
        (Filter(must=(Match("meta.category", ("news",)),)), {"news"}),
        (Filter(must=(Match("meta.category", ("news", "žluť", "none")),)), {"news", "many"}),
        (Filter(must=(Match("meta.tags", ("a",)),)), {"news", "many"}),
        (Filter(must=(Match("meta.tags", ("b",)),)), {"news", "sport"}),
        (Filter(must=(Match("meta.tags", ("a",)), Match("meta.tags", ("b",)))), {"news"}),
        (Filter(must=(Match("meta.tags", ()),)), set()),
        (Filter(must_not=(Match("meta.tags", ()),)), set(NAMES)),
        (Filter(must=(Match("offer.available", (True,)),)), {"news"}),
        (Filter(must=(Match("offer.available", (False,)),)), {"sport"}),
        (Filter(must=(Match("offer.available", (True, False)),)), {"news", "sport"}),
        (Filter(must_not=(Match("offer.available", (False,)),)), set(NAMES) - {"sport"}),
        (Filter(must=(Match("years", (2024,)),)), {"many"}),
        (Filter(must=(Match("years", (2024, "news", True)),)), {"many"}),
        (Filter(must=(Match("offer.available", (1,)),)), set()),
        (Filter(must=(Range("offer.price", gte=1),)), {"news", "sport"}),
        (Filter(must=(Range("offer.price", gt=1),)), {"sport"}),
        (Filter(must=(Range("offer.price", lt=2.5),)), {"news"}),
        (Filter(must=(Range("offer.price", lte=2.5),)), {"news", "sport"}),
        (Filter(must=(Range("offer.price", gt=1, lt=2.5),)), set()),
        (Filter(must_not=(Range("offer.price", gt=1),)), set(NAMES) - {"sport"}),
        (Filter(must=(Range("offer.price", gte=1, gt=1),)), {"sport"}),
        (Filter(must=(Range("offer.price", gte=2, gt=1),)), {"sport"}),
        (Filter(must=(Range("offer.price", lt=9, lte=1),)), {"news"}),
        (Filter(must=(Range("offer.price", lt=2.5, lte=9),)), {"news"}),
        (Filter(must=(Range("offer.price", gt=float("-inf"), lte=float("inf")),)), {"news", "sport"}),
        (Filter(must=(Range("offer.price"),)), {"news", "sport"}),
        (Filter(must=(Range("prices", gt=9),)), {"many"}),
        (Filter(must=(IsEmpty("meta.category"),)), {"empty", "bare"}),
        (Filter(must=(IsEmpty("meta.tags"),)), {"empty", "bare"}),
        (Filter(must=(IsEmpty("offer.price"),)), {"empty", "bare", "many"}),
        (Filter(must_not=(IsEmpty("meta.tags"),)), {"news", "sport", "many"}),
        (Filter(must=(IsEmpty("meta"),)), {"bare"}),
        (Filter(must=(HasId(tuple(ids("news", "bare", "unknown"))),)), {"news", "bare"}),
        (Filter(must_not=(HasId(tuple(ids("news", "bare"))),)), {"sport", "empty", "many"}),
        (Filter(must=(HasId(()),)), set()),
        (Filter(must=(Match("meta.tags", ("b",)),), must_not=(HasId(tuple(ids("news"))),)), {"sport"}),
    ],
    ids=stable,
)
def test_filters(store: VectorStore, filter: Filter, expected: set[str]) -> None:
    store.upsert(SPEC.name, POPULATION)
    assert matching(store, filter, NAMES) == expected


def test_a_bound_that_is_not_finite_is_refused(store: VectorStore) -> None:
    with pytest.raises(EddylineError, match=r"offer\.price"):
        store.count(SPEC.name, Filter(must=(Range("offer.price", gt=float("nan")),)))


# Searching


def _names(store: VectorStore, query: Query, among: list[str]) -> list[str]:
    name_of = {item_point_id(name): name for name in among}
    return [name_of[found.id] for found in store.query(SPEC.name, [query])[0]]


@pytest.mark.parametrize(
    ("using", "vectors", "query", "expected"),
    [
        (
            "content",
            {"east": dense(5, 0, 0, 0), "north": dense(0, 1, 0, 0), "north-east": dense(1, 1, 0, 0)},
            dense(2, 0, 0, 0),
            {"east": 1, "north-east": 0.5**0.5, "north": 0},
        ),
        (
            "taste",
            {"long": dense(10, 0, 0, 0), "short": dense(1, 0, 0, 0), "against": dense(-1, 0, 0, 0)},
            dense(2, 1, 0, 0),
            {"long": 20, "short": 2, "against": -2},
        ),
        (
            "affinity",
            {"both": sparse({5: 1, 4294967295: 1}), "one": sparse({5: 1.5}), "neither": sparse({6: 9})},
            sparse({4294967295: 2, 5: 1}),
            {"both": 3, "one": 1.5},
        ),
    ],
    ids=["by cosine", "by dot product, on a vector without an index", "by sparse dot product"],
)
def test_nearest(
    store: VectorStore, using: str, vectors: dict[str, Vector], query: Vector, expected: dict[str, float]
) -> None:
    store.upsert(SPEC.name, [point(name, {using: vector}) for name, vector in vectors.items()])
    store.upsert(SPEC.name, [point("nowhere")])
    found = store.query(SPEC.name, [Query(Nearest(query, using), 10)])[0]
    assert [each.id for each in found] == ids(*expected)
    assert [each.score for each in found] == pytest.approx(list(expected.values()), abs=1e-6)


def test_order_by_a_number(store: VectorStore) -> None:
    days = {"low": -3.5, "high": 761.25, "middle": 4}
    store.upsert(SPEC.name, [point(name, trend={"day": day}) for name, day in days.items()])
    store.upsert(SPEC.name, [point("none"), point("null", trend={"day": None})])
    down, up = store.query(
        SPEC.name, [Query(OrderBy("trend.day"), 10), Query(OrderBy("trend.day", descending=False), 2)]
    )
    assert [each.id for each in down] == ids("high", "middle", "low")
    assert [each.score for each in down] == [761.25, 4, -3.5]
    assert [each.id for each in up] == ids("low", "middle")


def test_order_by_an_integer(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point(f"n{i}", epoch=1761000000000 + i) for i in range(5)])
    found = store.query(SPEC.name, [Query(OrderBy("epoch"), 2)])[0]
    assert [each.score for each in found] == [1761000000004, 1761000000003]


def test_order_by_a_field_without_a_range_index_is_refused(store: VectorStore) -> None:
    with pytest.raises(EddylineError, match=r"meta\.category"):
        store.query(SPEC.name, [Query(OrderBy("meta.category"), 2)])


def test_queries_are_filtered_and_bring_what_was_asked_for(store: VectorStore) -> None:
    for i, name in enumerate(("a", "b", "c")):
        vectors: dict[str, Vector] = {
            "content": dense(1, i, 0, 0),
            "taste": dense(i, i, i, i),
            "affinity": sparse({1: 1.0}),
        }
        store.upsert(
            SPEC.name,
            [point(name, vectors, meta={"category": name, "title": name.upper()}, trend={"day": i}, epoch=i)],
        )
    wanted = Filter(must_not=(Match("meta.category", ("a",)),))
    for by, best in (
        (Nearest(dense(1, 0, 0, 0), "content"), "b"),
        (Nearest(sparse({1: 1.0}), "affinity"), None),
        (OrderBy("trend.day"), "c"),
    ):
        found = store.query(SPEC.name, [Query(by, 10, wanted, ("meta.title", "epoch"), ("taste",))])[0]
        assert {each.id for each in found} == set(ids("b", "c"))
        if best:
            assert found[0].id == item_point_id(best)
        assert {each.payload["meta"]["title"] for each in found} == {"B", "C"}
        assert all(each.payload.keys() == {"meta", "epoch"} for each in found)
        assert all(each.vectors.keys() == {"taste"} for each in found)
        plain = store.query(SPEC.name, [Query(by, 1, wanted)])[0]
        assert [(dict(each.payload), dict(each.vectors)) for each in plain] == [({}, {})]


def test_answers_come_in_the_order_of_the_queries(store: VectorStore) -> None:
    names = [f"n{i}" for i in range(6)]
    store.upsert(
        SPEC.name,
        [
            point(name, {"taste": dense(i, 0, 0, 0), "affinity": sparse({i: 1.0})}, epoch=i)
            for i, name in enumerate(names)
        ],
    )
    answers = store.query(
        SPEC.name,
        [
            Query(Nearest(sparse({2: 1.0}), "affinity"), 5),
            Query(Nearest(sparse({}), "affinity"), 5),
            Query(OrderBy("epoch"), 1),
            Query(OrderBy("epoch"), 0),
            Query(Nearest(sparse({99: 1.0}), "affinity"), 5),
            Query(Nearest(dense(-1, 0, 0, 0), "taste"), 2),
            Query(Nearest(sparse({3: 1.0}), "affinity"), 5),
        ],
    )
    expected = [["n2"], [], ["n5"], [], [], ["n0", "n1"], ["n3"]]
    assert [[each.id for each in answer] for answer in answers] == [ids(*names) for names in expected]


def test_a_query_without_terms_alone_finds_nothing(store: VectorStore) -> None:
    assert store.query(SPEC.name, [Query(Nearest(sparse({}), "affinity"), 5)]) == [[]]


# Collections


def test_ensure_twice_changes_nothing(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, epoch=1)])
    store.ensure(SPEC)
    assert payload_of(store, "a") == {"epoch": 1}
    assert numbers(_only(store, "a", "taste").vectors["taste"]) == [1, 2, 3, 4]


def test_ensure_adds_an_index_to_existing_data(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", stars=3), point("b", stars=5), point("c")])
    with pytest.raises(EddylineError, match="stars"):
        store.query(SPEC.name, [Query(OrderBy("stars"), 10)])
    indexes = {**SPEC.indexes, "stars": AttributeKind.FLOAT}
    store.ensure(CollectionSpec(SPEC.name, SPEC.dense, SPEC.sparse, indexes))
    assert [each.id for each in store.query(SPEC.name, [Query(OrderBy("stars"), 10)])[0]] == ids("b", "a")


def test_ensure_adds_vectors_to_existing_data(store: VectorStore) -> None:
    store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, x=1)])
    more = {
        **SPEC.dense,
        "image": DenseSpec(3, Distance.COSINE),
        "mood": DenseSpec(2, Distance.DOT),
    }
    grown = CollectionSpec(SPEC.name, more, (*SPEC.sparse, "history"), SPEC.indexes)
    store.ensure(grown)
    store.ensure(grown)
    added: dict[str, Vector] = {"image": dense(0, 2, 0), "mood": dense(1, 5), "history": sparse({8: 1.0})}
    store.update_vectors(SPEC.name, {item_point_id("a"): added})
    kept = _only(store, "a", "taste", *added)
    assert numbers(kept.vectors["taste"]) == [1, 2, 3, 4]
    assert numbers(kept.vectors["image"]) == [0, 1, 0]
    assert numbers(kept.vectors["mood"]) == [1, 5]
    assert entries(kept.vectors["history"]) == {8: 1.0}
    found = store.query(SPEC.name, [Query(Nearest(dense(0, 1, 0), "image"), 5)])[0]
    assert [each.id for each in found] == ids("a")


def test_what_is_stored_beyond_the_spec_may_stay(store: VectorStore) -> None:
    store.ensure(CollectionSpec(SPEC.name, {"taste": SPEC.dense["taste"]}))
    store.upsert(SPEC.name, [point("a", {"content": dense(1, 0, 0, 0)})])
    assert "content" in _only(store, "a", "content").vectors


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            CollectionSpec(SPEC.name, {"content": DenseSpec(8, Distance.COSINE)}),
            ["things", "content", "4 dimensions, Cosine", "8 dimensions, Cosine", "reembed"],
        ),
        (
            CollectionSpec(SPEC.name, {"taste": DenseSpec(4, Distance.EUCLID)}),
            ["things", "taste", "4 dimensions, Dot", "4 dimensions, Euclid", "reembed"],
        ),
        (
            CollectionSpec(SPEC.name, {"affinity": DenseSpec(4, Distance.DOT)}),
            ["things", "affinity", "sparse", "4 dimensions, Dot"],
        ),
        (CollectionSpec(SPEC.name, {}, ("taste",)), ["things", "taste", "sparse", "4 dimensions, Dot"]),
        (
            CollectionSpec(SPEC.name, {}, indexes={"epoch": AttributeKind.KEYWORD}),
            ["things", "epoch", "integer", "keyword"],
        ),
    ],
    ids=["size", "distance", "dense for sparse", "sparse for dense", "index"],
)
def test_ensure_refuses_a_mismatch_and_says_what_to_do(
    store: VectorStore, spec: CollectionSpec, said: list[str]
) -> None:
    with pytest.raises(Misconfigured) as refusal:
        store.ensure(spec)
    for word in said:
        assert word in str(refusal.value)


def test_a_collection_that_was_never_made_is_named(vector_store: VectorStore) -> None:
    for call in (
        lambda: vector_store.upsert("nowhere", [point("a", {"taste": dense(1, 2, 3, 4)})]),
        lambda: vector_store.retrieve("nowhere", ids("a")),
        lambda: vector_store.query("nowhere", [Query(OrderBy("epoch"), 1)]),
        lambda: vector_store.set_payload("nowhere", {item_point_id("a"): {"x": 1}}),
        lambda: vector_store.update_vectors("nowhere", {item_point_id("a"): {"taste": dense(1, 2, 3, 4)}}),
        lambda: vector_store.delete("nowhere", ids("a")),
        lambda: vector_store.delete_matching("nowhere", Filter()),
        lambda: vector_store.scroll("nowhere"),
        lambda: vector_store.count("nowhere"),
    ):
        with pytest.raises(Misconfigured, match=r"nowhere.*eddyline init"):
            call()


# Several collections, and aliases

OTHER = replace(SPEC, name="things-2")


def test_collections_are_listed_and_dropped(vector_store: VectorStore) -> None:
    assert vector_store.collections() == []
    vector_store.ensure(OTHER)
    vector_store.ensure(SPEC)
    vector_store.upsert(SPEC.name, [point("a")])
    assert vector_store.collections() == ["things", "things-2"]
    vector_store.drop("things")
    vector_store.drop("things")
    assert vector_store.collections() == ["things-2"]
    with pytest.raises(Misconfigured, match="things"):
        vector_store.count("things")
    vector_store.ensure(SPEC)
    assert vector_store.count("things") == 0


def test_a_collection_is_read_and_written_by_its_alias(store: VectorStore) -> None:
    store.set_aliases({"live": SPEC.name})
    assert store.aliases() == {"live": SPEC.name}
    assert store.collections() == [SPEC.name]
    vectors: dict[str, Vector] = {"content": dense(1, 0, 0, 0), "affinity": sparse({1: 1.0})}
    store.upsert("live", [point("a", vectors, epoch=1, x=1), point("b", epoch=2), point("c"), point("d")])
    store.set_payload("live", {item_point_id("b"): {"epoch": 5}})
    store.update_vectors("live", {item_point_id("b"): {"taste": dense(1, 2, 3, 4)}})
    store.delete_payload("live", ids("a"), ["x"])
    store.delete("live", ids("c"))
    store.delete_matching("live", Filter(must=(IsEmpty("epoch"),)))
    for name in ("live", SPEC.name):
        kept = store.retrieve(name, ids("a", "b", "c", "d"), vectors=("taste",))
        assert {each: dict(point.payload) for each, point in kept.items()} == {
            item_point_id("a"): {"epoch": 1},
            item_point_id("b"): {"epoch": 5},
        }
        assert numbers(kept[item_point_id("b")].vectors["taste"]) == [1, 2, 3, 4]
        assert store.count(name) == len(store.scroll(name)[0]) == 2
        found = store.query(name, [Query(OrderBy("epoch"), 5), Query(Nearest(sparse({1: 1.0}), "affinity"), 5)])
        assert [[each.id for each in answer] for answer in found] == [ids("b", "a"), ids("a")]


def test_ensure_by_an_alias_adds_to_the_collection(store: VectorStore) -> None:
    store.set_aliases({"live": SPEC.name})
    indexes = {**SPEC.indexes, "stars": AttributeKind.FLOAT}
    store.ensure(CollectionSpec("live", SPEC.dense, ("history",), indexes))
    assert store.collections() == [SPEC.name]
    store.upsert(SPEC.name, [point("a", {"history": sparse({1: 1.0})}, stars=3)])
    assert [each.score for each in store.query(SPEC.name, [Query(OrderBy("stars"), 1)])[0]] == [3]


def test_aliases_change_all_at_once(store: VectorStore) -> None:
    store.ensure(OTHER)
    store.upsert(OTHER.name, [point("new")])
    store.set_aliases({"live": SPEC.name, "sealed": SPEC.name, "kept": SPEC.name})
    store.set_aliases({"live": OTHER.name, "sealed": None, "never was": None})
    assert store.aliases() == {"live": OTHER.name, "kept": SPEC.name}
    assert (store.count("live"), store.count("kept")) == (1, 0)
    with pytest.raises(Misconfigured, match="sealed"):
        store.count("sealed")


def test_a_change_of_aliases_that_cannot_be_leaves_all_as_they_were(store: VectorStore) -> None:
    store.ensure(OTHER)
    store.set_aliases({"live": SPEC.name})
    with pytest.raises(Misconfigured, match="nowhere"):
        store.set_aliases({"live": OTHER.name, "next": "nowhere"})
    with pytest.raises(EddylineError, match="things-2"):
        store.set_aliases({"live": OTHER.name, "things-2": SPEC.name})
    with pytest.raises(Misconfigured, match="live"):
        store.set_aliases({"chained": "live"})
    assert store.aliases() == {"live": SPEC.name}


def test_a_dropped_collection_takes_its_aliases_along(store: VectorStore) -> None:
    store.ensure(OTHER)
    store.set_aliases({"live": SPEC.name, "other": OTHER.name})
    store.drop("live")
    assert store.collections() == [SPEC.name, OTHER.name]
    store.drop(SPEC.name)
    assert store.aliases() == {"other": OTHER.name}


def test_a_healthy_store_passes_its_check(store: VectorStore) -> None:
    store.check()
    store.flush()
