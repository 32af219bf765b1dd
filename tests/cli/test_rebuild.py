"""What `eddyline reembed` does around the copying."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.fakes import FakeStore, TinyEncoder, text_vector

from eddyline.adapters.encoders import Encoding
from eddyline.adapters.vectors import ITEMS, Point
from eddyline.cli.rebuild import Renewal
from eddyline.model.ids import item_point
from eddyline.offline.rebuilding import Tell, nobody
from eddyline.settings import Settings


@contextmanager
def no_bar(_what: str, _total: int) -> Iterator[Tell]:
    yield nobody


@pytest.mark.parametrize("state", ["ready", "none"])
def test_pictures_that_are_left_out_are_told_of(state: str) -> None:
    store, said = FakeStore(), list[str]()
    payload = {"item_id": "a", "meta": {"title": "a"}, "space": "old-t1", "image": {"state": state, "space": "clip"}}
    store.upsert(ITEMS, [Point(item_point("a"), {"content": text_vector("a").astype("float32")}, payload)])
    renewal = Renewal(store, Settings(), Encoding(TinyEncoder("new-t1")), None, said.append, no_bar)
    assert renewal.run(force=False, drop_old=False).startswith("1 items and 0 profiles in space new-t1")
    told = [line for line in said if "pictures of 1 items are left out" in line]
    assert len(told) == (state == "ready")
