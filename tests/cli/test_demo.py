"""What the demo says once it has taken its tour."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eddyline.cli import import_and_demo
from eddyline.clients.tour import Tour

ITEM = {"item_id": "eddies", "rank": 1, "title": "Reading a river", "category": "Paddling"}


@pytest.mark.parametrize("is_opened", [True, False])
def test_the_demo_says_where_the_playground_is_and_opens_it_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, is_opened: bool
) -> None:
    @contextmanager
    def started(*_: Any) -> Iterator[tuple[Any, str]]:
        yield SimpleNamespace(wait=lambda: 0), "http://127.0.0.1:8000"

    opened: list[str] = []
    taken = Tour(person="a b/c", clicked=ITEM, before=[ITEM], after=[ITEM], milliseconds=12.0)
    for name, stand_in in {
        "_eddyline_up": started,
        "open_source": lambda _: None,
        "import_into": lambda *_: None,
        "tour": SimpleNamespace(
            choose_person=lambda _: ("a b/c", 3), await_quiet=lambda *_: None, take=lambda *_: taken
        ),
        "webbrowser": SimpleNamespace(open=opened.append),
    }.items():
        monkeypatch.setattr(import_and_demo, name, stand_in)
    import_and_demo.run_demo(tmp_path, tmp_path, 8000, False, is_opened)
    address = "http://127.0.0.1:8000/play?user=a%20b%2Fc"
    assert address in capsys.readouterr().out.split()
    assert opened == ([address] if is_opened else [])
