"""An encoder in another process: `eddyline encoder`, and what asks it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr
from tests.support.endpoint import FakeEndpoint, serving
from tests.support.fakes import TinyEncoder, near, text_vector

from eddyline.adapters.encoders import HttpEncoder, RetryingEncoder, TextEncoder, create_text_encoder
from eddyline.adapters.http import HttpServer, create_app
from eddyline.adapters.telemetry import Metrics
from eddyline.encoder.api import BODIES, router
from eddyline.errors import Misconfigured, Unavailable
from eddyline.runtime.process import Runtime
from eddyline.settings import EncoderSettings, Settings

KEY = SecretStr("between-us")


@contextmanager
def running(encoder: TextEncoder, key: SecretStr | None = None, limit: int = 100_000) -> Iterator[str]:
    """The service's URL."""
    server = HttpServer(create_app([router(encoder, key, limit)], {}, Metrics(), BODIES), "127.0.0.1", 0)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        server.join()


class Asking:
    """Makes encoders that ask, and closes them."""

    def __init__(self) -> None:
        self.made: list[HttpEncoder] = []

    def __call__(self, url: str, **settings: Any) -> HttpEncoder:
        encoder = HttpEncoder(EncoderSettings(kind="http", url=url, **settings), Metrics(), sleep=lambda _: None)
        self.made.append(encoder)
        return encoder


@pytest.fixture
def asking() -> Iterator[Asking]:
    asking = Asking()
    yield asking
    for encoder in asking.made:
        encoder.close()


def test_vectors_are_those_of_the_other_process(asking: Asking) -> None:
    own = TinyEncoder("tiny-t1")
    with running(own) as url:
        encoder = asking(url, batch_size=2)
        assert (encoder.dimension, encoder.model, encoder.space) == (16, own.model, own.space)
        texts = ["a film", "ein Buch", "песня"]
        near(encoder.encode(texts), [text_vector(text) for text in texts])
        assert encoder.encode([]).shape == (0, 16)


def test_another_distance_by_now_is_refused(asking: Asking) -> None:
    with serving() as endpoint:
        endpoint.answer = lambda request: (
            200,
            {"model": "tiny", "dimension": 2, "distance": "dot", "vectors": [[3, 4]]},
        )
        encoder = asking(endpoint.url, distance="dot")
        near(encoder.encode(["a film"]), [[3.0, 4.0]])
        endpoint.answer = lambda request: (200, {"model": "tiny", "distance": "cosine", "vectors": [[0.6, 0.8]]})
        with pytest.raises(Misconfigured, match="distance 'cosine' by now"):
            encoder.encode(["a film"])


def test_for_another_distance_vectors_keep_their_length_and_both_must_mean_it(asking: Asking) -> None:
    own = TinyEncoder("dot+tiny-t1")
    with running(own) as url:
        encoder = asking(url, distance="dot")
        assert encoder.space == "dot+tiny-t1"
        near(encoder.encode(["a film"]), own.encode(["a film"]))
        assert np.linalg.norm(encoder.encode(["a film"])) == pytest.approx(2.0)
        assert httpx.get(f"{url}/v1/encoder").json()["distance"] == "dot"
        with pytest.raises(Misconfigured, match=r"distance .dot., encoder\.distance is .cosine.: set the same"):
            asking(url)


def test_the_settings_name_it() -> None:
    with running(TinyEncoder()) as url:
        made = create_text_encoder(Settings(encoder=EncoderSettings(kind="http", url=url)), Metrics())
        assert isinstance(made, HttpEncoder)
        made.close()


