"""Encoders in other processes, over real HTTP: an endpoint of OpenAI's kind, and `eddyline encoder`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr, ValidationError
from tests.support.embedding_api import embeddings
from tests.support.endpoint import Answer, FakeEndpoint, Request, serving
from tests.support.fakes import TinyEncoder, near, text_vector

from eddyline.adapters.encoders import RemoteEncoder, RetryingEncoder, TextEncoder, create_text_encoder
from eddyline.adapters.encoders.vector_cache import VectorCache
from eddyline.adapters.http import AccessControl, HttpServer, KeyRing, create_app, listen
from eddyline.adapters.http.keys import serving_key
from eddyline.adapters.telemetry import Metrics
from eddyline.encoder.api import BODIES, router
from eddyline.errors import Misconfigured, Unavailable
from eddyline.runtime.process import Runtime
from eddyline.settings import EncoderSettings, Settings

KEY = "sk-not-for-anyone"
SERVING_KEY = SecretStr("between-us")


@contextmanager
def running(encoder: TextEncoder, key: SecretStr | None = None, limit: int = 100_000) -> Iterator[str]:
    """The service's URL."""
    metrics = Metrics()
    keys = [] if key is None else [serving_key(key.get_secret_value())]
    access = AccessControl(KeyRing(Path("no keys.toml"), metrics, keys))
    app = create_app([router(encoder, limit)], {}, metrics, BODIES, access=access)
    server = HttpServer(app, listen("127.0.0.1", 0))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()
        server.join()


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving() as found:
        found.answer = embeddings
        yield found


class World:
    """Makes encoders of one endpoint; keeps how long they waited."""

    def __init__(self, endpoint: FakeEndpoint, directory: Path) -> None:
        self.endpoint, self.directory = endpoint, directory
        self.metrics, self.pauses = Metrics(), list[float]()
        self.made: list[RemoteEncoder] = []

    def encoder(self, **settings: Any) -> RemoteEncoder:
        """By default of the endpoint, as OpenAI's."""
        given: dict[str, Any] = {"model": "small", "url": f"{self.endpoint.url}/v1", "api_key": SecretStr(KEY)}
        made = EncoderSettings(**({"kind": "openai", "cache_dir": self.directory} | given | settings))
        encoder = RemoteEncoder(made, self.metrics, sleep=self.pauses.append)
        self.made.append(encoder)
        return encoder

    def asking(self, url: str = "", **settings: Any) -> RemoteEncoder:
        """Of `eddyline encoder`, or of the endpoint as it."""
        return self.encoder(**({"kind": "http", "url": url or self.endpoint.url, "api_key": None} | settings))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def asked(self) -> list[list[str]]:
        """The texts of each request but the first, which learns the dimensions."""
        return [request.body["input"] for request in self.endpoint.requests][1:]


@pytest.fixture
def world(endpoint: FakeEndpoint, tmp_path: Path) -> Iterator[World]:
    world = World(endpoint, tmp_path)
    yield world
    for encoder in world.made:
        encoder.close()


def test_texts_become_vectors_of_unit_length_in_their_order(world: World) -> None:
    encoder = world.encoder(batch_size=2)
    rows = encoder.encode(["a film", "a book", "a song"])
    assert rows.dtype == np.float32
    near(rows, [text_vector(text) for text in ("a film", "a book", "a song")])
    assert world.asked() == [["a film", "a book"], ["a song"]]
    assert encoder.dimension == 16
    assert encoder.encode([]).shape == (0, 16)


@pytest.mark.parametrize("distance", ["dot", "euclid"])
def test_for_other_distances_vectors_keep_their_length_in_the_cache_too(world: World, distance: str) -> None:
    raw = 3 * np.asarray([text_vector("a film")])
    world.encoder().encode(["a film"])
    encoder = world.encoder(distance=distance)
    assert encoder.space.startswith(f"{distance}+")
    near(encoder.encode(["a film"]), raw)
    near(world.encoder(distance=distance).encode(["a film"]), raw)
    near(world.encoder().encode(["a film"]), raw / 3)
    texts = [text for request in world.endpoint.requests for text in request.body["input"]]
    assert texts.count("a film") == 2


def test_the_request_is_as_openai_documents_it(world: World) -> None:
    world.encoder(dimensions=16).encode(["a film"])
    request = world.endpoint.requests[-1]
    assert (request.method, request.path) == ("POST", "/v1/embeddings")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {"model": "small", "input": ["a film"], "encoding_format": "float", "dimensions": 16}


