"""Dead letters as people and programs see them. Bytes that anyone may have sent are made harmless first."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import orjson
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from eddyline.adapters.kafka import DeadLetter, Headers, UnreadableDeadLetter
from eddyline.maintenance.dead_letters import DeadLetterSummary
from eddyline.model.events import format_timestamp

_ROW = 16
_LINE = 2000
"""Most characters of a line of a value that people are shown: a picture may be in it."""


def count_table(found: DeadLetterSummary) -> Table:
    """Tabulate the counts by topic and reason."""
    table = _table("topic", "reason")
    table.add_column("letters", justify="right")
    for (topic, reason), count in sorted(found.counts.items()):
        table.add_row(_text(topic), _text(reason), f"{count:,}")
    return table


def newest_table(found: DeadLetterSummary) -> Table:
    """Tabulate the newest, a line for each."""
    table = _table("id", "reason", "given up")
    table.add_column("detail", no_wrap=True, overflow="ellipsis", ratio=1)
    for letter in found.newest:
        table.add_row(
            _text(letter.id), _text(letter.reason), _when(letter.given_up_at, "seconds"), _text(letter.detail)
        )
    return table


def as_json(each: DeadLetter | UnreadableDeadLetter) -> dict[str, Any]:
    """Write one for programs: bytes as text where they are UTF-8, else {"base64": …}."""
    if isinstance(each, UnreadableDeadLetter):
        return {"id": each.place, "unreadable": each.problem, **_content(each.key, each.value, each.headers)}
    record = each.record
    return {
        "id": each.id,
        "reason": each.reason,
        "detail": each.detail,
        "given_up_at": _when(each.given_up_at),
        "attempt": each.attempt,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "log": record.log,
        "arrived": _when(record.timestamp),
        **_content(record.key, record.value, record.headers),
    }


def lines(each: DeadLetter | UnreadableDeadLetter) -> Iterator[str]:
    """Write one for people: everything, a field a line, and the value at the end; what is very long is cut."""
    if isinstance(each, UnreadableDeadLetter):
        yield f"id        {escaped(each.place)}"
        yield f"problem   {escaped(each.problem)}"
        yield from _body(each.key, each.value, each.headers)
        return
    record = each.record
    log = f", log {record.log}" if record.log else ""
    yield f"id        {escaped(each.id)}"
    yield f"reason    {escaped(each.reason)}"
    yield f"detail    {escaped(each.detail)}"
    yield f"source    {escaped(f'{record.topic}, partition {record.partition}, offset {record.offset}{log}')}"
    yield f"arrived   {_when(record.timestamp)}"
    yield f"given up  {_when(each.given_up_at)}, at attempt {each.attempt}"
    yield from _body(record.key, record.value, record.headers)


def escaped(text: str) -> str:
    """Escape what a terminal would obey: a dead letter may hold anything."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _text(text: str) -> RenderableType:
    return Text(escaped(text))  # no markup: it isn't ours


def _when(milliseconds: int, precision: str = "milliseconds") -> str:
    try:
        text = format_timestamp(milliseconds / 1000)
    except (OverflowError, ValueError, OSError):
        return f"{milliseconds} ms"
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}Z" if precision == "seconds" else f"{whole}.{(fraction + '000')[:3]}Z"


def _content(key: bytes | None, value: bytes | None, headers: Headers) -> dict[str, Any]:
    return {
        "key": _encoded(key),
        "value": _encoded(value),
        "headers": [[name, _encoded(held)] for name, held in headers],
    }


def _encoded(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}


def _body(key: bytes | None, value: bytes | None, headers: Headers) -> Iterator[str]:
    yield f"key       {_inline(key)}"
    for name, held in headers:
        yield f"header    {escaped(name)}: {_inline(held)}"
    if value is None:
        yield "value     none: a tombstone"
        return
    yield f"value     {len(value):,} bytes"
    yield from _shown(value)


def _inline(data: bytes | None) -> str:
    encoded = _encoded(data)
    if encoded is None:
        return "none"
    return escaped(encoded) if isinstance(encoded, str) else f"base64 {encoded['base64']}"


def _shown(value: bytes) -> Iterator[str]:
    """Write JSON indented, other text as it is (very long lines cut), anything else in hexadecimal."""
    try:
        text = orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            yield from _dumped(value)
            return
    for line in text.split("\n"):
        yield escaped(_clipped(line))


def _clipped(line: str) -> str:
    if len(line) <= _LINE:
        return line
    return f"{line[: _LINE // 10]}… ({len(line):,} characters; `eddyline dlq list --json` has them all)"


def _dumped(value: bytes) -> Iterator[str]:
    for start in range(0, len(value), _ROW):
        row = value[start : start + _ROW]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * _ROW}} {text}"