def test_with_a_key_only_who_has_it_is_answered(asking: Asking) -> None:
    with running(TinyEncoder(), KEY) as url:
        near(asking(url, api_key=KEY).encode(["a film"])[0], text_vector("a film"))
        for wrong in ({}, {"api_key": SecretStr("guessed")}):
            with pytest.raises(Misconfigured, match=r"answered 401.*encoder\.api_key"):
                asking(url, **wrong)
        refused = httpx.post(f"{url}/v1/encoder/encode", json={"texts": ["a"]})
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_batch_that_is_too_large_for_a_request_goes_in_parts(asking: Asking) -> None:
    with running(TinyEncoder(), limit=3000) as url:
        texts = [f"{number} " + "word " * 200 for number in range(8)]
        near(asking(url, batch_size=8).encode(texts), [text_vector(text) for text in texts])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "texts"),
        ({"texts": []}, "texts"),
        ({"texts": "one"}, "texts"),
        ({"texts": [1]}, "texts.0"),
        ({"texts": ["a"], "model": "x"}, "model"),
    ],
)
def test_a_wrong_request_is_refused_by_field(body: dict[str, Any], field: str) -> None:
    with running(TinyEncoder()) as url:
        answer = httpx.post(f"{url}/v1/encoder/encode", json=body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving() as found:
        found.answer = lambda _: (200, {"model": "m", "dimension": 2})
        yield found


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ([], "doesn't answer with an object"),
        ({"model": "m"}, "dimension None"),
        ({"model": "m", "dimension": 0}, "dimension 0"),
        ({"dimension": 2}, "model None"),
        ({"model": "a b", "dimension": 2}, "model 'a b'"),
    ],
)
def test_what_is_no_encoder_is_refused(asking: Asking, endpoint: FakeEndpoint, said: Any, complaint: str) -> None:
    endpoint.answer = lambda _: (200, said)
    with pytest.raises(Misconfigured, match=complaint):
        asking(endpoint.url)


def test_a_model_that_changes_meanwhile_is_noticed(asking: Asking, endpoint: FakeEndpoint) -> None:
    encoder = asking(endpoint.url)
    endpoint.answer = lambda _: (200, {"model": "other", "vectors": [[1, 0]]})
    with pytest.raises(Misconfigured, match="has model 'other' by now"):
        encoder.encode(["a film"])
    endpoint.answer = lambda _: (200, {"model": "m", "vectors": [[1, 0, 0]]})
    with pytest.raises(Misconfigured, match="3 dimensions, at the start it was 2"):
        encoder.encode(["a film"])


def test_a_process_that_is_gone_is_unavailable(asking: Asking) -> None:
    with pytest.raises(Unavailable, match="can't be reached"):
        asking("http://127.0.0.1:9", attempts=1)


def test_a_text_that_is_too_much_for_a_request_is_cut(asking: Asking) -> None:
    with running(TinyEncoder(), limit=3000) as url:
        encoder = asking(url)
        rows = encoder.encode(["a film", "word " * 1000])
        near(rows[0], text_vector("a film"))
        near(rows[1], text_vector("word"))


def test_work_that_is_long_waits_for_an_encoder_that_is_away() -> None:
    class Away(TinyEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if len(self.texts) < 3:
                self.texts.append("asked")
                raise Unavailable("it restarts")
            return super().encode(texts)

    said: list[str] = []
    pauses: list[float] = []
    patient = RetryingEncoder(Away(), said.append, pauses.append)
    near(patient.encode(["a film"])[0], text_vector("a film"))
    assert pauses == [1, 2, 4]
    assert said == ["waiting for the encoder: it restarts"] * 3
    assert (patient.space, patient.model, patient.dimension) == ("tiny-t1", "tiny", 16)


def test_its_patience_ends() -> None:
    class Gone(TinyEncoder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise Unavailable("it is gone")

    pauses: list[float] = []
    with pytest.raises(Unavailable, match="it is gone"):
        RetryingEncoder(Gone(), lambda _: None, pauses.append).encode(["a film"])
    assert sum(pauses) >= 900


def test_an_encoder_that_would_only_ask_another_is_refused() -> None:
    with pytest.raises(Misconfigured, match="only ask another"):
        Runtime(Settings(encoder=EncoderSettings(kind="http", url="http://127.0.0.1:9")), ["encoder"])
