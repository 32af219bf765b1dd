"""The embedder: content becomes searchable, once; price and stock beside it; people's answers passed on."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.fakes import NOW, Clock, FakeProducer, FakeStore, TinyEncoder, feed, near, record, text_vector

from eddyline.adapters.encoders import embed_items
from eddyline.adapters.kafka import Record
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Point
from eddyline.embedder.handler import Embedder
from eddyline.errors import InvalidEvent, Misconfigured, Unavailable
from eddyline.model.ids import item_point_id
from eddyline.model.text import Template
from eddyline.settings import AttributeKind, TemplateSettings


class Embedding:
    """An embedder with everything around it."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.store = FakeStore(journal=self.journal)
        self.encoder = TinyEncoder()
        self.producer = FakeProducer()
        self.clock = Clock()
        self.embedder = Embedder(self.store, self.encoder, self.producer, Metrics(), self.clock)

    def feed(self, *records: Record) -> None:
        feed(self.embedder, *records)

    def point(self, item_id: str = "a") -> Point:
        return self.store.retrieve(ITEMS, [item_point_id(item_id)], vectors=("content", "affinity"))[
            item_point_id(item_id)
        ]

    def exists(self, item_id: str = "a") -> bool:
        return bool(self.store.retrieve(ITEMS, [item_point_id(item_id)]))

    def meta(self, item_id: str = "a") -> dict[str, Any]:
        return dict(self.point(item_id).payload["meta"])

    def offer(self, item_id: str = "a") -> dict[str, Any]:
        return {name: value for name, value in self.point(item_id).payload["offer"].items() if name != "at"}


@pytest.fixture
def it() -> Embedding:
    return Embedding()


def content(offset: int, item: str = "a", title: str = "red shoes", *, log: str = "log-1", **more: Any) -> Record:
    return record("content", item, {"item_id": item, "title": title, **more}, offset, log=log, at=NOW + offset)


def gone(offset: int, item: str = "a", log: str = "log-1") -> Record:
    return record("content", item, None, offset, log=log)


def offer(offset: int, item: str = "a", **said: Any) -> Record:
    value = {"item_id": item, "available": True, "price": None, **said}
    return record("availability", item, value, offset, at=NOW + offset)


def test_declared_attributes_have_their_type_whoever_wrote_the_record(it: Embedding) -> None:
    declared = {"pages": AttributeKind.INTEGER}
    it.embedder = Embedder(it.store, it.encoder, it.producer, Metrics(), it.clock, attributes=declared)
    it.feed(content(0, attributes={"pages": "320", "shade": "07"}))
    assert it.meta()["attributes"] == {"pages": 320, "shade": "07"}
    with pytest.raises(InvalidEvent, match="must be a whole number") as refused:
        it.embedder.parse(content(1, attributes={"pages": "many"}))
    assert refused.value.field == "attributes.pages"


# -- items -------------------------------------------------------------------------------------------------------------


def test_a_new_item_is_embedded_with_all_that_is_said_of_it(it: Embedding) -> None:
    it.feed(content(0, description="for dancing", category="shoes", tags=["red"], published_at=NOW, language="en"))
    assert it.encoder.texts == ["red shoes\nfor dancing\nCategory: shoes\nTags: red"]
    near(it.point().vectors["content"], text_vector(it.encoder.texts[0]), 1e-5)
    assert it.point().payload["item_id"] == "a"
    assert it.point().payload["space"] == "tiny-t1"
    assert it.meta() == {
        "title": "red shoes",
        "description": "for dancing",
        "category": "shoes",
        "tags": ["red"],
        "published_at": NOW,
        "language": "en",
        "attributes": {},
    }


def test_changed_text_is_embedded_again(it: Embedding) -> None:
    it.feed(content(0))
    it.feed(content(1, title="blue shoes"))
    assert it.encoder.texts == ["red shoes", "blue shoes"]
    near(it.point().vectors["content"], text_vector("blue shoes"), 1e-5)
    assert it.meta()["title"] == "blue shoes"


