"""How a process wires its roles: who shares which producer and encoder, and what is refused before a start."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.fakes import FakeStore, TinyEncoder

from eddyline.adapters.kafka import ConsumeLoop, LoopOptions
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.profiler import Profiler
from eddyline.reader import ExposureLog, Reader, Search, ServedListLog
from eddyline.reader.schemas import SearchQuery
from eddyline.runtime import resources, roles, rows_mark
from eddyline.runtime.insights_role import is_installed
from eddyline.runtime.process import Runtime
from eddyline.runtime.resources import Resources
from eddyline.runtime.roles import build_search
from eddyline.runtime.startup_checks import ROLES
from eddyline.settings import (
    AffinitySettings,
    EncoderSettings,
    InsightsSettings,
    KafkaSettings,
    QdrantSettings,
    ReaderSettings,
    ServerSettings,
    Settings,
)


class Enough(Misconfigured):
    """What was to be seen is built."""


@pytest.mark.slow(20)
def test_rows_are_compared_with_items_once_by_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []
    monkeypatch.setattr(resources, "complete_rows", lambda *_, is_alone: compared.append(is_alone))
    monkeypatch.setattr(resources, "create_text_encoder", lambda *_: TinyEncoder())

    def run() -> int:
        Resources(Settings(data_dir=tmp_path / "data"), ("collector", "embedder", "affinity"), Metrics()).stack.close()
        return len(compared)

    assert run() == 1, "the first start"
    assert run() == 1
    monkeypatch.setattr(rows_mark, "LISTED_META", ("category",))
    assert run() == 2, "other fields are copied than by that version"
    assert run() == 2


def build_up_to(name: str, place: Path, monkeypatch: pytest.MonkeyPatch, **server: Any) -> tuple[Any, ...]:
    """Build an embedded process until it makes its `name`: what that is given."""
    given: list[Any] = []

    class Noting:
        topics = Profiler.topics

        def __init__(self, *positional: Any, **named: Any) -> None:
            given.extend((positional, named))
            raise Enough

    monkeypatch.setattr(resources, "create_text_encoder", lambda *_: TinyEncoder())
    monkeypatch.setattr(resources if name == "KafkaProducer" else roles, name, Noting)
    with pytest.raises(Enough):
        Runtime(
            Settings(data_dir=place, server=ServerSettings(port=0, **server)),
            [role for role in ROLES if role != "imager"],
        )
    return tuple(given)


def test_affinity_handles_at_once_what_a_batch_of_events_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int] = {}

    class Noting(ConsumeLoop[Any]):
        def __init__(self, kafka: Any, options: LoopOptions, group: str, *others: Any, **named: Any) -> None:
            sizes[group] = options.batch_size
            if group == "affinity":
                raise Enough
            super().__init__(kafka, options, group, *others, **named)

    monkeypatch.setattr(resources, "create_text_encoder", lambda *_: TinyEncoder())
    monkeypatch.setattr(roles, "ConsumeLoop", Noting)
    kafka, affinity = KafkaSettings(batch_size=7), AffinitySettings(backward_window=2)
    settings = Settings(data_dir=tmp_path, kafka=kafka, affinity=affinity, server=ServerSettings(port=0))
    with pytest.raises(Enough):
        Runtime(settings, [role for role in ROLES if role != "imager"])
    assert sizes.pop("affinity") == 21
    assert {*sizes.values()} == {7}


def test_the_producers_queue_has_room_beyond_what_a_collector_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, named = build_up_to("KafkaProducer", tmp_path, monkeypatch, max_in_flight_bytes=500_000_000)
    assert named["queue_bytes"] >= 500_000_000 + 50_000_000


def test_the_embedded_reader_tells_through_the_collectors_producer_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, named = build_up_to("Reader", tmp_path, monkeypatch)
    assert isinstance(named["exposures"], ExposureLog)
    assert isinstance(named["served_lists"], ServedListLog)


def test_insights_is_found_also_where_its_libraries_are_loaded() -> None:
    importlib.import_module("faust")  # it puts another module in its place, which can't be looked up
    assert is_installed()


def lone_reader(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[bool, bool]:
    """Whether a process that only reads tells the profiles, and the measures, what it shows."""
    given: list[bool] = []

    def noting(*_: Any, **named: Any) -> Any:
        given.extend(named[name] is not None for name in ("exposures", "served_lists"))
        raise Enough

    monkeypatch.setattr(resources, "open_store", lambda _: FakeStore())
    monkeypatch.setattr(roles, "Reader", noting)
    with pytest.raises(Enough):
        Runtime(
            Settings(qdrant=QdrantSettings(url="http://nowhere"), server=ServerSettings(port=0), **settings), ["reader"]
        )
    shown, impressions = given
    return shown, impressions


def test_a_lone_reader_without_kafka_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lone_reader(monkeypatch) == (False, False)


@pytest.mark.slow(20)
def test_a_lone_reader_starts_without_hearing_of_its_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:9")
    unshown, unmeasured = ReaderSettings(report_exposures=False), InsightsSettings(report_served_lists=False)
    assert lone_reader(monkeypatch, kafka=nowhere) == (True, True)
    assert lone_reader(monkeypatch, kafka=nowhere, reader=unshown) == (False, True)
    assert lone_reader(monkeypatch, kafka=nowhere, insights=unmeasured) == (True, False)
    assert lone_reader(monkeypatch, kafka=nowhere, reader=unshown, insights=unmeasured) == (False, False)


def test_an_imager_without_images_says_how_to_enable_them(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="EDDYLINE_IMAGES__ENABLED"):
        Runtime(Settings(data_dir=tmp_path), ROLES)


def built(wanted: bool | None, beside: TinyEncoder | None, encoder: EncoderSettings | None = None) -> Search | None:
    settings = Settings(reader=ReaderSettings(search=wanted), encoder=encoder or EncoderSettings())
    store, metrics = FakeStore(), Metrics()
    opened = SimpleNamespace(store=store, settings=settings, metrics=metrics, text_encoder=beside, image_encoder=None)
    return build_search(cast(Resources, opened), Reader(store, settings, metrics))


@pytest.mark.parametrize("wanted", [None, True])
def test_beside_an_embedder_its_encoder_is_shared(wanted: bool | None) -> None:
    encoder = TinyEncoder()
    search = built(wanted, encoder)
    assert search is not None
    search.find(SearchQuery(q="starship"))
    assert encoder.texts == ["starship"]


def test_a_reader_alone_loads_an_encoder_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TinyEncoder()
    monkeypatch.setattr(roles, "create_text_encoder", lambda *_: own)
    assert built(None, None) is None
    assert built(False, None) is None
    assert built(False, TinyEncoder()) is None
    search = built(True, None)
    assert search is not None
    search.find(SearchQuery(q="starship"))
    assert own.texts == ["starship"]


@pytest.mark.xdist_group("torch")
@pytest.mark.slow(60)
def test_an_encoder_that_cannot_be_had_stops_the_start() -> None:
    pytest.importorskip("sentence_transformers", reason="the extra `embedder` isn't installed")
    with pytest.raises(Misconfigured, match=r"encoder\.model"):
        built(True, None, EncoderSettings(model="./no such model"))
