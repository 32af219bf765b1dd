"""Kafka's primitive types on the wire, in both encodings: the classic one, and the compact one of flexible versions.

https://kafka.apache.org/protocol#protocol_types
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable
from typing import TypeVar

Element = TypeVar("Element")

_INT8, _INT16, _INT32, _INT64 = struct.Struct(">b"), struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")


class MalformedRequest(Exception):
    """The bytes are no request of that kind and version: the connection can't go on."""


class RequestReader:
    """Reads values from a request, one after another. `flexible`: in the compact encoding.

    Everything raises `MalformedRequest` where the request ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0
        self.flexible = False

    def int8(self) -> int:
        """Read a number of one byte."""
        return self._unpack(_INT8)

    def int16(self) -> int:
        """Read a number of two bytes."""
        return self._unpack(_INT16)

    def int32(self) -> int:
        """Read a number of four bytes."""
        return self._unpack(_INT32)

    def int64(self) -> int:
        """Read a number of eight bytes."""
        return self._unpack(_INT64)

    def boolean(self) -> bool:
        """Read a truth value."""
        return self.int8() != 0

    def uuid(self) -> uuid.UUID:
        """Read an id."""
        return uuid.UUID(bytes=self._take(16))

    def classic_string(self) -> str | None:
        """Read a string whose length has two bytes, whatever the version: a header's."""
        length = self.int16()
        return None if length < 0 else self._text(length)

    def nullable_string(self) -> str | None:
        """Read a text, or None."""
        if not self.flexible:
            return self.classic_string()
        length = self._unsigned_varint()
        return None if length == 0 else self._text(length - 1)

    def string(self) -> str:
        """Read a text that must be there."""
        text = self.nullable_string()
        if text is None:
            raise MalformedRequest("a text is missing")
        return text

    def nullable_bytes(self) -> bytes | None:
        """Read bytes, or None."""
        length = self._unsigned_varint() - 1 if self.flexible else self.int32()
        return None if length < 0 else self._take(length)

    def nullable_array(self, element: Callable[[], Element]) -> list[Element] | None:
        """Read an array by calling `element` for each of its elements; or None."""
        length = self._unsigned_varint() - 1 if self.flexible else self.int32()
        return None if length < 0 else [element() for _ in range(length)]

    def array(self, element: Callable[[], Element]) -> list[Element]:
        """Read an array; one that is null is empty."""
        return self.nullable_array(element) or []

    def tagged_fields(self) -> None:
        """Skip what flexible versions may carry at the end of a structure."""
        if self.flexible:
            for _ in range(self._unsigned_varint()):
                self._unsigned_varint()
                self._take(self._unsigned_varint())

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise MalformedRequest(str(error)) from error

    def _unpack(self, kind: struct.Struct) -> int:
        value: int = kind.unpack(self._take(kind.size))[0]
        return value

    def _unsigned_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _take(self, length: int) -> bytes:
        end = self._position + length
        if length < 0 or end > len(self._data):
            raise MalformedRequest("the request ends too early")
        taken = self._data[self._position : end]
        self._position = end
        return taken


class ResponseWriter:
    """Writes the values of a response, one after another. `flexible`: in the compact encoding."""

    def __init__(self, flexible: bool = False) -> None:
        self._data = bytearray()
        self.flexible = flexible

    def int8(self, value: int) -> None:
        """Write a number of one byte."""
        self._data += _INT8.pack(value)

    def int16(self, value: int) -> None:
        """Write a number of two bytes."""
        self._data += _INT16.pack(value)

    def int32(self, value: int) -> None:
        """Write a number of four bytes."""
        self._data += _INT32.pack(value)

    def int64(self, value: int) -> None:
        """Write a number of eight bytes."""
        self._data += _INT64.pack(value)

    def boolean(self, value: bool) -> None:
        """Write a truth value."""
        self.int8(int(value))

    def uuid(self, value: uuid.UUID) -> None:
        """Write an id."""
        self._data += value.bytes

    def string(self, value: str | None) -> None:
        """Write a text, or None."""
        encoded = None if value is None else value.encode()
        if self.flexible:
            self._unsigned_varint(0 if encoded is None else len(encoded) + 1)
        else:
            self.int16(-1 if encoded is None else len(encoded))
        self._data += encoded or b""

    def bytes(self, value: bytes | bytearray) -> None:
        """Write bytes."""
        if self.flexible:
            self._unsigned_varint(len(value) + 1)
        else:
            self.int32(len(value))
        self._data += value

    def array(self, values: Iterable[Element], element: Callable[[Element], None]) -> None:
        """Write an array by calling `element` with each of its elements."""
        items = list(values)
        if self.flexible:
            self._unsigned_varint(len(items) + 1)
        else:
            self.int32(len(items))
        for item in items:
            element(item)

    def tagged_fields(self) -> None:
        """End a structure, which in flexible versions says that nothing more follows."""
        if self.flexible:
            self._unsigned_varint(0)

    def to_bytes(self) -> bytearray:
        """Return what was written."""
        return self._data

    def _unsigned_varint(self, value: int) -> None:
        while value >= 0x80:
            self._data.append(value & 0x7F | 0x80)
            value >>= 7
        self._data.append(value)
