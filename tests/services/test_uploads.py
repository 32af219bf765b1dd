"""Pictures that come with their items: done with no network, known by their names, and never silently lost."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.services.imaging import ColourEncoder, Imaging, content
from tests.support.clip import build_tiny_clip
from tests.support.fakes import FakeProducer, FakeStore, TinyEncoder, feed, near, record
from tests.support.image_hosts import bomb, picture

from eddyline.adapters.encoders import ClipEncoder
from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.kafka import (
    Record,
    TopicPartition,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Distance, Nearest, Query, image_part, item_collection
from eddyline.embedder.handler import Embedder
from eddyline.errors import Misconfigured, Unavailable
from eddyline.imaging import ImageEmbedder
from eddyline.maintenance.generations.item_copy import ItemCopier
from eddyline.model.events import Content, parse_event
from eddyline.model.ids import item_point_id
from eddyline.reader import Reader, Search
from eddyline.reader.browse import Browse
from eddyline.reader.item_finder import ItemFinder
from eddyline.reader.schemas import SearchQuery
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import ImageSettings, Settings


def upload(body: bytes | str, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64encode(body.encode() if isinstance(body, str) else body).decode()}"


def name(body: bytes | str, kind: str = "image/png") -> str:
    return f"data:{kind};sha256={sha256(body.encode() if isinstance(body, str) else body).hexdigest()}"


@pytest.fixture
def it() -> Imaging:
    return Imaging()


def vector(colour: str) -> Any:
    return ColourEncoder().encode_images([colour])[0]


def browsing(it: Imaging) -> Browse:
    settings = Settings()
    return Browse(it.store, settings, ItemFinder(it.store, settings.reader, Metrics(), it.clock), it.clock)


def test_an_uploaded_picture_becomes_a_vector_within_its_batch_and_nothing_is_fetched_or_kept(it: Imaging) -> None:
    it.put(0, upload("red"))
    state = it.state()
    assert (state["url"], state["state"], state["space"], state["attempts"]) == (name("red"), "ready", "colours-1", 1)
    near(it.point().vectors["image"], vector("red"), 1e-5)
    it.settle()
    assert (it.fetched, it.recalled, it.decoded) == ([], [], [b"red"])
    assert b64encode(b"red").decode() not in repr(it.point().payload)
    assert it.metrics.images.labels("ready")._value.get() == 1


def test_the_same_picture_sent_again_is_not_looked_at_again(it: Imaging) -> None:
    said = it.put(0, upload("red"))
    feed(it.imager, said)
    it.put(1, upload("red"), title="another title")
    it.put(2, name("red"), title="and by its name alone")
    it.start()
    it.settle()
    assert it.decoded == [b"red"]
    assert (it.state()["offset"], it.state()["state"]) == (2, "ready")
    it.put(3, upload("blue"))
    assert (it.state()["url"], it.state()["state"]) == (name("blue"), "ready")
    near(it.point().vectors["image"], vector("blue"), 1e-5)


def test_what_get_returns_is_taken_back_and_the_vector_stays(it: Imaging) -> None:
    it.put(0, upload("red"))
    shown = browsing(it).item("a")
    assert (shown["image_url"], shown["image"]["url"], shown["image"]["state"]) == (name("red"), name("red"), "ready")
    sent = parse_event(Content, orjson.dumps(shown))
    again = record("content", "a", sent.to_bytes(), 1)
    feed(it.embedder, again)
    feed(it.imager, again)
    it.settle()
    assert (it.state()["state"], it.state()["offset"]) == ("ready", 1)
    near(it.point().vectors["image"], vector("red"), 1e-5)


def test_a_name_whose_picture_never_came_is_refused_with_the_way_out(it: Imaging) -> None:
    it.put(0, upload("red"))
    it.log[0, 1] = it.put(1, name("blue"))
    it.settle()
    state = it.state()
    assert (state["url"], state["state"], state["reason"]) == (name("blue"), "refused", "missing")
    assert "send the item with the picture itself (data:image/jpeg;base64,…)" in state["message"]
    it.put(2, upload("blue"))
    assert it.state()["state"] == "ready"
    assert "reason" not in it.state()


def test_what_was_refused_stays_so_for_its_own_reason_when_its_name_comes_back(it: Imaging) -> None:
    it.put(0, upload("no picture"))
    it.log[0, 1] = it.put(1, name("no picture"))
    it.settle()
    assert (it.state()["state"], it.state()["reason"]) == ("refused", "damaged")
    assert it.recalled == []


def test_a_name_that_comes_in_the_same_batch_stands_for_the_picture_before_it(it: Imaging) -> None:
    both = content(0, upload("red")), content(1, name("red"))
    feed(it.embedder, *both)
    feed(it.imager, *both)
    assert (it.state()["state"], it.state()["offset"]) == ("ready", 1)
    assert it.recalled == []


# -- before its item is there ------------------------------------------------------------------------------------------


def test_a_picture_ahead_of_its_item_waits_in_memory_and_creates_nothing(it: Imaging) -> None:
    said = content(0, upload("red"))
    feed(it.imager, said)
    it.imager.tick()
    assert (it.store.count(ITEMS), it.decoded) == (0, [])
    feed(it.embedder, said)
    it.imager.tick()
    assert it.state()["state"] == "ready"
    assert (it.decoded, it.recalled) == ([b"red"], [])


class Interrupted(TinyEncoder):
    """While it embeds texts, something else happens."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def encode(self, texts: Sequence[str]) -> Any:
        self._meanwhile()
        return super().encode(texts)


