"""Rows made complete from the items: those of an installation from before there were any, and what a lost record left.

Affinity is told of every change of an item by a record in `activity`. One that was lost (the topic keeps a day) leaves
a row that filters by what the item was, or none at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eddyline.adapters.vectors import Point, Sparse, VectorStore, scroll_pages
from eddyline.model import affinity
from eddyline.model.filters import Filter, IsEmpty
from eddyline.model.listing import LISTED_META, listing_fields, row_listing, servable_fields

LEARNT = ("row", "trend")
"""What items held themselves, before there were rows."""
LISTED = ("item_id", "language", "listed_at", "offer", "source", "servable")
PAGE = 500


@dataclass(slots=True)
class RowCounts:
    """What was done. `made`: rows that were missing, `corrected`: that were out of date, `removed`: of no item,
    `rescaled`: that held no logarithms."""

    made: int = 0
    corrected: int = 0
    removed: int = 0
    rescaled: int = 0


def complete_rows(store: VectorStore, items: str, rows: str, *, is_alone: bool = False) -> RowCounts:
    """Give every item its row, have it filtered as the item is, and rescale rows of before. What they learnt stays.

    Rows from before (`row`, `trend` and the vector `affinity` in the items) are carried over. `items`, `rows`: concrete
    collections. `is_alone`: nobody else writes, so a row without an item is none that is just being made, and goes.
    """
    counts = RowCounts()
    keys = (*LISTED, *LEARNT, "meta.title", *(f"meta.{name}" for name in LISTED_META))
    pages = scroll_pages(store, items, payload=keys, limit=PAGE)
    listed = sum(_complete_page(store, items, rows, page, counts) for page in pages)
    if is_alone and store.count(rows) > listed:
        for page in scroll_pages(store, rows, payload=(), limit=PAGE):
            there = store.retrieve(items, [point.id for point in page], payload=())
            gone = [point.id for point in page if point.id not in there]
            store.delete(rows, gone)
            counts.removed += len(gone)
    counts.rescaled = rescale_rows(store, rows)
    return counts


def rescale_rows(store: VectorStore, rows: str) -> int:
    """Take the logarithm of the rows that were stored without it (`model.affinity`); return how many those were.

    What affinity writes meanwhile stays as it is.
    """
    count = 0
    for page in scroll_pages(store, rows, payload=("row.count", "row.unit"), limit=PAGE):
        linear = [point.id for point in page if point.payload.get("row") and "unit" not in point.payload["row"]]
        points = store.retrieve(rows, linear, vectors=("affinity",)) if linear else {}
        rescaled = [_rescaled(point) for point in points.values()]
        if rescaled:
            store.upsert(rows, rescaled, condition=_LINEAR)
        count += len(rescaled)
    return count


_LINEAR = Filter(must=(IsEmpty("row.unit"),))


def _rescaled(point: Point) -> Point:
    vectors = {
        name: Sparse(vector.indices, affinity.scaled(vector.values))
        for name, vector in point.vectors.items()
        if isinstance(vector, Sparse)
    }
    row = {**point.payload["row"], "unit": affinity.EVIDENCE_UNIT}
    return replace(point, vectors=vectors, payload={**point.payload, "row": row})


def _complete_page(store: VectorStore, items: str, rows: str, page: Sequence[Point], counts: RowCounts) -> int:
    """Complete the rows of a page of items; return how many of them have one."""
    unmarked = {
        point.id: servable_fields(_meta(point), point.payload.get("offer") or {})
        for point in page
        if "servable" not in point.payload
    }
    store.set_payload(items, unmarked)
    listings = {point.id: _listing(point) for point in page if _meta(point) is not None}
    there = store.retrieve(rows, list(listings), payload=tuple(_row_keys(listings.values())))
    learnt = {point.id: point for point in page if any(point.payload.get(name) for name in LEARNT)}
    vectors = store.retrieve(items, list(learnt), payload=(), vectors=("affinity",)) if learnt else {}
    missing = [
        Point(
            point_id,
            vectors[point_id].vectors if point_id in vectors else {},
            {**listing, **_learnt(learnt.get(point_id)), "epoch": 0.0},
        )
        for point_id, listing in listings.items()
        if point_id not in there
    ]
    if missing:
        store.upsert(rows, missing, insert_only=True)
    wrong = {id: listings[id] for id, row in there.items() if dict(row.payload) != listings[id]}
    store.set_payload(rows, wrong)
    store.delete_payload(items, list(learnt), LEARNT)
    counts.made += len(missing)
    counts.corrected += len(wrong)
    return len(listings)


def _meta(point: Point) -> Mapping[str, Any] | None:
    """Return what is known of the item itself; None where only its price or stock is."""
    meta = point.payload.get("meta")
    return meta if meta and "title" in meta else None


def _listing(point: Point) -> dict[str, Any]:
    payload = point.payload
    source = {name: payload["source"][name] for name in ("log", "partition", "offset") if payload.get("source")}
    fields = {"item_id": payload["item_id"], **listing_fields(payload)}
    return {**row_listing(fields, payload.get("offer") or {}), "source": source}


def _row_keys(listings: Iterable[Mapping[str, Any]]) -> set[str]:
    return {key for listing in listings for key in listing}


def _learnt(point: Point | None) -> dict[str, Any]:
    return {} if point is None else {name: point.payload[name] for name in LEARNT if point.payload.get(name)}
