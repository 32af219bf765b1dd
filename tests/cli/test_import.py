"""`eddyline import`: what it prints, what it leaves behind, and its exit code."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest
from typer.testing import CliRunner

from eddyline.cli import import_and_demo
from eddyline.cli.commands import app
from eddyline.clients import Client

ROWS = "sku;title;brand;price\ni;A tent;Tarp;1.234,50\nj;A stove;Brass;cheap\n;No id;;\n"
MAPPED = ("--map", "sku=item_id", "--map", "brand=attributes.brand")


class Imported:
    """Runs the command against a collector that keeps what it takes, in a directory of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items: list[dict[str, object]] = []
        self.file = folder / "shop.csv"
        self.file.write_text(ROWS)
        monkeypatch.chdir(folder)
        transport = httpx.MockTransport(self._answer)
        monkeypatch.setattr(
            import_and_demo, "Client", lambda url, **options: Client(url, transport=transport, **options)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"status": "ok", "item_id": "i"})
        taken, rejected = [], []
        for index, item in enumerate(orjson.loads(request.content)["items"]):
            if "item_id" in item:
                taken.append(item)
            else:
                rejected.append({"index": index, "field": "item_id", "reason": "is needed"})
        self.items += taken
        return httpx.Response(202 if taken else 422, json={"accepted": len(taken), "rejected": rejected})

    def run(self, *options: str) -> tuple[int, str, str]:
        """Run the command; return its exit code and what it printed on the standard output and error."""
        ended = CliRunner().invoke(app, ["import", str(self.file), *options])
        return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Imported:
    return Imported(tmp_path, monkeypatch)


def test_what_is_refused_is_listed_and_written_and_the_rest_goes_in(imported: Imported, tmp_path: Path) -> None:
    code, _, said = imported.run(*MAPPED, "--rejects", "rejects.jsonl")
    assert code == 3
    assert imported.items == [{"item_id": "i", "title": "A tent", "attributes": {"brand": "Tarp"}, "price": 1234.5}]
    assert "2 refused" in said
    assert "shop.csv:3: price: 'cheap' is not a number" in said
    assert "shop.csv:4: item_id: is needed" in said
    rejects = [orjson.loads(line) for line in (tmp_path / "rejects.jsonl").read_bytes().splitlines()]
    assert [(one["file"], one["line"], one["field"]) for one in rejects] == [
        ("shop.csv", 3, "price"),
        ("shop.csv", 4, "item_id"),
    ]
    assert rejects[0]["given"] == {"sku": "j", "title": "A stove", "brand": "Brass", "price": "cheap"}


def test_an_import_of_which_all_goes_in_ends_well(imported: Imported) -> None:
    imported.file.write_text(ROWS.splitlines()[0] + "\n" + ROWS.splitlines()[1] + "\n")
    assert imported.run(*MAPPED)[0] == 0


def test_a_dry_run_sends_nothing_and_shows_what_would_go_in(imported: Imported, tmp_path: Path) -> None:
    imported.file.write_text(ROWS + "".join(f"n{n};Lamp {n};;\n" for n in range(20)))
    code, shown, said = imported.run(*MAPPED, "--dry-run")
    assert code == 3
    assert imported.items == []
    assert not (tmp_path / ".eddyline").exists()
    lines = shown.splitlines()
    assert len(lines) == 10
    assert lines[0] == ('shop.csv:2 {"item_id":"i","title":"A tent","attributes":{"brand":"Tarp"},"price":1234.5}')
    assert "Would import 21 items. Nothing was sent." in said
    assert "shop.csv:4: item_id: is needed" in said


def test_attributes_that_the_settings_declare_are_columns(imported: Imported, tmp_path: Path) -> None:
    (tmp_path / "eddyline.toml").write_text('[attributes]\npages = "integer"\n')
    imported.file.write_text("item_id,title,pages\ni,A book,320.0\n")
    assert imported.run()[0] == 0
    assert imported.items == [{"item_id": "i", "title": "A book", "attributes": {"pages": 320}}]
