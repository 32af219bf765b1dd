"""Whatever is sent to a route, it answers: never with a 500, always with a short problem where it refuses."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from structlog.testing import capture_logs
from tests.services.reading import SETTINGS, stocked
from tests.services.serving import served
from tests.support.fakes import FakeProducer
from tests.support.rows import Desk

from eddyline import reader
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.insights import api as insights

pytestmark = [pytest.mark.xdist_group("fuzz"), pytest.mark.slow(60)]

SHORT = settings().max_examples // 25
"""Examples of each operation: 4 in `make test`, 20 with the profile `thorough`."""
usual = settings(max_examples=SHORT, suppress_health_check=list(HealthCheck), database=None)
OPENAPI = orjson.loads((Path(__file__).parents[2] / "schemas" / "openapi.json").read_bytes())
SCHEMA = schemathesis.openapi.from_dict(OPENAPI)
OPERATIONS: dict[str, Any] = {one.label: one for one in (result.ok() for result in SCHEMA.get_all_operations())}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    shop, desk = stocked(SETTINGS), Desk()
    shop.did("ada", "space1")
    collector = Collector(FakeProducer(), SETTINGS.events, SETTINGS.server, Metrics())
    routers = (
        collector.router(),
        reader.router(shop.reader, SETTINGS.server.max_body_bytes),
        insights.router(desk.measures, desk.comparison),
    )
    with served(*routers) as client:
        yield client


def check(status: int, content_type: str, body: bytes) -> None:
    assert status != 500, body
    assert b"Traceback" not in body
    if status >= 400:
        assert content_type == "application/problem+json", body[:500]
        said = orjson.loads(body)
        assert said["status"] == status
        assert said["detail"]
        for text in (said["detail"], said.get("field") or ""):
            assert len(text) <= 1_300, body[:3000]
        for rejected in said.get("rejected", ()):
            assert len(rejected["reason"]) <= 1_300


CASES = [
    (label, mode)
    for label, operation in sorted(OPERATIONS.items())
    for mode in GenerationMode
    if mode.is_positive or operation.query or operation.body  # of a path alone nothing is invalid
]


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_what_the_description_allows_and_what_it_does_not(
    client: httpx.Client, label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]
    session = requests.Session()

    @usual
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(base_url=str(client.base_url), session=session)
        check(response.status_code, response.headers.get("content-type", [""])[0], response.content)

    with session, capture_logs() as logged:
        ask()
    assert [line for line in logged if line["log_level"] == "error"] == []


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["u", "view", "é" * 600]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for model in OPENAPI["components"]["schemas"].values() for name in model.get("properties", ())})
bodies = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=8) | anything


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/events"),
        ("POST", "/v1/items"),
        ("POST", "/v1/items/availability"),
        ("PUT", "/v1/items/a"),
        ("PUT", "/v1/users/a"),
        ("POST", "/v1/recommendations"),
    ],
)
def test_fields_that_there_are_with_values_that_they_do_not_take(client: httpx.Client, method: str, path: str) -> None:
    @settings(usual, max_examples=5 * SHORT)
    @given(body=bodies, batch=st.sampled_from([None, "events", "items"]))
    def ask(body: Any, batch: str | None) -> None:
        content = json.dumps({batch: [body, {"user_id": "u"}]} if batch else body)
        answer = client.request(method, path, content=content)
        check(answer.status_code, answer.headers["content-type"], answer.content)

    ask()


@settings(usual, max_examples=10 * SHORT)
@given(
    path=st.text(string.printable, max_size=30),
    query=st.lists(st.tuples(st.sampled_from(["limit", "next", "from", "to", "x"]), st.text(max_size=20)), max_size=4),
    body=st.binary(max_size=50),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"]),
)
def test_any_path_any_query_any_bytes(
    client: httpx.Client, path: str, query: list[tuple[str, str]], body: bytes, method: str
) -> None:
    url = client.base_url.copy_with(raw_path=("/v1/" + quote(path, safe="/%")).encode())
    answer = client.request(method, url.copy_merge_params([*query]), content=body)
    if method != "HEAD":
        check(answer.status_code, answer.headers.get("content-type", ""), answer.content)
    assert answer.status_code != 500