def test_a_picture_that_is_done_while_its_item_is_embedded_is_not_lost(it: Imaging) -> None:
    it.put(0, upload("red"))
    said = content(1, upload("blue"), title="another title")
    feed(Embedder(it.store, Interrupted(lambda: feed(it.imager, said)), FakeProducer(), Metrics(), it.clock), said)
    assert (it.state(), it.decoded) == ({}, [b"red", b"blue"])
    it.imager.tick()
    assert (it.state()["state"], it.state()["url"], it.recalled) == ("ready", name("blue"), [])
    near(it.point().vectors["image"], vector("blue"), 1e-5)
    it.settle()
    assert it.decoded == [b"red", b"blue", b"blue"]


def test_a_picture_that_is_done_before_its_item_is_deleted_and_made_anew_is_not_lost(it: Imaging) -> None:
    it.put(0, upload("red"))
    anew = record("content", "a", None, 1), content(2, upload("blue"))
    feed(it.imager, *anew)
    assert it.state()["url"] == name("blue")
    for one in anew:
        feed(it.embedder, one)
    assert it.state() == {}
    it.imager.tick()
    assert (it.state()["state"], it.state()["url"], it.recalled) == ("ready", name("blue"), [])


def test_what_is_done_and_waits_for_the_embedder_alone_is_not_written_again(
    it: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.put(0, upload("red"))
    feed(it.imager, content(1, upload("blue")))
    written: list[Any] = []
    monkeypatch.setattr(it.store, "set_payload", lambda _, payloads: written.extend(payloads))
    it.imager.tick()
    assert (it.state()["url"], it.decoded, written) == (name("blue"), [b"red", b"blue"], [])


def test_a_batch_looks_for_its_own_items_alone_and_a_tick_for_all_that_wait(
    it: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = [content(n, upload("red"), f"item{n}") for n in range(5)]
    feed(it.imager, *early)
    feed(it.embedder, *early)
    asked: list[str] = []
    retrieve = it.store.retrieve

    def noting(collection: str, ids: Sequence[str], **rest: Any) -> Any:
        asked.extend(ids)
        return retrieve(collection, ids, **rest)

    monkeypatch.setattr(it.store, "retrieve", noting)
    feed(it.imager, content(5, upload("blue"), "b"))
    assert asked == [item_point_id("b")]
    it.imager.tick()
    assert {it.state(f"item{n}")["state"] for n in range(5)} == {"ready"}


def test_what_waits_is_forgotten_when_its_item_is_deleted_or_says_something_else(it: Imaging) -> None:
    feed(it.imager, content(0, upload("red")), content(1, upload("blue"), "b"))
    feed(it.imager, record("content", "a", None, 2), content(3, None, "b"))
    feed(it.embedder, content(0, None), content(1, None, "b"))
    it.imager.tick()
    assert it.decoded == []
    assert (it.state(), it.state("b")) == ({}, {})


def test_what_waits_is_left_to_the_next_owner_of_its_partition_who_reads_it_from_the_log(it: Imaging) -> None:
    said = content(0, upload("red"))
    feed(it.imager, said)
    it.imager.revoked([TopicPartition("content", 0)])
    feed(it.embedder, said)
    it.imager.tick()
    assert it.decoded == []
    it.log[0, 0] = said
    it.start()
    it.settle()
    assert (it.state()["state"], it.recalled) == ("ready", [(0, 0)])


def test_more_than_fits_into_memory_is_read_from_the_log(it: Imaging) -> None:
    it.start(memory=2_500)
    waiting = [content(n, upload("red"), f"item{n}") for n in range(4)]
    for said in waiting:
        feed(it.imager, said)
    it.log = {(0, said.offset): said for said in waiting}
    feed(it.embedder, *waiting)
    it.clock.forward(11)
    it.settle()
    it.settle()
    assert {it.state(f"item{n}")["state"] for n in range(4)} == {"ready"}
    assert sorted(it.recalled) == [(0, 0), (0, 1)]


def test_a_store_that_is_down_loses_no_upload(it: Imaging) -> None:
    said = content(0, upload("red"))
    feed(it.embedder, said)
    with it.store.failing("update_vectors"):
        feed(it.imager, said)
    feed(it.imager, said)
    assert it.state()["state"] == "ready"


# -- read from the log again -------------------------------------------------------------------------------------------


def test_pictures_of_before_images_were_enabled_and_of_another_model_are_read_from_the_log(it: Imaging) -> None:
    said = content(7, upload("red"))
    feed(it.embedder, said)
    it.log[0, 7] = said
    for space in ("colours-1", "colours-2"):
        it.start(space)
        it.settle()
        assert (it.state()["state"], it.state()["space"]) == ("ready", space)
    assert (it.recalled, it.fetched) == ([(0, 7), (0, 7)], [])


def gone(said: Record) -> Record | None:
    return None


def of_another_log(said: Record) -> Record:
    return record("content", "a", said.value, said.offset, log="log-2")


def of_another_item(said: Record) -> Record:
    return record("content", "b", {"item_id": "b", "title": "b", "image_url": upload("blue")}, said.offset)


@pytest.mark.parametrize("found", [gone, of_another_log, of_another_item])
def test_a_picture_that_the_log_has_no_more_is_missing_and_says_so(it: Imaging, found: Any) -> None:
    said = content(7, upload("red"))
    feed(it.embedder, said)
    it.log[0, 7] = found(said)
    it.settle()
    assert (it.state()["state"], it.state()["reason"]) == ("refused", "missing")
    assert "content" in it.point().vectors


@pytest.mark.parametrize("problem", [Unavailable("Kafka is down"), Misconfigured("no topic"), ValueError("a bug")])
def test_a_log_that_does_not_answer_is_asked_again(it: Imaging, problem: Exception) -> None:
    said = content(7, upload("red"))
    feed(it.embedder, said)
    it.log[0, 7] = problem
    it.settle()
    assert (it.state()["state"], it.state()["reason"]) == ("pending", "log")
    it.log[0, 7] = said
    it.clock.forward(15)
    it.settle()
    assert (it.state()["state"], it.state()["attempts"]) == ("ready", 2)


def test_a_name_alone_does_not_hide_the_picture_that_is_still_to_be_read(it: Imaging) -> None:
    said = content(7, upload("red"))
    feed(it.embedder, said)
    it.log[0, 7] = Unavailable("Kafka is down")
    it.settle()
    it.log |= {(0, 7): said, (0, 8): it.put(8, name("red"), title="another title")}
    assert (it.state()["state"], it.state()["offset"]) == ("pending", 8)
    it.clock.forward(15)
    it.settle()
    assert (it.state()["state"], it.state()["offset"], it.recalled[-1]) == ("ready", 8, (0, 7))
    it.start("colours-2")
    it.settle()
    assert (it.state()["state"], it.state()["space"], it.recalled[-1]) == ("ready", "colours-2", (0, 7))


def test_a_name_that_comes_right_after_the_picture_leaves_it_where_it_is(it: Imaging) -> None:
    both = content(0, upload("red")), content(1, name("red"))
    it.log |= {(0, said.offset): said for said in both}
    feed(it.imager, *both)
    feed(it.embedder, *both)
    it.imager.tick()
    it.start("colours-2")
    it.settle()
    assert (it.state()["state"], it.state()["offset"], it.recalled) == ("ready", 1, [(0, 0)])


@pytest.mark.parametrize(("space", "recalled"), [("colours-1", []), ("colours-2", [(0, 0)])])
def test_a_next_generation_has_uploaded_pictures_too(it: Imaging, space: str, recalled: list[Any]) -> None:
    it.log[0, 0] = it.put(0, upload("red"))
    it.store.ensure(item_collection(16, Distance.COSINE, {}, "items-2"))
    it.store.ensure(image_part(3, "items-2"))
    ItemCopier(it.store, TinyEncoder("tiny-t2"), ITEMS, "items-2", image_space=space).run()
    it.start(space, items="items-2")
    it.settle()
    [point] = it.store.scroll("items-2", vectors=("image",))[0]
    assert (point.payload["image"]["state"], point.payload["image"]["space"]) == ("ready", space)
    near(point.vectors["image"], vector("red"), 1e-5)
    assert it.recalled == recalled


# -- what can't be used ------------------------------------------------------------------------------------------------


def test_a_larger_one_than_the_settings_allow_is_refused_on_the_item() -> None:
    it = Imaging(max_upload_bytes=2)
    it.put(0, upload("red"))
    assert (it.state()["state"], it.state()["reason"]) == ("refused", "too_large")
    assert "images.max_upload_bytes" in it.state()["message"]


@pytest.mark.parametrize("address", ["data:,", "data:image/svg+xml;base64,QUJD", "data:image/png;base64,!"])
def test_an_odd_address_is_refused_on_the_item_which_is_found_and_shown(it: Imaging, address: str) -> None:
    it.put(0, address)
    it.settle()
    state = it.state()
    assert (state["state"], state["reason"], it.fetched) == ("refused", "url", [])
    assert state["message"].startswith("the address ")
    assert browsing(it).item("a")["image_url"] == address


def test_a_long_address_that_is_no_picture_costs_the_item_nothing_but_it(it: Imaging) -> None:
    said = content(0, "data:image/svg+xml;base64," + "A" * 3_000)
    item = it.embedder.parse(said)
    assert isinstance(item, Content)
    assert item.image_url is None
    wanted = it.imager.parse(said)
    assert wanted is not None
    assert (wanted.url, wanted.body) == (None, None)


def test_what_a_library_trips_over_fails_alone(it: Imaging) -> None:
    both = content(0, upload(b"\xff")), content(1, upload("red"), "b")  # no UTF-8: the fake decoder fails
    feed(it.embedder, *both)
    feed(it.imager, *both)
    assert (it.state()["state"], it.state()["reason"]) == ("failed", "error")
    assert it.state("b")["state"] == "ready"


@pytest.mark.xdist_group("torch")
@pytest.mark.slow(60)
def test_a_real_clip_finds_uploaded_pictures_and_refuses_hostile_ones_by_name(tmp_path: Path) -> None:
    settings = Settings(images=ImageSettings(enabled=True, model=str(build_tiny_clip(tmp_path))))
    clip, decoder, it = ClipEncoder(settings.images), ImageDecoder(settings.images.max_pixels), Imaging()
    store = FakeStore()
    ensure_image_vectors(store, clip.dimension)
    imager = ImageEmbedder(
        store, clip, ImageFetcher(settings.images).fetch, decoder.decode, it._find, it.pool, settings.images, it.metrics
    )
    imager.assigned({TopicPartition("content", 0): 1})
    embedder = Embedder(store, TinyEncoder(), FakeProducer(), Metrics())
    hostile = {
        "bomb": (upload(bomb(30_000, 30_000)), "too_many_pixels"),
        "damaged": (upload(picture("red")[:60]), "damaged"),
        "page": (upload(b"<html>", "image/jpeg"), "damaged"),
        "pixel": (upload(picture("red", (1, 1))), "too_small"),
    }
    good = {colour: upload(picture(colour, form="JPEG"), "image/jpeg") for colour in ("red", "green", "blue")}
    addresses = good | {item: address for item, (address, _) in hostile.items()}
    for offset, (item, address) in enumerate(addresses.items()):
        one = record("content", item, {"item_id": item, "title": f"sandals {item}", "image_url": address}, offset)
        feed(embedder, one)
        feed(imager, one)
    reader = Reader(store, settings, Metrics(), it.clock, it.clock)
    for item, (_, reason) in hostile.items():
        image = reader.browse.item(item)["image"]
        assert (image["state"], image["reason"]) == ("refused", reason), image
        assert image["message"]
    search = Search(store, settings, reader.finder, reader.profiles, TinyEncoder(), it.clock, clip)
    found = {
        by: {one["item_id"] for one in search.find(SearchQuery.model_validate({"q": "sandals", "by": by}))["items"]}
        for by in ("text", "image")
    }
    assert found == {"text": set(addresses), "image": set(good)}
    for colour, like in {"red": "darkred", "green": "darkgreen", "blue": "navy"}.items():
        [row] = clip.encode_images([decoder.decode(picture(like, (60, 40)))])
        [nearest] = store.query(ITEMS, [Query(Nearest(row, "image"), 1, payload=("item_id",))])[0]
        assert nearest.payload["item_id"] == colour
