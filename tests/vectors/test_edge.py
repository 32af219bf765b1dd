"""The embedded store's own promises: its files, its lock, its flushes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from tests.vectors.worlds import SPEC, dense, ids, numbers, payload_of, point, sparse

from eddyline.adapters.vectors import (
    PROFILES,
    CollectionSpec,
    DenseSpec,
    Distance,
    OrderBy,
    Point,
    Query,
    Vector,
    VectorStore,
    item_collection,
    profile_collection,
)
from eddyline.adapters.vectors.edge_store import EdgeStore
from eddyline.adapters.vectors.flusher import Flusher
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured, Unavailable
from eddyline.model.ids import item_dimension, item_point_id


def _wait_for(condition: Callable[[], object], limit_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def _run(source: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", dedent(source), str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], EdgeStore]]:
    """Opens the store of `tmp_path`, after closing the one that was opened before; closes the last."""
    stores: list[EdgeStore] = []

    def open_again() -> EdgeStore:
        if stores:
            stores[-1].close()
        stores.append(EdgeStore(tmp_path))
        return stores[-1]

    yield open_again
    stores[-1].close()


def test_data_is_there_after_reopening(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path / "data")
    store.ensure(SPEC)
    store.ensure(CollectionSpec(SPEC.name, {"image": DenseSpec(3, Distance.COSINE)}, ("history",)))
    vectors: dict[str, Vector] = {
        "taste": dense(0.1, 0.2, 0.3, 0.4),
        "image": dense(0, 1, 0),
        "history": sparse({5: 1.0}),
    }
    store.upsert(SPEC.name, [point("a", vectors, epoch=3)])
    store.close()

    again = EdgeStore(tmp_path / "data")
    kept = again.retrieve(SPEC.name, ids("a"), vectors=("taste", "image", "history"))[item_point_id("a")]
    assert kept.payload == {"epoch": 3}
    assert kept.vectors.keys() == vectors.keys()
    assert dense(*numbers(kept.vectors["taste"])).tobytes() == dense(0.1, 0.2, 0.3, 0.4).tobytes()
    again.ensure(SPEC)
    assert [each.id for each in again.query(SPEC.name, [Query(OrderBy("epoch"), 1)])[0]] == ids("a")
    again.close()


def test_a_mismatch_is_seen_after_reopening(opened: Callable[[], EdgeStore]) -> None:
    store = opened()
    store.ensure(SPEC)
    again = opened()
    with pytest.raises(Misconfigured, match=r"taste.*4 dimensions.*8 dimensions.*reembed"):
        again.ensure(replace(SPEC, dense={"taste": DenseSpec(8, Distance.DOT)}))


def test_a_vector_added_later_is_remembered(opened: Callable[[], EdgeStore]) -> None:
    store = opened()
    store.ensure(SPEC)
    store.ensure(CollectionSpec(SPEC.name, {"image": DenseSpec(3, Distance.COSINE)}, ("history",)))
    again = opened()
    for added in ({"image": DenseSpec(5, Distance.COSINE)}, {"history": DenseSpec(3, Distance.COSINE)}):
        with pytest.raises(Misconfigured, match="stored is"):
            again.ensure(CollectionSpec(SPEC.name, added))


def test_writes_survive_a_killed_process(tmp_path: Path) -> None:
    killed = _run(
        """
        import os, signal, sys
        from pathlib import Path
        from eddyline.adapters.vectors.edge_store import EdgeStore
        from tests.vectors.worlds import SPEC, dense, point, item_point_id

        store = EdgeStore(Path(sys.argv[1]), flush_every_seconds=3600)
        store.ensure(SPEC)
        store.upsert(SPEC.name, [point(f"n{i}", {"taste": dense(i, 1, 2, 3)}, epoch=i) for i in range(300)])
        store.set_payload(SPEC.name, {item_point_id("n7"): {"epoch": 1000}, item_point_id("missing"): {"epoch": 1}})
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = EdgeStore(tmp_path)
    assert store.count(SPEC.name) == 300
    assert payload_of(store, "n7") == {"epoch": 1000}
    store.ensure(SPEC)
    assert store.query(SPEC.name, [Query(OrderBy("epoch"), 1)])[0][0].score == 1000
    store.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    second = _run(
        """
        import sys
        from pathlib import Path
        from eddyline.adapters.vectors.edge_store import EdgeStore
        from eddyline.errors import AlreadyRunning

        try:
            EdgeStore(Path(sys.argv[1]))
        except AlreadyRunning as refusal:
            print(refusal)
        """,
        tmp_path,
    )
    assert str(tmp_path) in second.stdout, second.stderr
    assert "in use by another process" in second.stdout
    store.close()


