"""What `eddyline reembed` does around the copying, and what a process that starts makes of one that was killed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.fakes import FakeStore, TinyEncoder, WiderEncoder, text_vector

from eddyline.adapters.vectors import (
    ITEMS,
    PROFILES,
    Collections,
    Distance,
    EdgeStore,
    Point,
    VectorStore,
    generations,
    item_collection,
)
from eddyline.cli import rebuild_commands as rebuild
from eddyline.cli.rebuild_commands import run_reembed
from eddyline.errors import AlreadyRunning
from eddyline.model.ids import item_point_id
from eddyline.runtime import resources
from eddyline.runtime.collection_setup import create_collections
from eddyline.runtime.connections import vectors_directory
from eddyline.runtime.process import Runtime
from eddyline.settings import ServerSettings, Settings


def reembed(settings: Settings, monkeypatch: pytest.MonkeyPatch, store: VectorStore | None = None) -> str:
    """What it prints."""
    printed = io.StringIO()
    monkeypatch.setattr(rebuild, "create_text_encoder", lambda *_: WiderEncoder())
    if store is not None:
        monkeypatch.setattr(rebuild, "open_store", lambda _: store)
    run_reembed(settings, force=False, drop_old=False, console=Console(file=printed, width=1000))
    return printed.getvalue()


def with_an_item(store: VectorStore, state: str = "none") -> None:
    payload = {"item_id": "a", "meta": {"title": "a"}, "space": "old-t1", "image": {"state": state, "space": "clip"}}
    store.upsert(ITEMS, [Point(item_point_id("a"), {"content": text_vector("a").astype("float32")}, payload)])


@pytest.mark.parametrize("state", ["ready", "none"])
def test_pictures_that_are_left_out_are_told_of(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore()
    with_an_item(store, state)
    printed = reembed(Settings(data_dir=tmp_path), monkeypatch, store)
    assert "1 items and 0 profiles in space wider-t1" in printed
    assert ("pictures of 1 items are left out" in printed) == (state == "ready")


@pytest.mark.slow(20)
def test_where_a_process_holds_the_data_directory_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    store = EdgeStore(vectors_directory(settings))
    create_collections(store, settings, TinyEncoder.dimension, Distance.COSINE)
    with_an_item(store)
    with pytest.raises(AlreadyRunning, match=r"stop it, run `eddyline reembed` again, and start it with the same"):
        reembed(settings, monkeypatch)
    assert generations.live(store) == Collections("items-1", "profiles-1", "rows-1")
    store.close()
    assert "1 items and 0 profiles in space wider-t1" in reembed(settings, monkeypatch)


@pytest.mark.slow(30)
def test_what_a_killed_run_has_left_is_undone_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, server=ServerSettings(port=0))
    store = EdgeStore(vectors_directory(settings))
    create_collections(store, settings, TinyEncoder.dimension, Distance.COSINE)
    store.ensure(item_collection(WiderEncoder.dimension, Distance.COSINE, {}, "items-2"))
    generations.seal(store, (ITEMS, PROFILES))
    store.close()
    monkeypatch.setattr(resources, "create_text_encoder", lambda *_: TinyEncoder())
    process = Runtime(settings, ("collector", "embedder", "profiler", "affinity", "reader"))
    with process.resources.stack:
        assert process.resources.store.collections() == ["blends", "items-1", "profiles-1", "rows-1"]
        assert process.resources.read_generations().sealed == {}
