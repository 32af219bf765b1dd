"""Cells of files, as spreadsheets and other programs write them, become values of the HTTP API; what could mean two
things is refused."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from eddyline.errors import InvalidInput
from eddyline.settings import AttributeKind

LISTS: Final = frozenset({"tags", "interests", "goals"})
MONEY: Final = frozenset({"price", "value"})
RATING: Final = frozenset({"rating.value", "rating.scale", "rating.least", "rating.count"})
"""Columns that make an item's rating."""
WHOLE_NUMBERS: Final = frozenset({"rating.count"})
NUMBERS: Final = MONEY | RATING | {"dwell_ms"}
TIMES: Final = frozenset({"timestamp", "published_at", "expires_at"})
BOOLEANS: Final = frozenset({"available"})

_YES: Final = frozenset({"true", "t", "yes", "y", "1", "1.0", "in stock", "in_stock"})
_NO: Final = frozenset({"false", "f", "no", "n", "0", "0.0", "out of stock", "out_of_stock"})
_PLAIN: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_GROUPED: Final = re.compile(r"(?P<sign>[+-]?)(?P<whole>\d{1,3}(?:(?P<group>[., '’])\d{3})(?:(?P=group)\d{3})*)"
                             r"(?:(?P<point>[.,])(?P<part>\d+))?")  # fmt: skip
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+")
_TWO_MEANINGS: Final = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MAX_WHOLE: Final = 2**53
EARLIEST_NUMBER: Final = 1e8
"""Epoch seconds of March 1973: a smaller number is a year, a date without dashes or a spreadsheet's day."""
_SPREADSHEET_DAYS: Final = (20_000, 80_000)
_SPREADSHEET_EPOCH: Final = datetime(1899, 12, 30, tzinfo=UTC)


def parse_cell(name: str, text: str, decimal_comma: bool = False) -> Any:
    """Parse the cell of a field, e.g. `tags` or `rating.count`. Raises `InvalidInput`, as all here."""
    if name in LISTS:
        return parse_list(text)
    if name in BOOLEANS:
        return parse_boolean(name, text)
    if name in WHOLE_NUMBERS:
        return parse_whole_number(name, text, decimal_comma)
    if name in NUMBERS:
        return parse_number(name, text, decimal_comma)
    return parse_time(name, text) if name in TIMES else text


def parse_attribute(name: str, text: str, kind: AttributeKind, decimal_comma: bool = False) -> Any:
    """Parse the cell of an attribute that the settings declare."""
    match kind:
        case AttributeKind.INTEGER:
            return parse_whole_number(name, text, decimal_comma)
        case AttributeKind.FLOAT:
            return parse_number(name, text, decimal_comma)
        case AttributeKind.BOOL:
            return parse_boolean(name, text)
        case AttributeKind.KEYWORD:
            return [part.strip() for part in text.split("|") if part.strip()] if "|" in text else text


def parse_list(text: str) -> list[str]:
    """Split at bars, where there are none at semicolons, and else at commas."""
    separator = next((one for one in "|;" if one in text), ",")
    return [part.strip() for part in text.split(separator) if part.strip()]


def parse_boolean(name: str, text: str) -> bool:
    """Parse true or false, yes or no, 1 or 0, in or out of stock."""
    said = text.strip().lower()
    if said not in _YES | _NO:
        raise InvalidInput(f"{text!r} is neither true nor false", name)
    return said in _YES


def parse_whole_number(name: str, text: str, decimal_comma: bool = False) -> int:
    """Parse a number that has no fraction, e.g. `12`, `12.0` or `12 000`."""
    value = parse_number(name, text, decimal_comma)
    if not value.is_integer() or abs(value) > _MAX_WHOLE:
        raise InvalidInput(f"{text!r} is not a whole number", name)
    return int(value)


