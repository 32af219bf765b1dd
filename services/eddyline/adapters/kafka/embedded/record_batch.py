"""Kafka's record batches (magic 2) as bytes: what a broker reads of their headers, and what compaction takes out.

https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_PREFIX = struct.Struct(">qiib")  # base offset, length of what follows it, leader epoch, magic
_LENGTH_FROM = 12  # the length counts what comes after itself
_CRC_AT, _CHECKED_FROM = 17, 21
_FIELDS = struct.Struct(">hiqqqhii")  # what the CRC covers, before the records
HEADER_BYTES = _CHECKED_FROM + _FIELDS.size
_MAGIC = 2
_COMPRESSION, _CONTROL = 0x07, 0x20


class DamagedBatch(Exception):
    """The bytes are no batch."""


class BatchHeader(NamedTuple):
    """What the header says; `size` in bytes with the header, times in epoch milliseconds."""

    base_offset: int
    size: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def can_be_decoded(self) -> bool:
        """Whether its records can be told apart here: not compressed, and no transaction's mark."""
        return not self.attributes & (_COMPRESSION | _CONTROL)


class KeyedRecord(NamedTuple):
    """A record of a batch: `content` is all of it, as it stands there."""

    offset: int
    key: bytes | None
    is_tombstone: bool
    content: bytes


def read_header(data: bytes) -> BatchHeader:
    """Read the header of a batch that takes all of `data`, or more than it. Raises `DamagedBatch`."""
    if len(data) < HEADER_BYTES:
        raise DamagedBatch("a batch ends within its header")
    base_offset, length, _, magic = _PREFIX.unpack_from(data)
    if magic != _MAGIC or length < HEADER_BYTES - _LENGTH_FROM:
        raise DamagedBatch(f"a batch of format {magic}")
    fields = _FIELDS.unpack_from(data, _CHECKED_FROM)
    return BatchHeader(base_offset, _LENGTH_FROM + length, *fields)


def split_batches(data: bytes) -> list[tuple[BatchHeader, bytes]]:
    """Split what was produced into its batches. Raises `DamagedBatch` where it doesn't hold whole ones."""
    batches, position = [], 0
    while position < len(data):
        header = read_header(data[position : position + HEADER_BYTES])
        batch = data[position : position + header.size]
        if len(batch) < header.size or header.record_count < 1 or header.last_offset_delta < header.record_count - 1:
            raise DamagedBatch("a batch is cut short")
        batches.append((header, batch))
        position += header.size
    return batches


def at_offset(batch: bytes, base_offset: int) -> bytes:
    """Return the batch with that offset as its first; its CRC doesn't cover it."""
    return base_offset.to_bytes(8, "big") + batch[8:]


def records_of(batch: bytes) -> Iterator[KeyedRecord]:
    """Yield the records of a batch that `can_be_decoded`. Raises `DamagedBatch`."""
    base_offset = int.from_bytes(batch[:8], "big")
    position = HEADER_BYTES
    try:
        while position < len(batch):
            begin = position
            length, position = _varint(batch, position)
            end = position + length
            _, position = _varint(batch, position + 1)  # its attributes, then its timestamp
            offset_delta, position = _varint(batch, position)
            key_length, position = _varint(batch, position)
            key = None if key_length < 0 else batch[position : position + key_length]
            value_length, _ = _varint(batch, position + max(0, key_length))
            if end > len(batch):
                raise DamagedBatch("a record is cut short")
            yield KeyedRecord(base_offset + offset_delta, key, value_length < 0, batch[begin:end])
            position = end
    except IndexError as error:
        raise DamagedBatch("a record is cut short") from error


def with_records(batch: bytes, kept: list[KeyedRecord]) -> bytes:
    """Return the batch with these of its records alone, at their offsets."""
    header = read_header(batch)
    content = b"".join(record.content for record in kept)
    fields = _FIELDS.pack(*header[2:-1], len(kept))
    size = HEADER_BYTES + len(content)
    checked = fields + content
    prefix = _PREFIX.pack(header.base_offset, size - _LENGTH_FROM, -1, _MAGIC)
    return prefix + crc32c(checked).to_bytes(4, "big") + checked


def empty_batch(base_offset: int, last_offset: int) -> bytes:
    """Return a batch without records in the place of one that had those offsets."""
    checked = _FIELDS.pack(0, last_offset - base_offset, -1, -1, -1, -1, -1, 0)
    prefix = _PREFIX.pack(base_offset, HEADER_BYTES - _LENGTH_FROM, -1, _MAGIC)
    return prefix + crc32c(checked).to_bytes(4, "big") + checked


def crc32c(data: bytes) -> int:
    """Return the checksum (Castagnoli's polynomial) that a batch carries. Slow: some megabytes a second."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a zig-zag number; return it and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7


def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)  # noqa: PLW2901
        table.append(number)
    return table


_CRC_TABLE = _crc_table()