def test_unchanged_text_is_not_embedded_again_and_a_removed_field_vanishes(it: Embedding) -> None:
    it.feed(content(0, url="https://a/b", attributes={"brand": "x"}))
    it.feed(content(1, price=3.5, attributes={"size": 9}))
    assert it.encoder.texts == ["red shoes"]
    assert "url" not in it.meta()
    assert it.meta()["attributes"] == {"size": 9}
    assert it.offer() == {"available": True, "price": 3.5}


def test_a_new_rating_is_stored_and_nothing_is_embedded(it: Embedding) -> None:
    it.feed(content(0, rating={"value": 4.2, "count": 10}))
    it.feed(content(1, rating={"value": 7.9, "count": 12_000, "scale": 10}))
    assert it.encoder.texts == ["red shoes"]
    assert it.meta()["rating"] == {"value": 7.9, "count": 12_000, "scale": 10.0, "least": 0.0}
    it.feed(content(2))
    assert "rating" not in it.meta()


def test_a_tombstone_deletes_the_item(it: Embedding) -> None:
    it.feed(content(0), content(1, "b"))
    it.feed(gone(2))
    assert not it.exists("a")
    assert it.exists("b")
    it.feed(gone(3, "never was"))


@pytest.mark.parametrize("late", [content(1, title="old"), gone(2)])
def test_an_older_record_changes_nothing(it: Embedding, late: Record) -> None:
    it.feed(content(3, title="newest"))
    before = it.store.dump()
    it.feed(late)
    assert it.store.dump() == before
    assert it.encoder.texts == ["newest"]


def test_a_batch_replayed_after_a_crash_keeps_what_others_wrote_of_an_item(it: Embedding) -> None:
    batch = [content(0), gone(1), content(2, title="again")]
    for one in batch:
        it.feed(one)
    it.store.set_payload(ITEMS, {item_point_id("a"): {"trend": {"count": 7}}})
    before = it.store.dump()
    for one in batch:
        it.feed(one)
    assert it.store.dump() == before


def test_a_recreated_log_starts_anew(it: Embedding) -> None:
    it.feed(content(900, title="old", timestamp=NOW))
    it.feed(content(0, title="new", log="log-2"))
    assert it.meta()["title"] == "new"
    it.feed(gone(0, log="log-3"))
    assert not it.exists()


def test_of_several_states_in_a_batch_the_last_one_counts(it: Embedding) -> None:
    it.feed(content(0, title="one"), content(1, "b"), content(2, title="two"), gone(3, "b"), content(4, title="three"))
    assert it.meta()["title"] == "three"
    assert not it.exists("b")
    assert it.encoder.texts == ["three"]
    it.feed(gone(5), content(6, title="four"))
    assert it.meta()["title"] == "four"


def test_a_crash_between_vector_and_payload_is_made_up_for(it: Embedding) -> None:
    it.feed(content(0))
    with it.store.failing("set_payload"):
        it.feed(content(1, title="blue shoes"))
    it.feed(content(1, title="blue shoes"))
    assert it.meta()["title"] == "blue shoes"
    near(it.point().vectors["content"], text_vector("blue shoes"), 1e-5)


def test_an_item_says_when_its_vector_was_made_and_the_how_many_th_it_is(it: Embedding) -> None:
    it.feed(offer(0))  # a point of its own before the item comes
    seen = []
    for one in (content(0), content(1, price=3.5), content(2, title="blue shoes"), gone(3), content(4)):
        it.clock.forward(10)
        it.feed(one)
        if "meta" in it.point().payload:
            source = it.point().payload["source"]
            seen.append((source["embedded_at"] - NOW, source["embeddings"]))
    assert seen == [(10, 1), (10, 1), (30, 2), (50, 1)]


