"""Shopify's products CSV: a product's rows, one a variant or a picture, are folded into an item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eddyline.clients.cells import parse_number
from eddyline.clients.csv_files import CsvFile, Row
from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.errors import InvalidInput

_NAMES: Mapping[str, tuple[str, ...]] = {
    "handle": ("Handle", "URL handle"),
    "title": ("Title",),
    "description": ("Body (HTML)", "Description"),
    "brand": ("Vendor",),
    "category": ("Type", "Product Category", "Product category"),
    "tags": ("Tags",),
    "price": ("Variant Price", "Price"),
    "quantity": ("Variant Inventory Qty", "Inventory quantity"),
    "tracker": ("Variant Inventory Tracker", "Inventory tracker"),
    "policy": ("Variant Inventory Policy", "Continue selling when out of stock"),
    "image_url": ("Image Src", "Product image URL"),
    "status": ("Status",),
}
"""Columns of the export, as it is and as it was before 2025."""
_SELLS_ON = frozenset({"continue", "true"})


def recognise(first: list[str]) -> bool:
    """Tell by the header."""
    header = first[0].lstrip("\ufeff") if first else ""
    return "Handle,Title,Body (HTML)" in header.replace('"', "") or (
        "URL handle" in header and "Product image URL" in header
    )


def read(file: Path) -> Iterator[SourceLine | RefusedLine]:
    """Read products; an item's id is its handle."""
    table = CsvFile(file)
    names = {ours: [name for name in theirs if name in table.columns] for ours, theirs in _NAMES.items()}
    if not names["handle"] or not names["title"]:
        raise InvalidInput(f"{file.name} lacks the columns Handle and Title of Shopify's products", "path")
    rows: list[tuple[int, dict[str, str]]] = []
    for row in table.rows():
        if isinstance(row, RefusedLine):
            yield row
            continue
        cells = _cells(row, names)
        if rows and cells.get("handle") != rows[0][1].get("handle"):
            yield _item(file, rows)
            rows = []
        rows.append((row.line, cells))
    if rows:
        yield _item(file, rows)


def _cells(row: Row, names: Mapping[str, list[str]]) -> dict[str, str]:
    found = {
        ours: next((row.cells[name] for name in theirs if name in row.cells), "") for ours, theirs in names.items()
    }
    return {ours: cell for ours, cell in found.items() if cell}


def _item(file: Path, rows: list[tuple[int, dict[str, str]]]) -> SourceLine | RefusedLine:
    where, first = f"{file.name}:{rows[0][0]}", rows[0][1]
    variants = [cells for _, cells in rows if "price" in cells]
    try:
        prices = [parse_number("price", cells["price"]) for cells in variants]
    except InvalidInput as error:
        return RefusedLine.at(where, error.field, error.reason, first)
    if "handle" not in first:
        return RefusedLine.at(where, "item_id", "is needed: the row has no handle", first)
    item: dict[str, Any] = {
        "item_id": first["handle"],
        "title": first.get("title", ""),
        "description": first.get("description"),
        "category": first.get("category"),
        "tags": [tag.strip() for tag in first.get("tags", "").split(",") if tag.strip()],
        "image_url": next((cells["image_url"] for _, cells in rows if "image_url" in cells), None),
        "price": min(prices, default=None),
        "available": first.get("status", "active").lower() == "active" and any(map(_is_there, variants or [first])),
        "attributes": {"brand": first["brand"]} if "brand" in first else {},
    }
    return SourceLine(where, {name: value for name, value in item.items() if value not in (None, [], {})})


def _is_there(variant: Mapping[str, str]) -> bool:
    if "quantity" not in variant or "tracker" not in variant or variant.get("policy", "").lower() in _SELLS_ON:
        return True
    try:
        return parse_number("quantity", variant["quantity"]) > 0
    except InvalidInput:
        return True
