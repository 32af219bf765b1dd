"""Records as producers wrap them: CloudEvents in structured mode, frames of a schema registry, other formats."""

from __future__ import annotations

from base64 import b64encode

import orjson
import pytest
from tests.support.fakes import FakeProducer, FakeStore, TinyEncoder, record

from eddyline.adapters.telemetry import Metrics
from eddyline.embedder.handler import Embedder
from eddyline.errors import InvalidEvent
from eddyline.model.events import (
    Content,
    ImpressionReport,
    Interaction,
    parse_entity,
    parse_impression,
    parse_person_event,
)

ITEM = {"item_id": "a", "title": "Boots"}
CLICK = {"type": "click", "item_id": "a", "user_id": "ada"}
SEEN = {"type": "impression", "request_id": "r", "user_id": "ada"}
FRAME = b"\0\0\0\0\x2a"


def enveloped(data: object) -> bytes:
    return orjson.dumps(
        {
            "specversion": "1.0",
            "type": "shop.clicked",
            "source": "/shop",
            "id": "7",
            "datacontenttype": "application/json",
        }
        | {"data": data}
    )


def test_structured_cloud_events_are_read_on_every_topic() -> None:
    assert parse_entity(Content, enveloped(ITEM), 1.0).title == "Boots"
    assert isinstance(parse_impression(enveloped(SEEN)), ImpressionReport)
    click = parse_person_event(enveloped(CLICK))
    assert isinstance(click, Interaction)
    assert click.event_id == "/shop#7", "so that a resend counts once"
    own = parse_person_event(enveloped({**CLICK, "event_id": "own"}))
    assert isinstance(own, Interaction)
    assert own.event_id == "own"
    packed = {"specversion": "1.0", "id": "7", "data_base64": b64encode(orjson.dumps(CLICK)).decode()}
    assert isinstance(parse_person_event(orjson.dumps(packed)), Interaction)


def test_the_frame_of_a_schema_registry_is_taken_off_json() -> None:
    assert parse_entity(Content, FRAME + orjson.dumps(ITEM), 1.0).title == "Boots"
    assert isinstance(parse_person_event(FRAME + orjson.dumps(CLICK)), Interaction)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FRAME + b"\x02a\x0aBoots", "Avro|Protobuf"),
        (FRAME + b"\x0aboots", "is Avro with schema 42 of a registry"),
        (FRAME + b"\0\x0a\x01a\x12\x05Boots", "is Protobuf with schema 42 of a registry"),
        (b"Obj\x01\x04\x14avro.codec", "is Avro, which isn't read"),
        (b"\xc3\x01" + b"\0" * 8 + b"\x02a", "is Avro, which isn't read"),
        (b"\x0a\x01a\x12\x05Boots", "is Protobuf, which isn't read"),
        (b"\n\n{", "is not valid JSON"),
        (FRAME, "is not valid JSON"),
        (orjson.dumps({"specversion": "1.0", "data_base64": "?"}), "base64"),
        (enveloped("{"), "not valid JSON"),
        (enveloped([1]), "must be a JSON object"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_name_of_its_format(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent, match=reason):
        parse_entity(Content, data, 1.0)


@pytest.mark.parametrize("topic", ["content", "availability", "users"])
@pytest.mark.parametrize("key", [b'"a"', b'{"item_id":"a"}', b"\0\0\0\0\x01\x02a", b"[1]"])
def test_a_tombstone_under_a_key_that_a_serializer_wrapped_is_a_dead_letter(topic: str, key: bytes) -> None:
    embedder = Embedder(FakeStore(), TinyEncoder(), FakeProducer(), Metrics())
    with pytest.raises(InvalidEvent):
        embedder.parse(record(topic, key, None))


def test_an_id_that_begins_with_a_bracket_is_one() -> None:
    embedder = Embedder(FakeStore(), TinyEncoder(), FakeProducer(), Metrics())
    for key in ('[draft] "a"', '"a', "{a}"):
        embedder.parse(record("content", key, None))
