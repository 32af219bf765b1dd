"""Google Merchant's product feeds in files: XML (RSS or Atom with its names) and TSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from eddyline.clients.cells import parse_number
from eddyline.clients.csv_files import CsvFile
from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.clients.text_files import read_lines
from eddyline.errors import InvalidInput

_NAMESPACE = "base.google.com/ns/1.0"
_ENTRIES = frozenset({"item", "entry"})
_STOCK = {"in_stock": True, "preorder": True, "backorder": True, "out_of_stock": False}
_ATTRIBUTES = ("brand", "condition", "color", "size", "gender", "age_group", "material", "gtin", "mpn", "item_group_id")


def recognise_xml(first: list[str]) -> bool:
    """Tell by the namespace."""
    return any(_NAMESPACE in line for line in first) and first[0].lstrip("\ufeff \t").startswith("<")


def recognise_tsv(first: list[str]) -> bool:
    """Tell by the header."""
    columns = _columns(first[0].lstrip("\ufeff").rstrip("\r\n").split("\t")) if first else set()
    return {"id", "title", "link", "availability"} <= columns and "image_link" in columns


def read_xml(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read products, as far as the document can be read."""
    root = etree.fromstring(
        "".join(read_lines(file)).encode("utf-8", "replace"),
        etree.XMLParser(recover=True, resolve_entities=False, no_network=True, huge_tree=True, encoding="utf-8"),
    )
    for element in () if root is None else root.iter():
        if isinstance(element.tag, str) and _local(element.tag) in _ENTRIES:
            fields: dict[str, str] = {}
            for part in element:
                if isinstance(part.tag, str) and (text := "".join(part.itertext()).strip() or part.get("href")):
                    fields.setdefault(_local(part.tag), text)
            yield _item(f"{file.name}:{element.sourceline}", fields)


def read_tsv(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read products."""
    for row in CsvFile(file).rows():
        if isinstance(row, RefusedLine):
            yield row
        else:
            named = {_column(name): cell for name, cell in row.cells.items()}
            yield _item(f"{file.name}:{row.line}", named)


def _item(where: str, fields: Mapping[str, str]) -> SourceLine | RefusedLine:
    kinds = fields.get("product_type") or fields.get("google_product_category") or ""
    path = [part.strip() for part in kinds.split(">") if part.strip()]
    price = fields.get("sale_price") or fields.get("price")
    try:
        item: dict[str, Any] = {
            "item_id": fields.get("id"),
            "title": fields.get("title"),
            "description": fields.get("description"),
            "url": fields.get("link"),
            "image_url": fields.get("image_link"),
            "category": path[0] if path else None,
            "tags": path[1:],
            "price": None if price is None else parse_number("price", price),
            "available": _STOCK.get(fields.get("availability", "").lower().replace(" ", "_")),
            "attributes": {name: fields[name] for name in _ATTRIBUTES if name in fields},
        }
    except InvalidInput as error:
        return RefusedLine.at(where, error.field, error.reason, dict(fields))
    return SourceLine(where, {name: value for name, value in item.items() if value not in (None, [], {})})


def _columns(names: list[str]) -> set[str]:
    return {_column(name) for name in names}


def _column(name: str) -> str:
    return name.strip().strip('"').lower().removeprefix("g:").replace(" ", "_")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
