"""The server's store: how it asks, and what it makes of refusals."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import orjson
import pytest
from tests.support.endpoint import serving
from tests.support.qdrant_rest import QdrantRest, Seen
from tests.vectors.worlds import SPEC, dense, ids, payload_of, point, sparse

from eddyline.adapters.vectors import (
    Filter,
    Nearest,
    Query,
    Range,
    VectorStore,
    profile_collection,
    rest_client,
)
from eddyline.adapters.vectors.server_store import ServerStore
from eddyline.errors import EddylineError, Misconfigured, TooLarge, Unavailable
from eddyline.model.ids import item_point_id

CALLS: list[Callable[[VectorStore], object]] = [
    lambda store: store.ensure(SPEC),
    lambda store: store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)})]),
    lambda store: store.update_vectors(SPEC.name, {item_point_id("a"): {"taste": dense(1, 2, 3, 4)}}),
    lambda store: store.set_payload(SPEC.name, {item_point_id("a"): {"x": 1}}),
    lambda store: store.delete_payload(SPEC.name, ids("a"), ["x"]),
    lambda store: store.delete(SPEC.name, ids("a")),
    lambda store: store.delete_matching(SPEC.name, Filter()),
    lambda store: store.retrieve(SPEC.name, ids("a")),
    lambda store: store.query(SPEC.name, [Query(Nearest(sparse({1: 1.0}), "affinity"), 1)]),
    lambda store: store.scroll(SPEC.name),
    lambda store: store.count(SPEC.name),
    lambda store: store.set_aliases({"live": SPEC.name}),
    lambda store: store.aliases(),
    lambda store: store.collections(),
    lambda store: store.drop("elsewhere"),
    lambda store: store.check(),
]


def _writes(requests: list[Seen]) -> list[Seen]:
    reads = ("/points", "/points/query/batch", "/points/scroll", "/points/count")
    return [
        each
        for each in requests
        if "/points" in each.path and not (each.method == "POST" and each.path.endswith(reads))
    ]


def test_every_request_refuses_compression(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    for call in CALLS:
        call(rest_store)
    assert len(qdrant_rest.seen) >= len(CALLS)
    assert {each.headers["accept-encoding"] for each in qdrant_rest.seen} == {"identity"}


def test_every_write_waits_until_it_is_durable(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    for call in CALLS:
        call(rest_store)
    writes = _writes(qdrant_rest.seen)
    assert len(writes) >= 5
    assert {each.parameters.get("wait") for each in writes} == {"true"}


def test_upserts_are_columnar_and_at_most_200_points(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(SPEC)
    qdrant_rest.seen.clear()
    rest_store.upsert(SPEC.name, [point(f"n{i}", {"taste": dense(1, 2, 3, i)}, n=i) for i in range(450)])
    bodies = [orjson.loads(each.body) for each in qdrant_rest.seen]
    assert [len(body["batch"]["ids"]) for body in bodies] == [200, 200, 50]
    assert [len(body["batch"]["vectors"]["taste"]) for body in bodies] == [200, 200, 50]


def test_conditions_travel_with_every_part_of_a_batch(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(SPEC)
    qdrant_rest.seen.clear()
    batch = [point("a", {"taste": dense(1, 2, 3, 4)}), point("b")]
    rest_store.upsert(SPEC.name, batch, condition=Filter(must_not=(Range("epoch", gt=5),)))
    rest_store.upsert(SPEC.name, batch, insert_only=True)
    bodies = [orjson.loads(each.body) for each in qdrant_rest.seen]
    assert [("update_filter" in body, body.get("update_mode")) for body in bodies] == [
        (True, None),
        (True, None),
        (False, "insert_only"),
        (False, "insert_only"),
    ]


def test_profiles_are_never_indexed(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(profile_collection())
    created = next(orjson.loads(each.body) for each in qdrant_rest.seen if each.method == "PUT")
    assert not created["vectors"]
    assert created["optimizers_config"] == {"indexing_threshold": 0}


def test_a_searched_vector_leaves_the_collection_indexed(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(SPEC)
    created = next(orjson.loads(each.body) for each in qdrant_rest.seen if each.method == "PUT")
    assert "optimizers_config" not in created
    assert "hnsw_config" not in created["vectors"]["content"]


def test_two_prefixes_share_a_server(qdrant_rest: QdrantRest) -> None:
    stores = [ServerStore(qdrant_rest.url, prefix=prefix) for prefix in ("one-", "two-")]
    for n, store in enumerate(stores):
        store.ensure(SPEC)
        store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)}, n=n)])
    assert [payload_of(store, "a") for store in stores] == [{"n": 0}, {"n": 1}]
    stores[0].set_aliases({"live": SPEC.name})
    stores[1].set_aliases({"live": SPEC.name, "more": SPEC.name})
    stores[1].drop(SPEC.name)
    assert [store.aliases() for store in stores] == [{"live": SPEC.name}, {}]
    assert [store.collections() for store in stores] == [[SPEC.name], []]
    for store in stores:
        store.close()


def test_aliases_change_in_one_request(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(SPEC)
    rest_store.set_aliases({"old": SPEC.name})
    qdrant_rest.seen.clear()
    rest_store.set_aliases({"live": SPEC.name, "old": None})
    changes = [orjson.loads(each.body)["actions"] for each in qdrant_rest.seen if each.method == "POST"]
    assert [[*action] for actions in changes for action in actions] == [["create_alias"], ["delete_alias"]]
    assert len(changes) == 1


# Refusals


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_down_is_unavailable(call: Callable[[VectorStore], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = ServerStore(f"http://127.0.0.1:{port}", "secret-key", 2.0)
    with pytest.raises(Unavailable, match=f"127.0.0.1:{port}") as error:
        call(store)
    assert "secret-key" not in str(error.value)
    store.close()


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_does_not_answer_is_unavailable(call: Callable[[VectorStore], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = ServerStore(f"http://127.0.0.1:{silent.getsockname()[1]}", None, 0.05)
        with pytest.raises(Unavailable, match="in time"):
            call(store)
        store.close()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
@pytest.mark.parametrize("call", CALLS)
def test_a_server_in_trouble_is_unavailable(
    rest_store: VectorStore, qdrant_rest: QdrantRest, call: Callable[[VectorStore], object], status: int
) -> None:
    rest_store.ensure(SPEC)
    qdrant_rest.fail_with = status
    with pytest.raises(Unavailable, match=f"{status}.*asked to fail"):
        call(rest_store)
    qdrant_rest.fail_with = None


def test_another_refusal_is_a_bug_and_says_what_qdrant_said(rest_store: VectorStore) -> None:
    rest_store.ensure(SPEC)
    for name, vector in (("taste", dense(1, 2)), ("unknown", dense(1, 2, 3, 4))):
        with pytest.raises(EddylineError, match=f"400.*{name}") as error:
            rest_store.upsert(SPEC.name, [point("a", {name: vector})])
        assert not isinstance(error.value, Unavailable | Misconfigured)


@pytest.mark.parametrize("known", [True, False], ids=["not sent", "refused with a 413"])
def test_a_request_that_is_too_large_is_halved(
    rest_store: VectorStore, qdrant_rest: QdrantRest, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    limit = 4_000
    monkeypatch.setattr(rest_client, "MAX_REQUEST_BYTES", limit if known else 2**25)
    monkeypatch.setattr(qdrant_rest, "max_bytes", limit)
    rest_store.ensure(SPEC)
    names = [f"item {n}" for n in range(50)]
    points = [point(name, {"taste": dense(1, 2, 3, 4)}, text="x" * 300) for name in names]
    qdrant_rest.seen.clear()
    rest_store.upsert(SPEC.name, points)
    rest_store.set_payload(SPEC.name, {each: {"more": "y" * 300} for each in ids(*names)})
    stored = rest_store.retrieve(SPEC.name, ids(*names))
    assert len(stored) == 50
    assert all(len(each.payload["text"]) == len(each.payload["more"]) == 300 for each in stored.values())
    assert any(len(each.body) > limit for each in qdrant_rest.seen) is not known


def test_a_point_that_fits_into_no_request_is_named_too_large(
    rest_store: VectorStore, qdrant_rest: QdrantRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant_rest, "max_bytes", 4_000)
    rest_store.ensure(SPEC)
    small, large = (point(name, {"taste": dense(1, 2, 3, 4)}, text="x" * n) for name, n in (("a", 1), ("b", 5_000)))
    with pytest.raises(TooLarge, match="413"):
        rest_store.upsert(SPEC.name, [small, large])
    assert rest_store.retrieve(SPEC.name, ids("a", "b")).keys() == set(ids("a")), "what fits is there"


def test_an_update_refused_for_another_reason_is_not_repeated(rest_store: VectorStore, qdrant_rest: QdrantRest) -> None:
    rest_store.ensure(SPEC)
    rest_store.upsert(SPEC.name, [point("a", {"taste": dense(1, 2, 3, 4)})])
    qdrant_rest.seen.clear()
    with pytest.raises(EddylineError, match="400"):
        rest_store.update_vectors(SPEC.name, {item_point_id("a"): {"taste": dense(1, 2)}})
    assert len(_writes(qdrant_rest.seen)) == 1


def test_an_answer_that_is_not_qdrants_is_an_error_that_names_the_address() -> None:
    with serving() as endpoint:
        store = ServerStore(endpoint.url)
        for answer in (b"<html>Welcome</html>", {"detail": "ok"}):
            endpoint.answer = lambda _, answer=answer: (200, answer)  # type: ignore[misc]
            for call in CALLS[:-1]:
                with pytest.raises(EddylineError, match=f"{endpoint.url}.* answer as Qdrant"):
                    call(store)
        endpoint.answer = lambda _: (200, {"result": {"number": "many"}})
        with pytest.raises(EddylineError, match=f"{endpoint.url}.* answer as Qdrant"):
            store.count(SPEC.name)
        store.close()


def test_every_call_goes_below_the_urls_path_with_its_credentials() -> None:
    with serving() as endpoint:
        endpoint.answer = lambda _: (503, {})
        store = ServerStore(endpoint.url.replace("//", "//user:hidden@") + "/shared/qdrant/")
        for call in CALLS:
            with pytest.raises(Unavailable):
                call(store)
        store.close()
    assert len(endpoint.requests) == len(CALLS)
    assert all(each.path.startswith("/shared/qdrant/") for each in endpoint.requests)
    assert {each.headers["authorization"] for each in endpoint.requests} == {"Basic dXNlcjpoaWRkZW4="}


def test_the_key_is_sent_and_a_wrong_one_is_a_matter_of_settings(qdrant_rest: QdrantRest) -> None:
    qdrant_rest.api_key = "right"
    right = ServerStore(qdrant_rest.url, "right", prefix="key-")
    right.ensure(SPEC)
    assert right.count(SPEC.name) == 0
    for key in ("wrong-key", None):
        store = ServerStore(qdrant_rest.url, key, prefix="key-")
        with pytest.raises(Misconfigured, match="API key") as error:
            store.count(SPEC.name)
        assert "wrong-key" not in str(error.value)
        store.close()
    right.close()


@pytest.mark.parametrize("url", ["localhost:6333", "ftp://host", "http://", "", "/path"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="URL"):
        ServerStore(url)


def test_a_password_in_the_url_is_not_repeated() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = ServerStore(f"http://user:hidden@127.0.0.1:{port}")
    with pytest.raises(Unavailable) as error:
        store.check()
    assert "hidden" not in str(error.value)
    store.close()


# Connections


def test_a_connection_is_kept_for_the_next_call(qdrant_rest: QdrantRest, monkeypatch: pytest.MonkeyPatch) -> None:
    store, opened = ServerStore(qdrant_rest.url), _opened(monkeypatch)
    for _ in range(3):
        store.collections()
        store.check()
    assert len(opened) == 1
    store.close()


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    with serving() as endpoint:
        endpoint.answer = lambda _: (200, {"result": {"collections": []}}, {"Connection": "close"})
        store = ServerStore(endpoint.url)
        assert [store.collections() for _ in range(3)] == [[], [], []]
        store.close()


def test_a_connection_that_was_cut_while_idle_is_opened_again() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{"result":{"collections":[]}}'

    def serve_one_each(listener: socket.socket, closed: list[threading.Event]) -> None:
        for event in closed:
            connection, _ = listener.accept()
            connection.recv(65_536)
            connection.sendall(answer)
            connection.close()
            event.set()

    closed = [threading.Event() for _ in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving_thread = threading.Thread(target=serve_one_each, args=(listener, closed))
        serving_thread.start()
        store = ServerStore(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for event in closed:
            assert store.collections() == []
            assert event.wait(10)
        serving_thread.join(10)
        store.close()


def test_threads_that_ask_at_once_have_a_connection_each(
    rest_store: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest_store.ensure(SPEC)
    rest_store.upsert(SPEC.name, [point(f"n{n}", {}, n=n) for n in range(8)])
    opened = _opened(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: payload_of(rest_store, f"n{n % 8}"), range(80)))
    assert found == [{"n": n % 8} for n in range(80)]
    assert len(opened) < 8


def test_the_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        proxy.answer = lambda _: (200, {"result": []})
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        store = ServerStore("http://qdrant.example:6333")
        assert store.retrieve("some", ids("a")) == {}
        assert [each.path for each in proxy.requests] == ["http://qdrant.example:6333/collections/some/points"]
        proxy.answer = lambda _: (503, {})
        with pytest.raises(Unavailable):
            store.retrieve("some", ids("a"))
        store.close()


def _opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is connected from now on."""
    opened: list[object] = []
    connect = HTTPConnection.connect

    def noting(connection: HTTPConnection) -> None:
        opened.append(connection)
        connect(connection)

    monkeypatch.setattr(HTTPConnection, "connect", noting)
    return opened
