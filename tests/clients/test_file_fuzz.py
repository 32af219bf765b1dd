"""Whatever is in a file, reading it ends with its lines, or with one sentence that names the place."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eddyline.clients.cells import LISTS, NUMBERS, RATING, TIMES
from eddyline.clients.sources import latest_time, open_source

usual = settings(suppress_health_check=list(HealthCheck))
COLUMNS = sorted({*LISTS, *NUMBERS, *RATING, *TIMES, "available", "type", "title", "user_id", "item_id", "x"})
cells = st.text(max_size=12) | st.sampled_from(
    ["1", "1e999", "nan", "9" * 5000, "a|b", "9999-12-31", "true", "\0", '"']
)
anything = st.recursive(
    st.sampled_from([None, True, 1e308, 10**400, "view"]) | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(COLUMNS), inner, max_size=4),
    max_leaves=8,
)


def read(folder: Path, name: str, content: bytes) -> None:
    """Read all that there is in the file; fail for anything but short refusals."""
    (folder / name).write_bytes(content)
    source = open_source(folder / name)
    for lines in (source.items, source.users, source.events):
        for line in lines():
            assert line.value
    for refused in source.refused():
        assert len(refused.reason) < 1500
    latest_time(source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@usual
@given(rows=st.lists(st.dictionaries(st.sampled_from(COLUMNS), cells, min_size=1), min_size=1, max_size=4))
def test_rows_of_known_columns(folder: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    read(folder, "rows.csv", text.getvalue().encode("utf-8", "surrogatepass"))


@usual
@given(lines=st.lists(anything, max_size=4))
def test_lines_of_json(folder: Path, lines: list[Any]) -> None:
    read(folder, "lines.jsonl", "\n".join(map(json.dumps, lines)).encode())


@usual
@given(name=st.sampled_from(["any.csv", "any.jsonl", "any.tsv.gz", "any.ndjson.zst"]), content=st.binary(max_size=200))
def test_any_bytes(folder: Path, name: str, content: bytes) -> None:
    read(folder, name, content)


@pytest.mark.parametrize("name", ["deep.jsonl", "deep.csv"])
@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"x" * 3_000_000, b"1" * 10_000],
    ids=["lists", "objects", "a text", "a number"],
)
def test_what_is_deep_or_long(folder: Path, name: str, content: bytes) -> None:
    read(folder, name, content)
