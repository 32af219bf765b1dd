"""The imager: a picture becomes a vector, apart from its item's text; what stands in the way is seen on the item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from tests.services.imaging import ColourEncoder, Imaging, content
from tests.support.fakes import TinyEncoder, feed, near, record
from tests.support.image_hosts import (
    Host,
    bomb,
    declares,
    image_host,
    picture,
    redirects,
    sends,
    streams_for_ever,
    trickles_headers,
)

from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.kafka import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    ITEMS,
    Distance,
    Filter,
    Match,
    Nearest,
    Query,
    image_part,
    item_collection,
)
from eddyline.errors import ImageRefused, ImageUnavailable, Misconfigured
from eddyline.imaging import IN_FLIGHT_PER_THREAD, ImageEmbedder
from eddyline.imaging.handler import PROBE_IMAGE
from eddyline.maintenance.generations.item_copy import ItemCopier
from eddyline.model.events import Content, parse_event
from eddyline.model.ids import item_point_id
from eddyline.reader.browse import Browse
from eddyline.reader.item_finder import ItemFinder
from eddyline.settings import Settings

RED, BLUE = "https://pictures.example/red", "https://pictures.example/blue"


@pytest.fixture
def it() -> Imaging:
    imaging = Imaging()
    imaging.pictures |= {RED: "red", BLUE: "blue"}
    return imaging


def red() -> list[float]:
    return [float(x) for x in ColourEncoder().encode_images(["red"])[0]]


def test_a_picture_becomes_a_vector_and_says_so(it: Imaging) -> None:
    it.put(0, RED)
    it.settle()
    state = it.state()
    assert (state["url"], state["state"], state["space"], state["attempts"]) == (RED, "ready", "colours-1", 1)
    near(it.point().vectors["image"], red(), 1e-5)
    assert "content" in it.point().vectors


def test_the_text_does_not_wait_for_the_picture(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.put(1, BLUE, "b")
    it.imager.tick()
    assert it.state()["state"] == "pending"
    assert "content" in it.point("b").vectors
    it.pool.go()
    it.imager.tick()
    assert it.state()["state"] == it.state("b")["state"] == "ready"


def test_a_picture_is_fetched_once(it: Imaging) -> None:
    said = it.put(0, RED)
    it.settle()
    feed(it.imager, said)
    it.put(1, RED, title="another title")
    it.settle()
    it.start()
    it.settle()
    assert it.fetched == [RED]
    assert (it.state()["offset"], it.state()["state"]) == (1, "ready")


def test_another_url_is_another_picture(it: Imaging) -> None:
    it.put(0, RED)
    it.settle()
    it.put(1, BLUE)
    it.settle()
    assert it.state()["url"] == BLUE
    near(it.point().vectors["image"], ColourEncoder().encode_images(["blue"])[0], 1e-5)


def test_what_was_fetched_for_an_older_url_is_dropped(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.put(1, BLUE)
    it.pool.holding = False
    it.pool.go()
    it.settle()
    it.settle()
    assert (it.state()["url"], it.state()["state"]) == (BLUE, "ready")
    near(it.point().vectors["image"], ColourEncoder().encode_images(["blue"])[0], 1e-5)


def test_an_older_record_does_not_overwrite_a_newer(it: Imaging) -> None:
    it.put(5, BLUE)
    it.settle()
    feed(it.imager, content(4, RED))
    it.settle()
    assert (it.state()["url"], it.state()["offset"]) == (BLUE, 5)
    assert it.fetched == [BLUE]


def test_a_picture_that_is_removed_is_not_used_and_does_not_come_back(it: Imaging) -> None:
    it.put(0, RED)
    it.settle()
    feed(it.imager, content(1, None))  # the embedder is behind: the item still has the URL
    it.clock.forward(60)
    it.settle()
    feed(it.imager, content(0, RED))
    it.settle()
    assert it.state()["state"] == "none"
    assert it.fetched == [RED]


def test_an_item_without_a_picture_is_left_as_it_is(it: Imaging) -> None:
    it.put(0, None)
    it.settle()
    assert "image" not in it.point().payload


def test_an_item_that_is_not_created_yet_gets_its_picture_later_and_is_not_created(it: Imaging) -> None:
    said = content(0, RED)
    feed(it.imager, said)
    it.settle()
    assert it.store.count(ITEMS) == 0
    feed(it.embedder, said)
    it.clock.forward(60)
    it.settle()
    assert it.state()["state"] == "ready"


def test_items_of_before_images_were_enabled_get_theirs(it: Imaging) -> None:
    for n in range(5):
        feed(it.embedder, content(n, RED, f"old{n}"))
    it.settle()
    assert {it.state(f"old{n}")["state"] for n in range(5)} == {"ready"}


def test_another_model_fetches_anew(it: Imaging) -> None:
    it.put(0, RED)
    it.settle()
    it.start("colours-2")
    it.settle()
    assert (it.state()["space"], it.state()["state"]) == ("colours-2", "ready")
    assert it.fetched == [RED, RED]


def test_an_item_that_is_deleted_meanwhile_stays_deleted(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    gone = record("content", "a", None, 1)
    feed(it.embedder, gone)
    feed(it.imager, gone)
    it.pool.go()
    it.settle()
    assert it.store.count(ITEMS) == 0


def test_a_refused_picture_is_not_tried_again_until_the_item_is_sent_again(it: Imaging) -> None:
    it.pictures[RED] = ImageRefused("scheme", "give an http or https URL")
    it.put(0, RED)
    it.settle()
    it.clock.forward(10_000)
    it.settle()
    state = it.state()
    assert (state["state"], state["reason"], state["message"]) == ("refused", "scheme", "give an http or https URL")
    assert it.fetched == [RED]
    it.pictures[RED] = "red"
    it.put(1, RED)
    it.settle()
    assert it.state()["state"] == "ready"
    assert "reason" not in it.state()


def test_a_dead_host_is_tried_with_growing_pauses_then_has_failed_and_the_stream_went_on(it: Imaging) -> None:
    it.pictures[RED] = ImageUnavailable("unreachable", "can't be connected to")
    it.put(0, RED)
    it.put(1, BLUE, "b")
    it.settle()
    assert it.state("b")["state"] == "ready"
    tried = [it.fetched.count(RED)]
    for seconds in (14, 2, 14, 14, 3, 1000):
        it.clock.forward(seconds)
        it.settle()
        tried.append(it.fetched.count(RED))
    assert tried == [1, 1, 2, 2, 2, 3, 3]
    assert (it.state()["state"], it.state()["reason"], it.state()["attempts"]) == ("failed", "unreachable", 3)


def test_a_host_that_comes_back_is_heard(it: Imaging) -> None:
    it.pictures[RED] = ImageUnavailable("timeout", "took longer")
    it.put(0, RED)
    it.settle()
    assert (it.state()["state"], it.state()["reason"]) == ("pending", "timeout")
    it.pictures[RED] = "red"
    it.clock.forward(15)
    it.settle()
    assert (it.state()["state"], it.state()["attempts"]) == ("ready", 2)


class Choosy(ColourEncoder):
    """Fails over anything that is green, whatever else is in the batch; and over all once it is `broken`."""

    broken = False

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        if self.broken or "green" in images:
            raise ValueError("mean must have 1 elements")
        return super().encode_images(images)


def test_a_picture_that_the_model_cannot_take_fails_alone(it: Imaging, monkeypatch: pytest.MonkeyPatch) -> None:
    green = "https://pictures.example/green"
    it.pictures[green] = "green"
    monkeypatch.setattr(it.imager, "_encoder", Choosy())
    for offset, (item, url) in enumerate((("a", RED), ("b", green), ("c", BLUE))):
        it.put(offset, url, item)
    it.settle()
    assert [it.state(item)["state"] for item in "abc"] == ["ready", "failed", "ready"]
    near(it.point("a").vectors["image"], red(), 1e-5)


def test_where_all_pictures_are_such_that_the_model_cannot_take_them_they_fail_and_nothing_stops(
    it: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(it.imager, "_encoder", Choosy())
    it.pool.holding = True
    for offset, item in enumerate("ab"):
        it.pictures[f"{RED}/{item}"] = "green"
        it.put(offset, f"{RED}/{item}", item)
    it.imager.tick()
    it.pool.go()
    it.settle()
    assert [it.state(item)["state"] for item in "ab"] == ["failed", "failed"]


def test_the_plain_picture_that_a_model_is_tried_with_is_a_picture() -> None:
    assert ImageDecoder(Settings().images.max_pixels).decode(PROBE_IMAGE).mode == "RGB"


def test_a_model_that_takes_nothing_stops_the_imager_and_no_picture_has_failed(
    it: Imaging, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Choosy()
    broken.broken = True
    monkeypatch.setattr(it.imager, "_encoder", broken)
    it.pool.holding = True
    it.put(0, RED)
    it.put(1, BLUE, "b")
    it.imager.tick()
    it.pool.go()
    with pytest.raises(ValueError, match="mean must have"):
        it.settle()
    assert {it.state(item)["state"] for item in "ab"} == {"pending"}


def test_an_imager_ahead_of_the_embedder_ends_with_the_newest_address(it: Imaging) -> None:
    old, new = content(0, RED), content(1, BLUE)
    feed(it.imager, old, new)  # the item isn't there yet
    feed(it.embedder, old)
    it.clock.forward(11)
    it.settle()
    assert (it.state()["url"], it.state()["state"]) == (RED, "ready")
    feed(it.embedder, new)
    assert it.state() == {}
    it.clock.forward(11)
    it.settle()
    assert (it.state()["url"], it.state()["state"]) == (BLUE, "ready")


def test_what_was_pending_for_another_model_waits_until_it_is_noted_for_this_one(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.imager.tick()
    it.pool.holding = False
    it.start("colours-2")
    it.settle()
    it.settle()
    assert (it.state()["state"], it.state()["space"]) == ("ready", "colours-2")


def test_what_a_library_trips_over_stops_nothing(it: Imaging) -> None:
    it.pictures[RED] = ZeroDivisionError()
    it.put(0, RED)
    it.settle()
    assert (it.state()["state"], it.state()["reason"]) == ("failed", "error")


def test_what_was_pending_is_fetched_after_a_restart(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.pool = type(it.pool)()
    it.start()
    it.settle()
    assert it.state()["state"] == "ready"


def test_a_partition_is_fetched_by_its_owner_alone(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.imager.revoked([TopicPartition("content", 0)])
    it.pool.holding = False
    it.pool.go()
    it.settle()
    assert it.state()["state"] == "pending"
    it.start(partitions=(1, 2))
    it.settle()
    assert it.state()["state"] == "pending"
    it.start(partitions=(0, 1))
    it.settle()
    assert it.state()["state"] == "ready"


def test_a_store_that_is_down_loses_nothing(it: Imaging) -> None:
    it.pool.holding = True
    it.put(0, RED)
    it.pool.go()
    with it.store.failing("set_payload"):
        it.imager.tick()
    it.settle()
    assert it.state()["state"] == "ready"


def test_at_most_so_many_are_in_hand() -> None:
    it = Imaging(concurrency=2)
    it.pool.holding = True
    for n in range(20):
        it.pictures[f"{RED}{n}"] = "red"
        it.put(n, f"{RED}{n}", f"item{n}")
    it.imager.tick()
    it.pool.go()
    assert len(it.fetched) == 2 * IN_FLIGHT_PER_THREAD
    it.pool.holding = False
    for _ in range(4):
        it.settle()
    assert len(it.fetched) == 20


def test_records_that_cannot_be_read_are_left_to_the_embedder(it: Imaging) -> None:
    feed(it.imager, record("content", "a", b"{"), replace(content(1, RED), key=b"other"), record("content", None, {}))
    assert it.fetched == []


def test_a_collection_with_vectors_of_another_size_is_refused_with_the_way_out(it: Imaging) -> None:
    from eddyline.runtime.collection_setup import ensure_image_vectors

    with pytest.raises(Misconfigured, match=r"vector `image`: stored is 3 dimensions.*eddyline reembed"):
        ensure_image_vectors(it.store, 5)


# -- seen from outside -------------------------------------------------------------------------------------------------


def test_an_item_tells_of_its_image_and_can_be_sent_back_as_it_is(it: Imaging) -> None:
    settings = Settings()
    it.pictures[BLUE] = ImageRefused("private_address", "give the image a public address")
    it.put(0, RED)
    it.put(1, BLUE, "b")
    it.put(2, None, "c")
    it.settle()
    browse = Browse(it.store, settings, ItemFinder(it.store, settings.reader, Metrics(), it.clock), it.clock)
    shown = browse.item("a")["image"]
    assert shown == {"state": "ready", "url": RED, "attempts": 1, "space": "colours-1", "at": it.clock.now}
    refused = browse.item("b")
    assert (refused["image"]["state"], refused["image"]["reason"]) == ("refused", "private_address")
    assert refused["image"]["message"] == "give the image a public address"
    assert "image" not in browse.item("c")
    sent = parse_event(Content, orjson.dumps(refused))
    assert sent.image_url == BLUE
    assert b'"image"' not in sent.to_bytes()


@pytest.mark.parametrize(("space", "kept"), [("colours-1", True), ("colours-2", False), (None, False)])
def test_a_next_generation_takes_over_images_of_the_same_space_alone(
    space: str | None, kept: bool, it: Imaging
) -> None:
    it.put(0, RED)
    it.put(1, None, "b")
    it.settle()
    it.store.ensure(item_collection(16, Distance.COSINE, {}, "items-2"))
    it.store.ensure(image_part(3, "items-2"))
    copied = ItemCopier(it.store, TinyEncoder("tiny-t2"), ITEMS, "items-2", image_space=space)
    assert copied.run().items == 2
    assert copied.run().items == 0
    point_id = item_point_id("a")
    point = it.store.retrieve("items-2", [point_id], vectors=("content", "image"))[point_id]
    assert ("image" in point.vectors, "image" in point.payload) == (kept, kept)
    if kept:
        near(point.vectors["image"], red(), 1e-5)


# -- over real HTTP ----------------------------------------------------------------------------------------------------


@pytest.fixture
def host() -> Iterator[Host]:
    answers = {
        "/picture.png": sends(picture("red")),
        "/2gb": declares(2 * 1024**3),
        "/endless": streams_for_ever,
        "/loop": redirects("/loop"),
        "/metadata": redirects("http://169.254.169.254/"),
        "/bomb": sends(bomb(30_000, 30_000)),
        "/damaged": sends(b"\x89PNG not"),
        "/page": sends(b"<html>", "text/html"),
        "/slow": trickles_headers,
    }
    with image_host(answers) as running:
        yield running


def test_every_hostile_image_is_refused_by_name_and_its_item_is_found_by_its_text(host: Host) -> None:
    it = Imaging(
        allowed_networks=("127.0.0.1/32",), step_timeout_seconds=0.3, total_timeout_seconds=0.5, max_bytes=500_000
    )
    fetcher, decoder = ImageFetcher(it.settings), ImageDecoder(it.settings.max_pixels)
    urls = {
        "file:///etc/passwd": "scheme",
        "ftp://pictures.example/a.png": "scheme",
        "http://169.254.169.254/latest/meta-data/": "private_address",
        host.url("/2gb"): "too_large",
        host.url("/endless"): "too_large",
        host.url("/loop"): "redirects",
        host.url("/metadata"): "private_address",
        host.url("/bomb"): "too_many_pixels",
        host.url("/damaged"): "damaged",
        host.url("/page"): "content_type",
        host.url("/slow"): "timeout",
    }

    def red_where_it_is_one(body: bytes) -> str:
        decoder.decode(body)
        return "red"

    with ThreadPoolExecutor(8) as pool:
        it.imager = ImageEmbedder(
            it.store,
            ColourEncoder(),
            fetcher.fetch,
            red_where_it_is_one,
            lambda *_: None,
            pool,
            it.settings,
            it.metrics,
            it.clock,
        )
        it.imager.assigned({TopicPartition("content", 0): 1})
        for n, url in enumerate([host.url("/picture.png"), *urls]):
            it.put(n, url, f"item{n}", title=f"sandals number {n}")
        it.imager.tick()
    it.imager.tick()
    assert it.state("item0")["state"] == "ready"
    for n, reason in enumerate(urls.values(), 1):
        state = it.state(f"item{n}")
        wanted = "pending" if reason == "timeout" else "refused"
        assert (state["state"], state["reason"]) == (wanted, reason), state
        assert state["message"]
    found = it.store.query(ITEMS, [Query(Nearest(TinyEncoder().encode(["sandals"])[0], "content"), 50)])[0]
    assert len(found) == len(urls) + 1
    ready = Filter(must=(Match("image.state", ("ready",)),))
    by_picture = it.store.query(ITEMS, [Query(Nearest(ColourEncoder().encode_texts(["red"])[0], "image"), 9, ready)])[0]
    assert len(by_picture) == 1
