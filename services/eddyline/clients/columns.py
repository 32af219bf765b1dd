"""Fields of files by their names: ours, theirs that are mapped to ours, and attributes that the settings declare."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from eddyline.clients.cells import RATING, TIMES, in_zone, parse_attribute, parse_cell, parse_time
from eddyline.clients.lines import Json
from eddyline.errors import InvalidInput
from eddyline.model.events import Content, Identify, ImpressionReport, Interaction, User
from eddyline.settings import AttributeKind

OWN_FIELDS: Final = frozenset(
    name for model in (Content, User, Interaction, Identify, ImpressionReport) for name in model.model_fields
)
NESTED: Final = ("attributes", "context", "rating")
"""Fields whose parts are columns of their own, e.g. `attributes.brand`."""
RATING_EVENT: Final = "rating"
OWN_SCALE: Final = (0.5, 5.0)
"""Half a star to five, as MovieLens has them: its middle is the default of `events.rating_neutral`."""
_OF_ITEMS: Final = frozenset(Content.model_fields) - {"v", "timestamp"}
"""What a row that is an event and an item says of its item."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Makes values of the HTTP API of rows. `names`: ours by theirs, empty for what is left out."""

    names: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)
    """Declared attributes: a column of this name is one, beside `attributes.NAME`, in items and people."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Cells that each row has that lacks them, by our name."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Columns, by their own names, and patterns: rows that have such a cell are no part of it."""
    zone: ZoneInfo | None = None
    """Of times without an offset; None: they are refused."""
    rating_scale: tuple[float, float] | None = None
    """The worst and the best rating there is; None: they are Eddyline's own, 0.5 to 5."""

    @classmethod
    def from_options(
        cls,
        renamed: Iterable[str] | None,
        attributes: Mapping[str, AttributeKind],
        constants: Iterable[str] | None = None,
        skipped: Iterable[str] | None = None,
        zone: str | None = None,
        rating_scale: str | None = None,
    ) -> Columns:
        """Read options of the forms `theirs=ours`, `ours=value` and `theirs=pattern`, a time zone's name, and a scale
        as `worst:best`.

        Raises `InvalidInput` for what isn't of its form, and for a field or a zone that there isn't.
        """
        names: dict[str, str] = {}
        for option in renamed or ():
            theirs, equals, ours = option.rpartition("=")
            if not equals or not theirs:
                raise InvalidInput(f"{option!r} isn't theirs=ours, e.g. sku=item_id", "map")
            if ours:
                _check_field(ours, attributes, "map")
            names[theirs] = ours
        fixed: dict[str, str] = {}
        for option in constants or ():
            ours, _, value = option.partition("=")
            if not ours or not value:
                raise InvalidInput(f"{option!r} isn't ours=value, e.g. type=purchase", "set")
            _check_field(ours, attributes, "set")
            fixed[ours] = value
        patterns: list[tuple[str, str]] = []
        for option in skipped or ():
            theirs, equals, pattern = option.partition("=")
            if not equals or not theirs:
                raise InvalidInput(f"{option!r} isn't theirs=pattern, e.g. InvoiceNo=C*", "skip")
            patterns.append((theirs, pattern))
        known_zone = None if zone is None else _zone(zone)
        scale = None if rating_scale is None else _scale(rating_scale)
        return cls(names, attributes, fixed, tuple(patterns), known_zone, scale)

    @property
    def digest(self) -> str:
        """Return what is the same for the same columns."""
        options: list[Any] = [sorted(self.names.items()), sorted(self.attributes.items())]
        if self.constants or self.skipped or self.zone is not None or self.rating_scale is not None:
            options += [sorted(self.constants.items()), self.skipped, str(self.zone), self.rating_scale]
        return hashlib.blake2b(repr(options).encode(), digest_size=8).hexdigest()

    def skips(self, given: Mapping[str, Any]) -> str | None:
        """Return the pattern by which a row is no part of it, as the option says it; None where it is."""
        for theirs, pattern in self.skipped:
            cell = given.get(theirs)
            if fnmatchcase("" if cell is None else str(cell).strip(), pattern):
                return f"{theirs}={pattern}"
        return None

    def our_name(self, theirs: str) -> str:
        """Return our name of a field; empty where it is left out."""
        return self.names.get(theirs, theirs)

    def value(self, given: Mapping[str, Any], decimal_comma: bool = False) -> Json:
        """Make the value of a row. Raises `InvalidInput` naming the field."""
        named = {self.our_name(theirs) for theirs in given}
        is_event = "type" in named or ("type" in self.constants and "title" not in named)
        value: Json = {}
        for theirs, cell in given.items():
            name = self.our_name(theirs)
            if not name or (self.names and theirs not in self.names and self._is_mapped_from(name, given)):
                continue
            if not is_event and name in self.attributes and name not in OWN_FIELDS:
                name = f"attributes.{name}"
            self._put(value, name, self._parsed(name, cell, decimal_comma))
        for name, cell in self.constants.items():
            if name not in named:
                self._put(value, name, self._parsed(name, cell, False))
        return value

    def rescaled(self, value: Json) -> Json:
        """Return a rating on Eddyline's own scale, whose middle is neutral as theirs is; anything else as it is. Raises
        `InvalidInput` for one that isn't on the scale."""
        given = value.get("value")
        if self.rating_scale is None or value.get("type") != RATING_EVENT or not isinstance(given, int | float):
            return value
        worst, best = self.rating_scale
        if not worst <= given <= best:
            raise InvalidInput(f"{given:g} isn't on the scale from {worst:g} to {best:g}", "value")
        share = (given - worst) / (best - worst)
        return {**value, "value": OWN_SCALE[0] + share * (OWN_SCALE[1] - OWN_SCALE[0])}

    def split(self, value: Json) -> list[Json]:
        """Return the item and the event of a row that is both: one with a `title`, to which a constant gives its
        `type`. Any other is returned as it is."""
        if "type" not in self.constants or "title" not in value or "item_id" not in value:
            return [value]
        item = {name: one for name, one in value.items() if name in _OF_ITEMS}
        event = {name: one for name, one in value.items() if name not in _OF_ITEMS or name == "item_id"}
        return [item, event]

    def _is_mapped_from(self, name: str, given: Mapping[str, Any]) -> bool:
        """Tell whether another field of the row is mapped to the name: that one counts."""
        return any(ours == name and theirs in given for theirs, ours in self.names.items())

    def _parsed(self, name: str, cell: Any, decimal_comma: bool) -> Any:
        if self.zone is not None and name in TIMES:
            cell = in_zone(cell, self.zone)
        if not isinstance(cell, str):
            return parse_time(name, cell) if name in TIMES else cell
        kind = self.attributes.get(name.removeprefix("attributes.")) if name.startswith("attributes.") else None
        if kind is not None:
            return parse_attribute(name, cell, kind, decimal_comma)
        return parse_cell(name, cell, decimal_comma)

    @staticmethod
    def _put(value: Json, name: str, part: Any) -> None:
        """Set a field, or a part of one. Raises `InvalidInput` where it is set."""
        if name not in value and "." not in name and name not in NESTED:
            value[name] = part
            return
        if name in NESTED and isinstance(part, dict):
            value.setdefault(name, {})
            for inner, one in part.items():
                Columns._put(value, f"{name}.{inner}", one)
            return
        nest, dot, inner = name.partition(".")
        target, key = (value.setdefault(nest, {}), inner) if dot and nest in NESTED else (value, name)
        if not isinstance(target, dict) or key in target:
            raise InvalidInput("is given twice", name)
        target[key] = part


def _check_field(ours: str, attributes: Mapping[str, AttributeKind], option: str) -> None:
    """Raise `InvalidInput` for a field that there isn't."""
    nest, _, part = ours.partition(".")
    is_known = ours in RATING or ours in OWN_FIELDS or ours in attributes
    if not is_known and not (part and nest in ("attributes", "context")):
        raise InvalidInput(
            f"there is no field {ours!r}: take one of {', '.join(sorted(OWN_FIELDS))}, attributes.NAME, "
            f"context.NAME or {', '.join(sorted(RATING))}"
            + ("; nothing after = leaves a column out" if option == "map" else ""),
            option,
        )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInput(f"there is no time zone {name!r}: write e.g. UTC or Europe/Ljubljana", "timezone") from None


def _scale(text: str) -> tuple[float, float]:
    try:
        worst, best = (float(end) for end in text.split(":"))
    except ValueError:
        worst, best = 0.0, 0.0
    if not -math.inf < worst < best < math.inf:
        raise InvalidInput(f"{text!r} isn't worst:best, e.g. 1:10", "rating-scale")
    return worst, best
