"""Whatever a settings file holds, it loads, or is refused by the names of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eddyline.errors import Misconfigured
from eddyline.settings.loader import describe, load

NAMES = sorted(name for name, *_ in describe())
SECTIONS = sorted({part for name in NAMES for part in (name, name.partition(".")[0])})
usual = settings(suppress_health_check=list(HealthCheck))
plain = st.sampled_from([True, 0, 1, -1, 2**70, 1e308, "", "7d", "x" * 5000, "keyword"])
names = st.sampled_from([*SECTIONS, "name", "x"])
values = st.recursive(
    plain | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "eddyline.toml"


def refused_or_loaded(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    refusal = ""
    try:
        load(file)
    except Misconfigured as error:
        refusal = str(error)
    assert max(map(len, refusal.splitlines()), default=0) < 2000


@usual
@given(given=st.dictionaries(st.sampled_from(SECTIONS), values, max_size=4))
def test_settings_that_there_are_with_any_values(file: Path, given: dict[str, Any]) -> None:
    refused_or_loaded(file, "\n".join(f"{name} = {_toml(value)}" for name, value in given.items()).encode())


@usual
@given(content=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_text(file: Path, content: bytes) -> None:
    refused_or_loaded(file, content)


@pytest.mark.parametrize("value", ["true", "1"])
def test_a_number_is_no_network(file: Path, value: str) -> None:
    file.write_text(f"[server]\ntrusted_proxies = [{value}]")
    with pytest.raises(Misconfigured, match=r"trusted_proxies.*text"):
        load(file)


@pytest.mark.parametrize(
    "content",
    [b"a = " + b"[" * 100_000, b"a = " + b"9" * 10_000, b"a." * 2000 + b"b = 1", b"[" + b"x" * 100_000 + b"]\n"],
    ids=["lists", "a number", "tables", "a name"],
)
def test_what_is_deep_or_long(file: Path, content: bytes) -> None:
    refused_or_loaded(file, content)


def _toml(value: Any) -> str:
    """Write a value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
