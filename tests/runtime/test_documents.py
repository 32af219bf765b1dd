"""The generated documents are what the models say, and the models' own JSON passes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from eddyline.errors import InvalidEvent
from eddyline.model.events import LeftOut, validate_event
from eddyline.runtime import documents

SCHEMAS = Path(__file__).parents[2] / "schemas"

GOOD: dict[str, dict[str, Any]] = {
    "content": {"item_id": "i", "title": "t", "published_at": "2026-03-01T12:00:00Z", "attributes": {"n": 1}},
    "availability": {"item_id": "i", "available": True, "price": 3.5},
    "user": {"user_id": "u", "interests": ["space"]},
    "interaction": {"type": "click", "item_id": "i", "anonymous_id": "a", "timestamp": 1772366400},
    "identify": {"type": "identify", "anonymous_id": "a", "user_id": "u", "timestamp": 1772366400},
    "transfer": {"user_id": "u", "anonymous_id": "a", "timestamp": 1772366400, "payload": {"events": 1, "state": "{}"}},
    "impression": {
        "request_id": "r",
        "user_id": "u",
        "items": [{"item_id": "i", "rank": 1, "published_at": 1772366400}],
        "timestamp": 1772366400,
    },
    "seen": {"type": "impression", "request_id": "r", "anonymous_id": "a", "positions": [1, 2]},
    "listing": {"type": "listing", "item_id": "i", "fields": {"meta": {}}, "offer": {"available": True, "at": 1}},
    "activity": {"item_id": "i", "weight": 1.0, "timestamp": 1772366400, "source": "log:0:1"},
    "onboarded": {"user_id": "u", "origin": {"log": "l", "partition": 0, "offset": 1}},
    "erased": {"user_id": "u", "timestamp": 1772366400, "origin": {"log": "l", "partition": 0, "offset": 1}},
    "shown": {"anonymous_id": "a", "timestamp": 1772366400, "items": ["i"]},
    "verdict": {
        "experiment": "e",
        "revision": "0123abcd",
        "variant": "v",
        "metric": "ctr",
        "value": 0.01,
        "bound": 0.02,
        "at": 1772366400,
        "reason": "ctr was 0.01",
    },
}


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads((SCHEMAS / f"{name}.schema.json").read_bytes())
    return loaded


def test_what_is_in_schemas_is_what_the_models_say() -> None:
    drifted = documents.drifted(documents.schema_files(), SCHEMAS)
    assert not drifted, f"{drifted} have drifted: run `make schemas`"


def test_a_changed_file_is_noticed_and_written_anew(tmp_path: Path) -> None:
    files = documents.schema_files()
    assert sorted(documents.write(files, tmp_path)) == sorted(files)
    (tmp_path / "user.schema.json").write_text("{}")
    assert documents.drifted(files, tmp_path) == ["user.schema.json"]
    assert documents.write(files, tmp_path) == ["user.schema.json"]
    assert documents.drifted(files, tmp_path) == []


@pytest.mark.parametrize("name", sorted(documents.MODELS))
def test_a_schema_takes_what_its_model_takes_and_writes(name: str) -> None:
    validator = Draft202012Validator(schema(name))
    Draft202012Validator.check_schema(validator.schema)
    assert list(validator.iter_errors(GOOD[name])) == []
    written = orjson.loads(documents.MODELS[name].model_validate(GOOD[name]).to_bytes())
    assert list(validator.iter_errors(written)) == []


@pytest.mark.parametrize("name", sorted(documents.MODELS))
def test_a_schema_refuses_an_unknown_field_and_a_missing_one(name: str) -> None:
    validator = Draft202012Validator(schema(name))
    assert list(validator.iter_errors({**GOOD[name], "colour": "red"}))
    for field in schema(name)["required"]:
        assert list(validator.iter_errors({k: v for k, v in GOOD[name].items() if k != field}))


@pytest.mark.parametrize("name", ["asyncapi.json", "openapi.json"])
def test_every_reference_leads_somewhere(name: str) -> None:
    text = (SCHEMAS / name).read_text()
    document = orjson.loads(text)
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', text))
    assert references
    for reference in references:
        found = document
        for part in reference.split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        assert found is not None


def test_openapi_is_3_1_and_describes_every_route() -> None:
    document = orjson.loads((SCHEMAS / "openapi.json").read_bytes())
    assert document["openapi"].startswith("3.1")
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert ("post", "/v1/events") in operations
    assert ("get", "/v1/users/{user_id}/recommendations") in operations
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert "422" not in operation["responses"], (method, path)
            if method in ("post", "put"):
                assert operation["requestBody"]["content"]["application/json"]["schema"], (method, path)


def test_asyncapi_is_3_0_and_names_every_topic_people_may_write_to() -> None:
    document = orjson.loads((SCHEMAS / "asyncapi.json").read_bytes())
    assert document["asyncapi"] == "3.0.0"
    assert {"content", "availability", "users", "interactions", "impressions"} <= set(document["channels"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interaction", {"type": "click", "item_id": "i"}),
        ("interaction", {"type": "click", "item_id": "i", "user_id": None}),
        ("interaction", {"type": "rating", "item_id": "i", "user_id": "u"}),
        ("interaction", {"type": "click", "item_id": "i" * 513, "user_id": "u"}),
        ("interaction", {"type": "click", "item_id": "", "user_id": "u"}),
        ("interaction", {"type": "click", "item_id": "i", "user_id": "u", "timestamp": True}),
        ("availability", {"item_id": "i", "available": True}),
        ("availability", {"item_id": "i", "price": 3.5}),
        ("availability", {"item_id": "i", "available": None, "price": 3.5}),
        ("availability", {"item_id": "i", "available": True, "price": -1}),
        ("content", {"item_id": "i", "title": ""}),
        ("content", {"item_id": "i", "title": "t", "v": 2}),
        ("activity", {"item_id": "i", "weight": 0, "timestamp": 1, "source": "l:0:1"}),
        ("shown", {"timestamp": 1, "items": ["i"]}),
        ("shown", {"user_id": None, "timestamp": 1, "items": ["i"]}),
        ("shown", {"user_id": "u", "timestamp": 1, "items": []}),
        ("shown", {"user_id": "u", "timestamp": 1, "items": ["i"] * 1001}),
        ("impression", {"request_id": "r", "items": [], "timestamp": 1}),
        ("impression", {"request_id": "r", "user_id": "u", "timestamp": 1}),
        ("impression", {"request_id": "r", "user_id": "u", "items": [{"item_id": "i", "rank": 0}], "timestamp": 1}),
        ("seen", {"type": "impression", "request_id": "r"}),
        ("seen", {"type": "impression", "user_id": "u"}),
        ("seen", {"type": "impression", "request_id": "r", "user_id": "u", "positions": []}),
        ("seen", {"type": "impression", "request_id": "r", "user_id": "u", "positions": [0]}),
        ("seen", {"type": "impression", "request_id": "r", "user_id": "u", "items": []}),
        ("seen", {"type": "impression", "request_id": "r", "user_id": "u", "item_id": "i"}),
    ],
)
def test_a_schema_refuses_what_its_model_refuses(name: str, value: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        validate_event(documents.MODELS[name], value)
    assert list(Draft202012Validator(schema(name)).iter_errors(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interaction", {"type": "click", "item_id": "i", "user_id": "u", "dwell_ms": -1}),
        ("interaction", {"type": "click", "item_id": "i", "user_id": "u", "context": {"a": "x" * 1025}}),
        ("content", {"item_id": "i", "title": "t", "attributes": {"a": {"b": 1}}}),
    ],
)
def test_a_schema_refuses_what_its_model_leaves_out(name: str, value: dict[str, Any]) -> None:
    left_out: list[LeftOut] = []
    validate_event(documents.MODELS[name], value, left_out)
    assert left_out
    assert list(Draft202012Validator(schema(name)).iter_errors(value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interaction", {"type": "rating", "item_id": "i", "user_id": "u", "value": 0}),
        ("interaction", {"type": "view", "item_id": "i", "user_id": None, "anonymous_id": "a", "value": None}),
        ("availability", {"item_id": "i", "available": False, "price": None}),
        ("interaction", {"type": "click", "item_id": "i", "user_id": "u", "context": {"a": "é" * 1024, "b": 1}}),
        ("content", {"item_id": "i", "title": "t", "attributes": {"a": [1, "b", True], "c": None}}),
    ],
)
def test_a_schema_takes_what_its_model_takes(name: str, value: dict[str, Any]) -> None:
    validate_event(documents.MODELS[name], value)
    assert not list(Draft202012Validator(schema(name)).iter_errors(value))