def test_a_second_store_of_the_same_process_is_refused_until_the_first_closes(tmp_path: Path) -> None:
    first = EdgeStore(tmp_path)
    with pytest.raises(AlreadyRunning):
        EdgeStore(tmp_path)
    first.close()
    EdgeStore(tmp_path).close()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(Misconfigured, match=r"file.*can't be used"):
        EdgeStore(tmp_path / "file")


def test_a_creation_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / ".things.new" / "shard").mkdir(parents=True)
    (tmp_path / ".things.new" / "shard" / "rubbish").write_text("half a shard")
    store = EdgeStore(tmp_path)
    store.ensure(SPEC)
    assert store.count(SPEC.name) == 0
    store.close()


def test_aliases_are_there_after_reopening(opened: Callable[[], EdgeStore]) -> None:
    store = opened()
    store.ensure(SPEC)
    store.upsert(SPEC.name, [point("a", n=1)])
    store.set_aliases({"live": SPEC.name})
    again = opened()
    assert again.aliases() == {"live": SPEC.name}
    assert again.count("live") == 1


def test_a_change_of_aliases_that_was_cut_short_never_was(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.ensure(SPEC)
    store.set_aliases({"live": SPEC.name})
    store.close()
    (tmp_path / "aliases.json.new").write_text('{"live": "thi')
    again = EdgeStore(tmp_path)
    assert again.aliases() == {"live": SPEC.name}
    again.set_aliases({"live": None})
    assert again.aliases() == {}
    again.close()


def test_a_deletion_that_was_cut_short_is_finished_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EdgeStore(tmp_path)
    store.ensure(SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        store.drop(SPEC.name)
    assert store.collections() == []
    store.close()
    assert list(tmp_path.rglob("vectors.json"))
    again = EdgeStore(tmp_path)
    assert again.collections() == []
    assert not list(tmp_path.rglob("vectors.json"))
    again.ensure(SPEC)
    assert again.count(SPEC.name) == 0
    again.close()


def test_a_writer_of_a_dropped_collection_hears_of_it(edge_store: VectorStore) -> None:
    edge_store.ensure(SPEC)
    edge_store.upsert(SPEC.name, [point("a")])
    edge_store.drop(SPEC.name)
    with pytest.raises(Misconfigured, match="eddyline init"):
        edge_store.upsert(SPEC.name, [point("a")])
    edge_store.flush()


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden"])
def test_a_collection_cannot_leave_the_directory(edge_store: VectorStore, name: str) -> None:
    with pytest.raises(EddylineError, match="name a collection"):
        edge_store.ensure(CollectionSpec(name, {}))


def test_closing_twice_is_harmless_and_a_closed_store_says_so(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.ensure(SPEC)
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="closed"):
        store.check()
    with pytest.raises(EddylineError, match="closed"):
        store.count(SPEC.name)


def test_both_collections_of_eddyline_can_be_made(edge_store: VectorStore) -> None:
    items = item_collection(384, Distance.COSINE, {})
    edge_store.ensure(items)
    edge_store.ensure(profile_collection())
    edge_store.update_vectors(items.name, {item_point_id("x"): {"affinity": sparse({item_dimension("x"): 1.0})}})
    assert edge_store.count(items.name) == 0


# Flushing


def test_writes_are_flushed_in_the_background() -> None:
    flushes: list[float] = []
    flusher = Flusher(lambda: flushes.append(time.monotonic()), every=0.02)
    flusher.wrote()
    _wait_for(lambda: len(flushes) == 1)
    flusher.wrote()
    _wait_for(lambda: len(flushes) == 2)
    flusher.close()
    assert flushes[1] - flushes[0] >= 0.02


def test_the_store_flushes_soon_after_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    flush = EdgeStore._flush_shards

    def noted(store: EdgeStore) -> None:
        flush(store)
        flushed.append(store.count(SPEC.name))

    monkeypatch.setattr(EdgeStore, "_flush_shards", noted)
    store = EdgeStore(tmp_path, flush_every_seconds=0.01)
    store.ensure(SPEC)
    store.upsert(SPEC.name, [point("a")])
    _wait_for(lambda: flushed)
    store.close()
    assert flushed[0] == 1


def test_nothing_is_flushed_without_a_write() -> None:
    flushes: list[None] = []
    flusher = Flusher(lambda: flushes.append(None), every=0.0)
    flusher.close()
    assert flushes == []


def test_a_failed_flush_is_tried_again_and_known_meanwhile() -> None:
    outcomes = [OSError("No space left on device"), None]
    seen: list[Exception | None] = []

    def flush() -> None:
        seen.append(flusher.failure)
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome

    flusher = Flusher(flush, every=0.01)
    flusher.wrote()
    _wait_for(lambda: not outcomes)
    _wait_for(lambda: flusher.failure is None)
    flusher.close()
    assert isinstance(seen[1], OSError)


def test_a_store_that_cannot_flush_is_not_healthy(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store._flusher.failure = OSError("No space left on device")
    with pytest.raises(Unavailable, match="No space left"):
        store.check()
    store.close()


def test_the_bytes_of_what_was_replaced_go_as_others_are_written(edge_store: VectorStore, tmp_path: Path) -> None:
    """But for the write-ahead log, which is emptied by whole segments of 32 MiB."""
    key = b"u:erin-the-erased"
    edge_store.ensure(profile_collection())
    history: dict[str, Vector] = {"history": sparse({1: 1.0})}

    def write(rounds: int) -> None:
        payloads = [{"person": f"u:p{number}", "state": "x" * 300, "epoch": 1} for number in range(50)]
        points = [Point(item_point_id(str(each["person"])), history, each) for each in payloads]
        for _ in range(rounds):
            edge_store.upsert(PROFILES, points)

    def held() -> list[Path]:
        edge_store.flush()
        return [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and "wal" not in path.parts and key in path.read_bytes()
        ]

    write(2)
    erin = item_point_id("erin")
    edge_store.upsert(PROFILES, [Point(erin, history, {"person": key.decode(), "state": "x" * 300, "epoch": 1})])
    edge_store.upsert(PROFILES, [Point(erin, {}, {"state": "", "epoch": 1})])
    assert held(), "replaced, and not overwritten yet"
    write(20)
    assert held() == []


def test_whoever_asks_hears_before_a_flush_and_once_everything_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def begin() -> Callable[[], None]:
        heard.append("begin")
        return lambda: heard.append("end")

    store = EdgeStore(tmp_path / "data", flush_every_seconds=3600)
    store.ensure(SPEC)
    store.on_flush(begin)
    store.flush()
    assert heard == ["begin", "end"]
    store.ensure(replace(SPEC, name="another"))
    with monkeypatch.context() as failing:
        failing.setattr(os, "fsync", _fail)
        with pytest.raises(Unavailable, match="the disk is gone"):
            store.flush()
    assert heard == ["begin", "end", "begin"]
    store.close()
    assert heard[3:] == ["begin", "end"]


def test_nobody_writes_between_the_flush_of_a_collection_and_the_end_of_its_synchronising(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point that is written meanwhile would be on disk in part: see `EdgeDirectory.sync`."""
    store = EdgeStore(tmp_path / "data", flush_every_seconds=3600)
    store.ensure(SPEC)
    store.upsert(SPEC.name, [point("a")])
    writer = threading.Thread(target=lambda: store.upsert(SPEC.name, [point("b")]))
    synchronise = os.fsync
    was_written: list[bool] = []

    def meet(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if not was_written and path.name == "page_0.dat":
            writer.start()
            writer.join(0.2)
            was_written.append(not writer.is_alive())
        synchronise(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", meet)
        store.flush()
    assert was_written == [False]
    writer.join(10)
    assert store.retrieve(SPEC.name, ids("a", "b")).keys() == {*ids("a", "b")}
    store.close()


def test_what_a_killed_process_left_is_synchronised_before_anything_is_read_the_log_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EdgeStore(tmp_path / "data", flush_every_seconds=3600)
    store.ensure(SPEC)
    store.close()
    synchronise = os.fsync
    parts: list[str] = []

    def note(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        parts.extend(part for part in path.parts if part in ("wal", "segments"))
        synchronise(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", note)
        store = EdgeStore(tmp_path / "data", flush_every_seconds=3600)
        assert parts == sorted(parts, reverse=True)
        assert set(parts) == {"wal", "segments"}
    store.close()


def _fail(_: int) -> None:
    raise OSError("the disk is gone")
