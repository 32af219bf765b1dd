"""What producers wrap a record's JSON in: CloudEvents in structured mode, Kafka Connect's schema, a registry's frame.

A frame of Confluent's (a zero, then four bytes of the schema's id) before JSON is taken off. Before Avro or Protobuf it
stays what can't be read, and is refused by the format's name.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import orjson

from eddyline.errors import InvalidEvent

_MAGIC = 0
_FRAME_BYTES = 5
_WRITE_JSON = "write JSON, or JSON Schema where a registry is used"


def load_record(data: bytes | None) -> Any:
    """Decode a record's value: JSON (NaN, Infinity and invalid UTF-8 are none), in whatever it came wrapped.

    An event that is named by CloudEvents alone gets that id. Raises `InvalidEvent`.
    """
    if data is None:
        raise InvalidEvent("a tombstone has no meaning here")
    return _without_envelope(_decode(_without_frame(data)))


def check_plain_key(key: str) -> None:
    """Raise `InvalidEvent` where a key is an id that a serializer has wrapped: nobody's, though it looks like one."""
    if key[:1] in ('"', "{", "["):
        try:
            orjson.loads(key)
        except orjson.JSONDecodeError:
            return
        raise InvalidEvent(f"the record's key is JSON, {key[:60]!r}: write the plain id (a string serializer)")


def _without_frame(data: bytes) -> bytes:
    if data[:1] != bytes([_MAGIC]) or len(data) <= _FRAME_BYTES:
        return data
    schema_id, content = int.from_bytes(data[1:_FRAME_BYTES], "big"), data[_FRAME_BYTES:]
    if content.lstrip()[:1] in (b"{", b"["):
        return content
    # Protobuf's frame goes on with the message's indexes: a zero for the first of a file, or their count.
    form = "Protobuf" if content[0] in (0, 2) else "Avro"
    raise InvalidEvent(f"is {form} with schema {schema_id} of a registry, which isn't read: {_WRITE_JSON}")


def _decode(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        form = _binary_format(data)
        if form is not None:
            raise InvalidEvent(f"is {form}, which isn't read: {_WRITE_JSON}") from None
        raise InvalidEvent(f"is not valid JSON: {error}") from None


def _binary_format(data: bytes) -> str | None:
    """Name the format that the first bytes are of, where that can be known."""
    if data[:4] == b"Obj\x01" or data[:2] == b"\xc3\x01":
        return "Avro"
    # A field of bytes with its length, as the first field of a message with an id is; JSON may begin with a line feed.
    if (
        len(data) > 2
        and data[0] in (0x0A, 0x12, 0x1A)
        and data[1] < len(data)
        and data.lstrip()[:1] not in (b"{", b"[")
    ):
        return "Protobuf"
    return None


def _without_envelope(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() == {"schema", "payload"}:  # Kafka Connect's JSON, with its schema
        return value["payload"]
    if "specversion" not in value or not ("data" in value or "data_base64" in value):
        return value
    return open_envelope(value)


def open_envelope(value: dict[str, Any]) -> Any:
    """Return the data of a CloudEvent; an event of our own without an id gets the envelope's. Raises `InvalidEvent`."""
    inner = value.get("data")
    if inner is None:
        try:
            inner = _decode(b64decode(value.get("data_base64") or "", validate=True))
        except (ValueError, TypeError):
            raise InvalidEvent("must be base64 of JSON", "data_base64") from None
    elif isinstance(inner, str):
        inner = _decode(inner.encode())
    event_id = value.get("id")
    if isinstance(inner, dict) and "type" in inner and inner.get("event_id") is None and isinstance(event_id, str):
        source = value.get("source")
        return {**inner, "event_id": f"{source}#{event_id}" if isinstance(source, str) else event_id}
    return inner