def test_nothing_is_paid_for_twice_not_even_after_a_restart(world: World) -> None:
    first = world.encoder()
    before = first.encode(["a film", "a book", "a film"])
    first.close()
    again = world.encoder()
    near(again.encode(["a book", "a film"]), before[[1, 0]])
    assert world.asked() == [["a film", "a book"], ["eddyline"]]  # the latter at each start
    assert world.value("eddyline_encoder_cached_total") == 2
    assert world.value("eddyline_encoder_tokens_total") == 6


def test_another_model_or_length_is_another_space_with_nothing_in_the_cache(world: World) -> None:
    spaces = set()
    for settings in ({"model": "small"}, {"model": "large"}, {"model": "small", "dimensions": 16}):
        encoder = world.encoder(**settings)
        encoder.encode(["a film"])
        spaces.add(encoder.space)
    assert len(spaces) == 3
    assert [request.body["input"] for request in world.endpoint.requests].count(["a film"]) == 3


def test_without_a_cache_every_text_is_sent(world: World) -> None:
    encoder = world.encoder(cache_entries=0)
    encoder.encode(["a film"])
    encoder.encode(["a film"])
    assert world.asked() == [["a film"], ["a film"]]
    assert list(world.directory.iterdir()) == []


def test_the_cache_holds_no_more_than_it_may(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite", 100)
    keys = [VectorCache.key("m", str(number)) for number in range(250)]
    for start in range(0, 250, 25):
        cache.put({key: np.ones(3, dtype=np.float32) for key in keys[start : start + 25]})
    found = cache.get(keys)
    assert 80 <= len(found) <= 100
    assert keys[-1] in found
    assert keys[0] not in found


def test_a_damaged_cache_stops_nobody(world: World) -> None:
    (world.directory / "vectors.sqlite").write_bytes(b"rubbish" * 1000)
    encoder = world.encoder()
    near(encoder.encode(["a film"])[0], text_vector("a film"))


@pytest.mark.parametrize("other", [[1.0] * 16, [1.0] * 8])
def test_another_model_under_the_same_name_is_noticed_at_the_start(world: World, other: list[float]) -> None:
    world.encoder().close()
    world.endpoint.answer = lambda _: (200, {"data": [{"index": 0, "embedding": other}]})
    with pytest.raises(Misconfigured, match=r"has another model\. Delete .*vectors\.sqlite"):
        world.encoder()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_request_that_fails_is_made_again(world: World, status: int) -> None:
    encoder = world.encoder()
    world.endpoint.script = [(status, {"error": {"message": "busy"}}), (status, b"<html>")]
    near(encoder.encode(["a film"])[0], text_vector("a film"))
    assert len(world.pauses) == 2
    assert 0 < world.pauses[0] < world.pauses[1] * 2
    assert world.value("eddyline_encoder_failures_total", reason=str(status)) == 2


def test_it_waits_as_long_as_the_endpoint_says(world: World) -> None:
    encoder = world.encoder()
    world.endpoint.script = [(429, {}, {"Retry-After": "3"}), (429, {}, {"Retry-After": "3600"})]
    encoder.encode(["a film"])
    assert world.pauses[0] == 3
    assert world.pauses[1] <= 8


def test_after_its_attempts_it_is_unavailable(world: World) -> None:
    encoder = world.encoder(attempts=2)
    world.endpoint.answer = lambda _: (503, {"error": {"message": "overloaded"}})
    with pytest.raises(Unavailable, match=r"answered 503: overloaded \(2 attempts\)"):
        encoder.encode(["a film"])


def test_an_endpoint_that_is_slow_or_gone_is_unavailable(world: World) -> None:
    encoder = world.encoder(attempts=1, timeout_seconds=0.2)
    held = threading.Event()

    def slowly(request: Request) -> Answer:
        held.wait(10)
        return embeddings(request)

    world.endpoint.answer = slowly
    with pytest.raises(Unavailable, match="no answer in time"):
        encoder.encode(["a film"])
    held.set()
    with pytest.raises(Unavailable, match="can't be reached"):
        world.encoder(attempts=1, url="http://127.0.0.1:9/v1", cache_entries=0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_address_is_a_setting_to_mend(
    world: World, status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    world.endpoint.answer = lambda _: (status, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with caplog.at_level(logging.DEBUG), pytest.raises(Misconfigured) as caught:
        world.encoder()
    assert f"answered {status}" in str(caught.value)
    assert "encoder." in str(caught.value)
    said = "".join(
        [str(caught.value), caplog.text, *capsys.readouterr(), repr(EncoderSettings(api_key=SecretStr(KEY)))]
    )
    assert KEY not in said


def test_a_text_that_is_too_long_is_cut_and_counted_and_delays_no_other(world: World) -> None:
    encoder = world.encoder()
    long = "word " * 200
    rows = encoder.encode(["a film", long, "a book"])
    near(rows[0], text_vector("a film"))
    near(rows[2], text_vector("a book"))
    near(rows[1], text_vector(long[:250]))
    assert world.value("eddyline_encoder_truncated_total") == 1


def test_a_server_that_says_too_long_with_a_500_is_understood(world: World) -> None:
    encoder = world.encoder()

    def as_llama(request: Request) -> Answer:
        answer = embeddings(request)
        said = "input is too large to process. increase the physical batch size"
        return answer if answer[0] == 200 else (500, {"error": {"code": 500, "message": said}})

    world.endpoint.answer = as_llama
    near(encoder.encode(["word " * 200, "a film"])[1], text_vector("a film"))
    assert world.value("eddyline_encoder_truncated_total") == 1


def test_a_batch_that_is_not_done_in_time_goes_in_halves(world: World) -> None:
    encoder, held = world.encoder(attempts=1, timeout_seconds=0.3), threading.Event()

    def slow(request: Request) -> Answer:
        if len(request.body["input"]) > 1:
            held.wait(10)
        return embeddings(request)

    world.endpoint.answer = slow
    near(encoder.encode(["a film", "a book"]), [text_vector("a film"), text_vector("a book")])
    held.set()


def test_a_text_with_nothing_in_it_stops_nothing(world: World) -> None:
    encoder = world.encoder()
    assert encoder.encode(["a film", " ", ""]).shape == (3, 16)
    assert all(text.strip() for batch in world.asked() for text in batch)


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}\r\n"])
def test_a_keys_line_end_is_left_out(world: World, key: str) -> None:
    world.encoder(api_key=SecretStr(key))
    assert world.endpoint.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["", "  ", f"{KEY} {KEY}", f"{KEY}ü", f"{KEY}\n{KEY}"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(world: World, key: str) -> None:
    with pytest.raises(Misconfigured, match="can't be a key") as caught:
        world.encoder(api_key=SecretStr(key))
    assert KEY not in str(caught.value)


def test_a_query_in_the_address_is_sent(world: World) -> None:
    world.encoder(url=f"{world.endpoint.url}/openai?api-version=1")
    assert world.endpoint.requests[-1].path == "/openai/embeddings?api-version=1"


def test_a_text_that_is_never_taken_is_named(world: World) -> None:
    encoder = world.encoder()
    world.endpoint.answer = lambda _: (400, {"error": {"message": "not allowed"}})
    with pytest.raises(Misconfigured, match=r"even cut to .* characters: .*not allowed"):
        encoder.encode(["word " * 100])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda _: [], "doesn't answer as OpenAI's API does"),
        (lambda _: {"data": "no"}, "doesn't answer as OpenAI's API does"),
        (lambda answer: {"data": answer["data"][:1]}, "1 vectors for 2 texts"),
        (
            lambda answer: {"data": [one | {"embedding": [float("inf")] * 16} for one in answer["data"]]},
            "aren't finite",
        ),
        (lambda answer: {"data": [one | {"embedding": [1, 2]} for one in answer["data"]]}, "2 dimensions"),
        (lambda answer: {"data": [one | {"embedding": "AAAA"} for one in answer["data"]]}, "doesn't return vectors"),
    ],
)
def test_an_answer_that_cant_be_is_refused(world: World, change: Callable[[Any], Any], complaint: str) -> None:
    encoder = world.encoder()
    world.endpoint.answer = lambda request: (200, change(embeddings(request)[1]))
    with pytest.raises(Misconfigured, match=complaint):
        encoder.encode(["a film", "a book"])
    world.endpoint.answer = lambda _: (200, b"<html>Welcome</html>")
    with pytest.raises(Misconfigured, match="doesn't answer with JSON"):
        encoder.encode(["a song"])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"kind": "openai", "model": "small"}, "needs url"),
        ({"kind": "openai", "url": "http://x/v1"}, "needs model"),
        ({"kind": "http"}, "needs url"),
        ({"dimensions": 3}, "dimensions is for kind = 'openai'"),
    ],
)
def test_settings_that_say_too_little_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        EncoderSettings(**settings)


