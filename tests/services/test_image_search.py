"""Search and similar items by what pictures show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.services.imaging import ColourEncoder, Imaging
from tests.support.clip import build_tiny_clip
from tests.support.fakes import FakeProducer, FakeStore, TinyEncoder, feed, record
from tests.support.image_hosts import image_host, picture, sends

from eddyline.adapters.encoders import ClipEncoder
from eddyline.adapters.images import ImageDecoder, ImageFetcher
from eddyline.adapters.kafka import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import Nearest, Query
from eddyline.embedder.handler import Embedder
from eddyline.errors import NotEnabled
from eddyline.imaging import ImageEmbedder
from eddyline.reader import Reader, Search
from eddyline.reader.lists import with_ready_image
from eddyline.reader.schemas import SearchQuery, SimilarQuery
from eddyline.runtime.collection_setup import ensure_image_vectors
from eddyline.settings import ImageSettings, ReaderSettings, Settings


class Gallery(Imaging):
    """Items of two words, some with a picture; searched with and without pictures."""

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        self.put_all()
        options = Settings(images=self.settings, reader=ReaderSettings(similar_image_share=share))
        self.reader = Reader(self.store, options, Metrics(), self.clock, self.clock)
        self.search = Search(
            self.store, options, self.reader.finder, self.reader.profiles, TinyEncoder(), self.clock, ColourEncoder()
        )

    def put_all(self) -> None:
        told = {"boots": ("red", "winter boots"), "cap": ("red", "wool cap"), "scarf": ("blue", "winter scarf")}
        for offset, (item, (colour, title)) in enumerate(told.items()):
            self.pictures[f"https://pictures.example/{item}"] = colour
            self.put(offset, f"https://pictures.example/{item}", item, title=title)
        self.put(9, None, "gloves", title="winter gloves")
        self.settle()

    def find(self, q: str, **asked: Any) -> list[str]:
        found = self.search.find(SearchQuery.model_validate({"q": q, **asked}))
        return [item["item_id"] for item in found["items"]]

    def similar(self, item: str, **asked: Any) -> dict[str, Any]:
        return self.reader.browse.similar(item, SimilarQuery.model_validate(asked))


@pytest.fixture
def it() -> Gallery:
    return Gallery()


def test_an_item_of_two_words_is_found_by_what_its_picture_shows(it: Gallery) -> None:
    assert set(it.find("something red", by="image")[:2]) == {"boots", "cap"}
    assert it.find("something blue", by="image")[0] == "scarf"
    assert "gloves" not in it.find("something red", by="image")


def test_a_search_by_both_puts_first_what_says_and_shows_it(it: Gallery) -> None:
    assert it.find("red winter boots", by="both")[0] == "boots"
    assert it.find("blue winter things", by="both")[0] == "scarf"
    assert set(it.find("red winter", by="both")) == {"boots", "cap", "scarf", "gloves"}
    assert set(it.find("red winter")) == {"boots", "cap", "scarf", "gloves"}


def test_a_list_by_pictures_goes_on_without_repeating(it: Gallery) -> None:
    first = it.search.find(SearchQuery(q="red", by="image", limit=2, explain=True))
    rest = it.search.find(SearchQuery(q="red", by="image", limit=2, next=first["next"]))
    served = [item["item_id"] for item in (*first["items"], *rest["items"])]
    assert sorted(served) == ["boots", "cap", "scarf"]
    assert first["items"][0]["because"] == "its picture shows what you searched for"


def test_a_picture_that_was_removed_is_not_found(it: Gallery) -> None:
    it.put(10, None, "boots", title="winter boots")
    it.settle()
    assert set(it.find("red", by="image")) == {"cap", "scarf"}
    assert "boots" in it.find("winter boots")


def test_no_picture_yet_says_so() -> None:
    it = Gallery()
    for offset, item in enumerate(("boots", "cap", "scarf"), 20):
        it.put(offset, None, item)
    assert it.search.find(SearchQuery(q="red", by="image"))["reason"] == "no item has a picture yet"


def test_where_images_are_off_a_search_by_pictures_says_how_to_turn_them_on(it: Gallery) -> None:
    search = Search(it.store, Settings(), it.reader.finder, it.reader.profiles, TinyEncoder(), it.clock)
    for by in ("image", "both"):
        with pytest.raises(NotEnabled, match=r"EDDYLINE_IMAGES__ENABLED"):
            search.find(SearchQuery.model_validate({"q": "red", "by": by}))
    with pytest.raises(ValidationError):
        SearchQuery.model_validate({"q": "red", "by": "smell"})


def test_similar_items_go_by_text_alone_unless_pictures_have_a_share(it: Gallery) -> None:
    by_text = [item["item_id"] for item in it.similar("boots")["items"]]
    assert by_text.index("cap") == 2
    answer = Gallery(share=0.9).similar("boots", explain=True)
    assert answer["items"][0]["item_id"] == "cap"
    assert answer["items"][0]["because"] == "looks like winter boots"
    assert {item["item_id"] for item in answer["items"]} == {"cap", "scarf", "gloves"}


def test_items_similar_to_one_without_a_picture_go_by_text() -> None:
    assert [item["item_id"] for item in Gallery(share=0.9).similar("gloves")["items"]][-1] == "cap"


@pytest.mark.xdist_group("torch")
@pytest.mark.slow(45)
def test_a_real_clip_over_http_finds_the_item_whose_picture_is_alike(tmp_path: Path) -> None:
    it = Imaging(allowed_networks=("127.0.0.1/32",))
    clip = ClipEncoder(ImageSettings(model=str(build_tiny_clip(tmp_path))))
    colours = ("red", "green", "blue")
    decoder = ImageDecoder(1_000_000)
    with image_host({f"/{colour}": sends(picture(colour)) for colour in colours}) as host:
        store = FakeStore()
        ensure_image_vectors(store, clip.dimension)
        fetcher = ImageFetcher(it.settings)
        imager = ImageEmbedder(
            store,
            clip,
            fetcher.fetch,
            decoder.decode,
            lambda *_: None,
            it.pool,
            it.settings,
            it.metrics,
            it.clock,
        )
        imager.assigned({TopicPartition("content", 0): 1})
        embedder = Embedder(store, TinyEncoder(), FakeProducer(), Metrics())
        for offset, colour in enumerate(colours):
            said = {"item_id": colour, "title": "two words", "image_url": host.url(f"/{colour}")}
            one = record("content", colour, said, offset)
            feed(embedder, one)
            feed(imager, one)
        imager.tick()
    for colour, like in {"red": "darkred", "green": "darkgreen", "blue": "navy"}.items():
        [row] = clip.encode_images([decoder.decode(picture(like, (60, 40), "JPEG"))])
        query = Query(Nearest(row, "image"), 1, with_ready_image(clip.space), ("item_id",))
        assert store.query("items", [query])[0][0].payload["item_id"] == colour