def parse_number(name: str, text: str, decimal_comma: bool = False) -> float:
    """Parse a finite number, e.g. `1234.5`, `1.234,50`, `1 234,50`, and where it is money `19.99 USD` or `€5`.

    `decimal_comma`: the file may come from a spreadsheet that writes 1.234 for a thousand and more. What then could
    mean two numbers is refused, as `1,234` is everywhere.
    """
    figure = _without_currency(text) if name in MONEY else text.strip()
    figure = re.sub(r"[\u00a0\u202f\u2009]", " ", figure)
    if _TWO_MEANINGS.fullmatch(figure) and (decimal_comma or "," in figure):
        raise InvalidInput(f"{text!r} could mean two numbers: write 1234 or 1.2340", name)
    if _PLAIN.fullmatch(figure):
        value = float(figure)
    elif _DECIMAL_COMMA.fullmatch(figure):
        value = float(figure.replace(",", "."))
    elif (grouped := _GROUPED.fullmatch(figure)) and grouped["group"] != grouped["point"]:
        whole = grouped["whole"].replace(grouped["group"], "")
        value = float(f"{grouped['sign']}{whole}.{grouped['part'] or 0}")
    else:
        raise InvalidInput(f"{text!r} is not a number", name)
    if math.isinf(value):
        raise InvalidInput(f"{text!r} is not a number", name)
    return value


def _without_currency(text: str) -> str:
    """Return an amount without the sign or the ISO code beside it."""
    bare = "".join(character for character in text if unicodedata.category(character) != "Sc").strip()
    for end in (bare[:3], bare[-3:]):
        if len(bare) > 3 and _CURRENCY.fullmatch(end):
            return bare.removeprefix(end).removesuffix(end).strip()
    return bare


def parse_time(name: str, given: Any) -> Any:
    """Return a time as the HTTP API takes it: a text as it is, a day as its beginning in UTC, an epoch number.

    Refuses a number that can't be one, e.g. 2024 or a spreadsheet's day, rather than to take it for the year 1970.
    """
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        return given
    text = given.strip() if isinstance(given, str) else format(given, "g" if isinstance(given, float) else "d")
    if isinstance(given, float) and given.is_integer() and abs(given) < _MAX_WHOLE:
        text = str(int(given))
    day = _day(text)
    if day is not None:
        return f"{day:%Y-%m-%d}T00:00:00Z"
    if text.isdigit() and len(text) in (12, 14) and _day(text[:8]) is not None:
        raise InvalidInput(f"{text!r} has no offset: write 2024-01-05T12:30:00Z, or with +01:00 for Z", name)
    try:
        number = float(text)
    except ValueError:
        return given
    if text == "infinity" or number < 0 or EARLIEST_NUMBER <= number < math.inf:
        return text if math.isinf(number) else number
    raise InvalidInput(f"{text!r} is not a time{_meant(number)}: write 2024-01-05T12:30:00Z, or epoch seconds", name)


def in_zone(given: Any, zone: ZoneInfo) -> Any:
    """Return a day or a time without an offset as one of this zone; anything else as it is."""
    text = given.strip() if isinstance(given, str) else ""
    if "-" not in text and _day(text) is None:
        return given
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return given
    return parsed.replace(tzinfo=zone).isoformat() if parsed.tzinfo is None else given


def _day(text: str) -> datetime | None:
    """Read 2024-01-05 or 20240105, from the year 1900 on."""
    if _DATE.fullmatch(text) or (len(text) == 8 and text.isdigit()):
        try:
            day = datetime.fromisoformat(text)
        except ValueError:
            return None
        return day.replace(tzinfo=UTC) if day.year >= 1900 else None
    return None


def _meant(number: float) -> str:
    """Guess what a small number was meant as."""
    if 1900 <= number <= 2100 and number.is_integer():
        return " but a year"
    least, most = _SPREADSHEET_DAYS
    if least <= number < most:
        return f" but a spreadsheet's number of a day ({_SPREADSHEET_EPOCH + timedelta(days=int(number)):%Y-%m-%d})"
    return " (it would be of the first years after 1970)" if number < EARLIEST_NUMBER else ""
