"""Fields of files by their names: ours, theirs that are mapped to ours, and attributes that the settings declare."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eddyline.clients.cells import RATING, TIMES, parse_attribute, parse_cell, parse_time
from eddyline.clients.lines import Json
from eddyline.errors import InvalidInput
from eddyline.model.events import Content, Identify, ImpressionReport, Interaction, User
from eddyline.settings import AttributeKind

OWN_FIELDS: Final = frozenset(
    name for model in (Content, User, Interaction, Identify, ImpressionReport) for name in model.model_fields
)
NESTED: Final = ("attributes", "context", "rating")
"""Fields whose parts are columns of their own, e.g. `attributes.brand`."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Makes values of the HTTP API of rows. `names`: ours by theirs, empty for what is left out."""

    names: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)
    """Declared attributes: a column of this name is one, beside `attributes.NAME`, in items and people."""

    @classmethod
    def from_options(cls, renamed: Iterable[str], attributes: Mapping[str, AttributeKind]) -> Columns:
        """Read options of the form `theirs=ours`. Raises `InvalidInput` for a field that there isn't."""
        names: dict[str, str] = {}
        for option in renamed:
            theirs, equals, ours = option.rpartition("=")
            if not equals or not theirs:
                raise InvalidInput(f"{option!r} isn't theirs=ours, e.g. sku=item_id", "map")
            nest, _, part = ours.partition(".")
            is_known = ours in RATING or ours in OWN_FIELDS or ours in attributes
            if ours and not is_known and not (part and nest in ("attributes", "context")):
                raise InvalidInput(
                    f"there is no field {ours!r}: take one of {', '.join(sorted(OWN_FIELDS))}, attributes.NAME, "
                    f"context.NAME or {', '.join(sorted(RATING))}; nothing after = leaves a column out",
                    "map",
                )
            names[theirs] = ours
        return cls(names, attributes)

    @property
    def digest(self) -> str:
        """Return what is the same for the same columns."""
        options = [sorted(self.names.items()), sorted(self.attributes.items())]
        return hashlib.blake2b(repr(options).encode(), digest_size=8).hexdigest()

    def our_name(self, theirs: str) -> str:
        """Return our name of a field; empty where it is left out."""
        return self.names.get(theirs, theirs)

    def value(self, given: Mapping[str, Any], decimal_comma: bool = False) -> Json:
        """Make the value of a row. Raises `InvalidInput` naming the field."""
        is_event = any(self.our_name(name) == "type" for name in given)
        value: Json = {}
        for theirs, cell in given.items():
            name = self.our_name(theirs)
            if not name or (self.names and theirs not in self.names and self._is_mapped_from(name, given)):
                continue
            if not is_event and name in self.attributes and name not in OWN_FIELDS:
                name = f"attributes.{name}"
            self._put(value, name, self._parsed(name, cell, decimal_comma))
        return value

    def _is_mapped_from(self, name: str, given: Mapping[str, Any]) -> bool:
        """Tell whether another field of the row is mapped to the name: that one counts."""
        return any(ours == name and theirs in given for theirs, ours in self.names.items())

    def _parsed(self, name: str, cell: Any, decimal_comma: bool) -> Any:
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