@pytest.mark.parametrize(
    ("one", "field"),
    [
        (record("content", "b", {"item_id": "a", "title": "t"}), "item_id"),
        (record("availability", "b", {"item_id": "a", "price": 1, "available": True}), "item_id"),
        (record("users", "b", {"user_id": "a"}), "user_id"),
        (record("content", None, {"item_id": "a", "title": "t"}), None),
        (record("content", b"", None), None),
        (record("content", b"\xff", None), None),
        (record("content", "x" * 600, None), "item_id"),
        (record("users", "x" * 600, None), "user_id"),
        (record("users", "a\0b", None), "user_id"),
        (record("content", "a", b"{"), None),
        (record("content", "a", {"item_id": "a"}), "title"),
        (record("content", "a", {"item_id": "a", "title": "t", "published_at": -9.9e10}), "published_at"),
        (record("content", "a", {"item_id": "a", "title": "t", "timestamp": "9999-12-31T00:00:00Z"}), "timestamp"),
        (offer(0, timestamp="2100-01-01T00:00:00Z"), "timestamp"),
        (record("availability", "a", {"item_id": "a"}), "available"),
        (record("availability", "a", {"item_id": "a", "price": 1}), "available"),
        (record("availability", "a", {"item_id": "a", "available": True}), "price"),
    ],
)
def test_what_cannot_be_read_is_refused(it: Embedding, one: Record, field: str | None) -> None:
    with pytest.raises(InvalidEvent) as refusal:
        it.embedder.parse(one)
    assert refusal.value.field == field


# -- price and stock ---------------------------------------------------------------------------------------------------


def test_price_and_stock_change_without_the_content(it: Embedding) -> None:
    it.feed(content(0, price=10))
    it.feed(offer(1, price=8.0, available=False))
    assert it.offer() == {"available": False, "price": 8.0}
    assert it.encoder.texts == ["red shoes"]


def test_the_last_word_on_price_and_stock_is_all_that_a_rebuild_needs(it: Embedding) -> None:
    words = [offer(1, price=8.0), offer(2, price=7.0, available=False), offer(3, available=False)]
    it.feed(content(0, price=10), *words)
    rebuilt = Embedding()
    rebuilt.feed(content(0, price=10), words[-1])  # what compaction leaves
    assert it.offer() == rebuilt.offer() == {"available": False}


def test_what_is_said_before_its_item_waits_for_it(it: Embedding) -> None:
    it.feed(offer(5, price=8.0))
    assert "meta" not in it.point().payload
    it.feed(content(0, price=10))  # said earlier, though it comes later
    assert it.offer() == {"available": True, "price": 8.0}
    assert it.meta()["title"] == "red shoes"
    near(it.point().vectors["content"], text_vector("red shoes"), 1e-5)


def test_older_availability_is_ignored(it: Embedding) -> None:
    it.feed(content(0))
    it.feed(offer(9, price=8.0))
    it.feed(offer(4, price=7.0, available=False))
    assert it.offer() == {"available": True, "price": 8.0}


def test_the_later_of_content_and_availability_sets_the_price(it: Embedding) -> None:
    it.feed(content(0, price=10))
    it.feed(offer(5, price=8.0))
    it.feed(content(3, price=11))
    assert it.offer()["price"] == 8.0
    it.feed(content(7, price=12))
    assert it.offer()["price"] == 12
    it.feed(content(8))
    assert it.offer() == {"available": True, "price": 8.0}, "as availability said it"


def test_a_time_that_is_given_goes_over_the_time_of_arrival(it: Embedding) -> None:
    it.feed(content(0, price=10, timestamp=NOW))
    it.feed(offer(50, price=8.0, timestamp=NOW - 1))
    assert it.offer()["price"] == 10


def test_a_clock_that_is_ahead_voids_no_later_correction(it: Embedding) -> None:
    it.feed(content(0, price=10))
    it.feed(offer(5, price=8.0, timestamp=NOW + 7200))
    it.feed(offer(6, price=9.0))
    assert it.offer() == {"available": True, "price": 9.0}


