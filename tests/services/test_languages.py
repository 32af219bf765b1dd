"""Languages: detected where none was said, only with confidence, filterable, and never mistaken for what was said."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import NOW, Clock, FakeProducer, FakeStore, TinyEncoder, feed, record

from eddyline.adapters.language_detector import LanguageDetector, language_detector
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import ITEMS, Distance, Point, item_collection
from eddyline.embedder.handler import Embedder
from eddyline.errors import Misconfigured
from eddyline.model.filters import parse_filter
from eddyline.model.ids import item_point_id
from eddyline.reader.browse import Browse
from eddyline.reader.item_finder import ItemFinder
from eddyline.settings import AttributeKind, Settings

GERMAN = "Wie man einen Fluss überquert, ohne an Höhe zu verlieren."
ENGLISH = "How to cross a river without losing height."


@pytest.fixture(scope="module")
def detect() -> LanguageDetector:
    pytest.importorskip("py3langid", reason="the extra `embedder` isn't installed")
    return LanguageDetector()


class Shelf:
    """An embedder that detects, over a store."""

    def __init__(self, detector: LanguageDetector) -> None:
        self.store = FakeStore()
        self.embedder = Embedder(self.store, TinyEncoder(), FakeProducer(), Metrics(), Clock(), detect=detector)
        self._offset = 0

    def put(self, item_id: str, title: str, **more: Any) -> None:
        said = {"item_id": item_id, "title": title, **more}
        feed(self.embedder, record("content", item_id, said, self._offset))
        self._offset += 1

    def language(self, item_id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.store.retrieve(ITEMS, [item_point_id(item_id)])[item_point_id(item_id)].payload
        return dict(found["language"])

    def found(self, **wanted: Any) -> set[str]:
        page, _ = self.store.scroll(ITEMS, filter=parse_filter(wanted, {}, NOW))
        return {point.payload["item_id"] for point in page}


@pytest.fixture
def shelf(detect: LanguageDetector) -> Shelf:
    return Shelf(detect)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (ENGLISH, "en"),
        (GERMAN, "de"),
        ("Comment traverser une rivière sans perdre de hauteur", "fr"),
        ("Как пересечь реку, не теряя высоты", "ru"),
        ("كيف تعبر النهر دون أن تفقد الارتفاع", "ar"),
        ("如何在不损失高度的情况下横渡河流", "zh"),
        ("若者が街から来た謎の女性に恋をする物語", "ja"),
        (f"{ENGLISH} " * 400, "en"),
        ("如何在不损失高度的情况下横渡河流。" * 400, "zh"),
    ],
)
def test_a_text_in_one_language_has_it_in_any_script(detect: LanguageDetector, text: str, code: str) -> None:
    assert detect(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "12345 67890 2024-11-05 !!! 😀😀😀😀😀😀😀😀",
        "Matrix",
        "Toy Story",
        "iPhone 15 Pro 256GB",
        f"{ENGLISH} {GERMAN}",
        "Как пересечь реку. How to cross a river",
        "如何横渡河流。How to cross a river quickly.",
        f"{ENGLISH} " * 40 + f"{GERMAN} " * 40,
        "\ud800\ud801 broken text",
    ],
)
def test_short_mixed_or_wordless_texts_have_none(detect: LanguageDetector, text: str) -> None:
    assert detect(text) is None


def test_an_item_is_found_by_the_language_said_or_detected(shelf: Shelf) -> None:
    shelf.put("said", "Matrix", language="de")
    shelf.put("shown", "Fluss", description=GERMAN)
    shelf.put("other", "River", description=ENGLISH)
    shelf.put("short", "Matrix")
    assert shelf.language("said") == {"code": "de", "detected": False}
    assert shelf.language("shown") == {"code": "de", "detected": True}
    assert shelf.language("short") == {}
    assert shelf.found(language="de") == {"said", "shown"}
    assert shelf.found(language=["de", "en"], language_detected=True) == {"shown", "other"}
    assert shelf.found(language={"not": "de"}) == {"other", "short"}


def test_what_was_said_goes_over_what_the_text_shows(shelf: Shelf) -> None:
    shelf.put("a", GERMAN, language="gsw")
    assert shelf.language("a") == {"code": "gsw", "detected": False}


def test_the_language_follows_the_item(shelf: Shelf) -> None:
    shelf.put("a", GERMAN)
    shelf.put("a", ENGLISH)
    assert shelf.language("a") == {"code": "en", "detected": True}
    shelf.put("a", "Matrix")
    assert shelf.language("a") == {}
    assert shelf.found(language="en") == set()


def test_an_item_is_given_back_as_it_was_said(shelf: Shelf) -> None:
    shelf.put("shown", GERMAN)
    shelf.put("said", GERMAN, language="de")
    settings = Settings()
    browse = Browse(shelf.store, settings, ItemFinder(shelf.store, settings.reader, Metrics(), Clock()), Clock())
    shown, said = browse.item("shown"), browse.item("said")
    assert shown["detected_language"] == "de"
    assert "language" not in shown
    assert said["language"] == "de"
    assert "detected_language" not in said
    shelf.put(**shown)
    assert shelf.language("shown") == {"code": "de", "detected": True}, "a PUT of it says no more than was known"
    shelf.put(**{**shown, "title": ENGLISH})
    assert shelf.language("shown") == {"code": "en", "detected": True}


def test_nothing_is_detected_where_that_is_turned_off() -> None:
    assert language_detector(False)(GERMAN) is None


def test_a_missing_library_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(Misconfigured, match=r"detect_language needs py3langid.*eddyline\[embedder\].*false"):
        language_detector(True)


def test_a_collection_from_before_gets_the_index(tmp_path: Path) -> None:
    edge: Any = pytest.importorskip("eddyline.adapters.vectors.edge", reason="the extra `edge` isn't installed")
    spec = item_collection(4, Distance.COSINE, {})
    before = {path: kind for path, kind in spec.indexes.items() if not path.startswith("language.")}
    store = edge.EdgeStore(tmp_path)
    try:
        store.ensure(replace(spec, indexes={**before, "meta.language": AttributeKind.KEYWORD}))
        store.upsert(
            ITEMS, [Point(item_point_id("a"), {}, {"item_id": "a", "language": {"code": "de", "detected": True}})]
        )
        store.ensure(spec)
        page, _ = store.scroll(ITEMS, filter=parse_filter({"language": "de", "language_detected": True}, {}, NOW))
        assert [point.payload["item_id"] for point in page] == ["a"]
    finally:
        store.close()
