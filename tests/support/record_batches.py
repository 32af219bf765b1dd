"""Record batches as a producer makes them, and what is in those that come back."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from eddyline.adapters.kafka.embedded.record_batch import (
    HEADER_BYTES,
    BatchHeader,
    KeyedRecord,
    crc32c,
    read_header,
    records_of,
)

Pair = tuple[bytes | None, bytes | None]


def a_batch(*records: Pair, producer: int = -1, sequence: int = -1, producer_epoch: int = 0) -> bytes:
    """A batch of these keys and values, at offset 0."""
    content = b"".join(_record(number, *record) for number, record in enumerate(records))
    fields = struct.pack(">hiqqqhii", 0, len(records) - 1, 1000, 1000, producer, producer_epoch, sequence, len(records))
    checked = fields + content
    prefix = struct.pack(">qiib", 0, HEADER_BYTES - 12 + len(content), -1, 2)
    return prefix + crc32c(checked).to_bytes(4, "big") + checked


def headed(batch: bytes) -> tuple[BatchHeader, bytes]:
    """A batch with its header, as it is appended."""
    return read_header(batch), batch


def records(data: bytes) -> list[KeyedRecord]:
    """All records in these batches, whose checksums must be right."""
    return list(_records(data))


def offsets(data: bytes) -> list[int]:
    """The offsets of all records in these batches."""
    return [record.offset for record in _records(data)]


def _records(data: bytes) -> Iterator[KeyedRecord]:
    while data:
        size = read_header(data).size
        batch, data = data[:size], data[size:]
        assert crc32c(batch[21:]) == int.from_bytes(batch[17:21], "big"), "its checksum is wrong"
        yield from records_of(batch)


def _record(number: int, key: bytes | None, value: bytes | None) -> bytes:
    body = b"\0" + _varint(0) + _varint(number) + _field(key) + _field(value) + _varint(0)
    return _varint(len(body)) + body


def _field(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    value, encoded = (number << 1) ^ (number >> 63), bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def keyed(*keys: bytes, value: bytes | None = b"v") -> Sequence[Pair]:
    """Records with these keys."""
    return [(key, value) for key in keys]