def test_several_words_on_one_item_in_a_batch_equal_the_same_in_several_batches(it: Embedding) -> None:
    words = [offer(1, price=8.0), offer(2, price=7.0), offer(3, "b", price=1), offer(4, available=False)]
    it.feed(content(0), *words)
    other = Embedding()
    for one in (content(0), *words):
        other.feed(one)
    assert it.offer() == other.offer() == {"available": False}
    assert it.offer("b") == other.offer("b")


# -- one point, two writers --------------------------------------------------------------------------------------------


def test_an_items_writers_commute() -> None:
    """The embedder makes and deletes points, the image embedder only adds to those that there are."""
    image = {item_point_id("a"): {"image": {"state": "ready", "space": "clip"}}}
    steps = {"again": content(1, title="blue shoes", price=3), "offer": offer(2, available=False)}
    outcomes = []
    for order in (("again", "offer", "image"), ("image", "again", "offer"), ("again", "image", "offer")):
        it = Embedding()
        it.feed(content(0))
        for step in order:
            if step == "image":
                it.store.set_payload(ITEMS, image)
            else:
                it.feed(steps[step])
        outcomes.append(it.store.dump())
    assert outcomes[0] == outcomes[1] == outcomes[2]
    [(payload, vectors)] = outcomes[0].values()
    assert payload["image"]["state"] == "ready"
    assert payload["meta"]["title"] == "blue shoes"
    assert payload["offer"]["available"] is False
    assert vectors["content"]


def test_an_item_that_is_gone_is_not_brought_back_by_who_only_adds_to_it() -> None:
    it = Embedding()
    it.feed(content(0), record("content", "a", None, 1))
    it.store.set_payload(ITEMS, {item_point_id("a"): {"image": {"state": "ready"}}})
    it.store.update_vectors(ITEMS, {item_point_id("a"): {"content": TinyEncoder().encode(["a"])[0]}})
    assert it.store.count(ITEMS) == 0


# -- people ------------------------------------------------------------------------------------------------------------


def test_a_persons_answers_are_embedded_and_go_to_their_log(it: Embedding) -> None:
    it.feed(
        record(
            "users",
            "ada",
            {
                "user_id": "ada",
                "interests": ["space"],
                "experience": "expert",
                "segment": "new",
                "attributes": {"n": 1},
            },
            7,
            partition=2,
            log="users-log",
        )
    )
    [sent] = it.producer.to("interactions")
    [said] = it.producer.values("interactions")
    assert sent.key == b"u:ada"
    near(said.pop("vector"), text_vector("Interests: space\nExperience: expert"), 1e-6)
    assert said == {
        "v": 1,
        "type": "onboarded",
        "user_id": "ada",
        "space": "tiny-t1",
        "segment": "new",
        "attributes": {"n": 1},
        "origin": {"v": 1, "log": "users-log", "partition": 2, "offset": 7},
    }
    assert dict(sent.headers)["ce_id"] == b"users-log:2:7"


def test_a_person_who_answered_nothing_has_no_vector(it: Embedding) -> None:
    it.feed(record("users", "ada", {"user_id": "ada"}), record("users", "bob", {"user_id": "bob", "goals": ["x"]}, 1))
    ada, bob = it.producer.values("interactions")
    assert "vector" not in ada
    assert "space" not in ada
    assert it.encoder.texts == ["Goals: x"]
    assert bob["space"] == "tiny-t1"


def test_a_tombstone_of_a_person_erases_them(it: Embedding) -> None:
    it.feed(record("users", "ada", {"user_id": "ada"}, 3), record("users", "ada", None, 4, at=NOW + 1))
    _, erased = it.producer.values("interactions")
    assert (erased["type"], erased["user_id"], erased["origin"]["offset"]) == ("erased", "ada", 4)
    assert it.producer.to("interactions")[1].key == b"u:ada"


