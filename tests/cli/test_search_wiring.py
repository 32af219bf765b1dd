"""Which process searches, and with whose encoder."""

from __future__ import annotations

import pytest
from tests.support.fakes import FakeStore, TinyEncoder

from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.reader import Reader, Search
from eddyline.reader.browse_requests import SearchQuery
from eddyline.runtime import process as runtime
from eddyline.runtime.process import build_search
from eddyline.settings import EncoderSettings, ReaderSettings, Settings


def built(wanted: bool | None, beside: TinyEncoder | None, encoder: EncoderSettings | None = None) -> Search | None:
    settings = Settings(reader=ReaderSettings(search=wanted), encoder=encoder or EncoderSettings())
    store, metrics = FakeStore(), Metrics()
    return build_search(store, settings, Reader(store, settings, metrics), beside, metrics)


@pytest.mark.parametrize("wanted", [None, True])
def test_beside_an_embedder_its_encoder_is_shared(wanted: bool | None) -> None:
    encoder = TinyEncoder()
    search = built(wanted, encoder)
    assert search is not None
    search.find(SearchQuery(q="starship"))
    assert encoder.texts == ["starship"]


def test_a_reader_alone_loads_an_encoder_only_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TinyEncoder()
    monkeypatch.setattr(runtime, "create_text_encoder", lambda *_: own)
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