@pytest.mark.parametrize("url", ["ftp://x", "//x"])
def test_a_url_that_cant_be_used_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(Misconfigured, match=r"encoder\.url"):
        RemoteEncoder(EncoderSettings(kind="openai", model="m", url=url, cache_dir=tmp_path), Metrics())


def test_the_settings_name_the_encoder(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    wanted = EncoderSettings(kind="openai", model="small", url=endpoint.url, cache_dir=tmp_path)
    made = create_text_encoder(Settings(encoder=wanted), Metrics())
    assert isinstance(made, RemoteEncoder)
    assert (tmp_path / "vectors.sqlite").exists()
    made.close()


# -- `eddyline encoder` ----------------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_other_process(world: World) -> None:
    own = TinyEncoder("tiny-t2")
    with running(own) as url:
        encoder = world.asking(url, batch_size=2)
        assert (encoder.dimension, encoder.model, encoder.space) == (16, own.model, own.space)
        texts = ["a film", "ein Buch", "песня"]
        near(encoder.encode(texts), [text_vector(text) for text in texts])
        assert encoder.encode([]).shape == (0, 16)


def test_another_distance_by_now_is_refused(world: World) -> None:
    world.endpoint.answer = lambda _: (
        200,
        {"model": "tiny", "dimension": 2, "distance": "dot", "vectors": [[3, 4]]},
    )
    encoder = world.asking(distance="dot")
    near(encoder.encode(["a film"]), [[3.0, 4.0]])
    world.endpoint.answer = lambda _: (200, {"model": "tiny", "distance": "cosine", "vectors": [[0.6, 0.8]]})
    with pytest.raises(Misconfigured, match="distance 'cosine' by now"):
        encoder.encode(["a film"])


def test_for_another_distance_vectors_keep_their_length_and_both_must_mean_it(world: World) -> None:
    own = TinyEncoder("dot+tiny-t2")
    with running(own) as url:
        encoder = world.asking(url, distance="dot")
        assert encoder.space == "dot+tiny-t2"
        near(encoder.encode(["a film"]), own.encode(["a film"]))
        assert np.linalg.norm(encoder.encode(["a film"])) == pytest.approx(2.0)
        assert httpx.get(f"{url}/v1/encoder").json()["distance"] == "dot"
        with pytest.raises(Misconfigured, match=r"distance .dot., encoder\.distance is .cosine.: set the same"):
            world.asking(url)


def test_the_settings_name_the_other_process() -> None:
    with running(TinyEncoder()) as url:
        made = create_text_encoder(Settings(encoder=EncoderSettings(kind="http", url=url)), Metrics())
        assert isinstance(made, RemoteEncoder)
        assert made.model == "tiny"
        made.close()


def test_with_a_key_only_who_has_it_is_answered(world: World) -> None:
    with running(TinyEncoder(), SERVING_KEY) as url:
        near(world.asking(url, api_key=SERVING_KEY).encode(["a film"])[0], text_vector("a film"))
        for wrong in ({}, {"api_key": SecretStr("guessed")}):
            with pytest.raises(Misconfigured, match=r"answered 401.*encoder\.api_key"):
                world.asking(url, **wrong)
        refused = httpx.post(f"{url}/v1/encoder/encode", json={"texts": ["a"]})
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_batch_that_is_too_large_for_a_request_goes_in_parts(world: World) -> None:
    with running(TinyEncoder(), limit=3000) as url:
        texts = [f"{number} " + "word " * 200 for number in range(8)]
        near(world.asking(url, batch_size=8).encode(texts), [text_vector(text) for text in texts])


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
def test_what_is_no_encoder_is_refused(world: World, said: Any, complaint: str) -> None:
    world.endpoint.answer = lambda _: (200, said)
    with pytest.raises(Misconfigured, match=complaint):
        world.asking()


def test_a_model_that_changes_meanwhile_is_noticed(world: World) -> None:
    world.endpoint.answer = lambda _: (200, {"model": "m", "dimension": 2})
    encoder = world.asking()
    world.endpoint.answer = lambda _: (200, {"model": "other", "vectors": [[1, 0]]})
    with pytest.raises(Misconfigured, match="has model 'other' by now"):
        encoder.encode(["a film"])
    world.endpoint.answer = lambda _: (200, {"model": "m", "vectors": [[1, 0, 0]]})
    with pytest.raises(Misconfigured, match="3 dimensions, at the start it was 2"):
        encoder.encode(["a film"])


def test_a_text_that_is_too_much_for_a_request_is_cut(world: World) -> None:
    with running(TinyEncoder(), limit=3000) as url:
        encoder = world.asking(url)
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