def test_answers_that_cannot_be_passed_on_are_tried_again(it: Embedding) -> None:
    it.producer.refuse = Unavailable("no broker")
    with pytest.raises(Unavailable):
        it.feed(record("users", "ada", {"user_id": "ada"}))
    it.producer.refuse = None
    it.feed(record("users", "ada", {"user_id": "ada"}))
    assert len(it.producer.sent) == 1


# -- spaces ------------------------------------------------------------------------------------------------------------


def test_another_model_on_the_same_items_is_refused_with_the_way_out(it: Embedding) -> None:
    it.embedder.check_space()
    it.feed(*(offer(n, f"early{n}", price=1) for n in range(40)), content(40))
    it.embedder.check_space()
    other = Embedder(it.store, TinyEncoder("other-t1"), it.producer, Metrics())
    with pytest.raises(Misconfigured, match=r"tiny-t1.*other-t1.*reembed"):
        other.check_space()


# -- other templates ---------------------------------------------------------------------------------------------------


def by(it: Embedding, **given: Any) -> Embedder:
    template = Template.from_settings(TemplateSettings(**given))
    return Embedder(it.store, it.encoder, it.producer, Metrics(), it.clock, template=template)


def test_averaged_fields_make_the_weighted_mean_of_their_vectors(it: Embedding) -> None:
    averaging = by(it, mode="average", fields=["title", "category"], weights={"title": 3})
    feed(averaging, content(0, category="shoes"), content(1, "b", "blue hats", category="shoes"), content(2, "c", "x"))
    assert it.encoder.texts == ["red shoes", "Category: shoes", "blue hats", "x"], "a text in common is encoded once"
    total = 3 * text_vector("red shoes") + text_vector("Category: shoes")
    near(it.point().vectors["content"], total / np.linalg.norm(total), 1e-5)
    near(it.point("c").vectors["content"], text_vector("x"), 1e-5)


def test_a_change_of_any_averaged_field_embeds_the_item_again(it: Embedding) -> None:
    averaging = by(it, mode="average", fields=["title", "attributes.brand"])
    feed(averaging, content(0, attributes={"brand": "x"}))
    feed(averaging, content(1, attributes={"brand": "x", "size": 9}, description="not embedded"))
    assert it.encoder.texts == ["red shoes", "x"]
    feed(averaging, content(2, attributes={"brand": "y"}))
    assert it.encoder.texts[2:] == ["red shoes", "y"]


def test_texts_that_cancel_out_leave_the_heaviest() -> None:
    class Opposites(TinyEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.asarray([np.eye(16)[0] * (1 if text == "up" else -1) for text in texts], dtype=np.float32)

    [row, other] = embed_items(Opposites(), [(("up", 1.0), ("down", 1.0)), (("down", 2.0), ("up", 2.0))])
    assert (row[0], other[0]) == (1, -1)


# -- pictures that come with their items -------------------------------------------------------------------------------


def test_of_an_uploaded_picture_the_name_is_stored_and_not_the_picture(it: Embedding) -> None:
    body = b"picture" * 20_000
    address = f"data:image/jpeg;base64,{b64encode(body).decode()}"
    for offset in (0, 1):  # created, then updated
        it.feed(content(offset, image_url=address))
        assert it.meta()["image_url"] == f"data:image/jpeg;sha256={sha256(body).hexdigest()}"
        assert len(repr(it.point().payload)) < 2_000


def test_the_same_picture_sent_again_by_its_name_empties_nothing(it: Embedding) -> None:
    address = f"data:image/jpeg;base64,{b64encode(b'picture').decode()}"
    it.feed(content(0, image_url=address))
    name = it.meta()["image_url"]
    noted = {"url": name, "state": "ready", "log": "log-1", "partition": 0, "offset": 0}
    it.store.set_payload(ITEMS, {item_point_id("a"): {"image": noted}})
    for offset, same in enumerate((name, address), 1):
        it.feed(content(offset, image_url=same))
        assert it.point().payload["image"] == noted
    it.feed(content(3, image_url=f"data:image/jpeg;base64,{b64encode(b'another').decode()}"))
    assert it.point().payload["image"] == {}
