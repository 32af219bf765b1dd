"""Items copied into the encoder's space: their content embedded from the stored text, all else taken over as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eddyline.adapters.encoders import TextEncoder, embed_items
from eddyline.adapters.vectors import Dense, Filter, Match, Point, Vector, VectorStore, scroll_pages
from eddyline.maintenance.generations.rebuild import ReportProgress
from eddyline.model.language import Detect, detect_no_language, item_language
from eddyline.model.plain_text import plain_line
from eddyline.model.text import DEFAULT, Template, parts_hash


@dataclass(slots=True)
class CopyCounts:
    """Counts of what a pass over the items did."""

    items: int = 0
    embedded: int = 0
    deleted: int = 0

    @property
    def changed(self) -> int:
        """Count the items that differed from the copy."""
        return self.items + self.deleted


class ItemCopier:
    """Keeps `target` a copy of `source` in the encoder's space: everything but the content vectors is taken over.

    Images are where they are in `image_space`; the others, and all without one, are left out, to be fetched again.
    """

    def __init__(
        self,
        store: VectorStore,
        encoder: TextEncoder,
        source: str,
        target: str,
        template: Template = DEFAULT,
        image_space: str | None = None,
        detect: Detect = detect_no_language,
    ) -> None:
        self._store, self._encoder, self._source, self._target = store, encoder, source, target
        self._template, self._detect = template, detect
        same = () if image_space is None else (Match("image.space", (image_space,)),)
        has_images = bool(same) and store.count(source, Filter(must=same)) > 0
        self._image_space = image_space if has_images else None
        self._images = ("image",) if has_images else ()

    def run(self, advance: ReportProgress = lambda _: None) -> CopyCounts:
        """Make one pass: copy what differs, delete what is gone. `advance` gets the items of each page."""
        copied = CopyCounts()
        for page in scroll_pages(self._store, self._source, vectors=self._images):
            self._copy_page(page, copied)
            advance(len(page))
        for page in scroll_pages(self._store, self._target, payload=()):
            there = self._store.retrieve(self._source, [point.id for point in page], payload=())
            gone = [point.id for point in page if point.id not in there]
            self._store.delete(self._target, gone)
            copied.deleted += len(gone)
        return copied

    def _copy_page(self, page: Sequence[Point], copied: CopyCounts) -> None:
        kept = ("content", *self._images)
        there = self._store.retrieve(self._target, [point.id for point in page], vectors=kept)
        payloads = {point.id: self._payload(point, there.get(point.id)) for point in page}
        changed = [point for point in page if not _is_copy(there.get(point.id), payloads[point.id])]
        texts = {
            point.id: self._template.parts(point.payload["meta"])
            for point in changed
            if "meta" in point.payload and not _same_text(there.get(point.id), payloads[point.id])
        }
        rows = dict(zip(texts, embed_items(self._encoder, list(texts.values())), strict=True))
        points = [
            Point(
                point.id,
                _vectors(point, there.get(point.id), rows.get(point.id), "image" in payloads[point.id]),
                payloads[point.id],
            )
            for point in changed
        ]
        if points:
            self._store.upsert(self._target, points)
        copied.items += len(points)
        copied.embedded += len(texts)

    def _payload(self, point: Point, there: Point | None) -> Mapping[str, Any]:
        """Make the payload that the item would have, had this encoder embedded its text."""
        payload = dict(point.payload)
        if self._image_space is None or payload.get("image", {}).get("space") != self._image_space:
            payload.pop("image", None)
        if "meta" not in payload:
            return payload  # price and stock alone, before the item itself
        payload["space"] = self._encoder.space
        payload["meta"] = {**payload["meta"], "title": plain_line(payload["meta"]["title"])}
        embedded = parts_hash(self._template.parts(payload["meta"]), self._encoder.space)
        payload["source"] = {**payload.get("source", {}), "hash": embedded, "embeddings": 1}
        payload["language"] = self._language(payload["meta"], there)
        return payload

    def _language(self, meta: Mapping[str, Any], there: Point | None) -> Mapping[str, Any]:
        """Give the item's language, detected once however many passes there are."""
        known: Mapping[str, Any] = {} if there is None else there.payload
        if "language" in known and known.get("meta") == meta:
            return dict(known["language"])
        return item_language(meta, self._detect)


def _is_copy(there: Point | None, payload: Mapping[str, Any]) -> bool:
    return there is not None and dict(there.payload) == dict(payload)


def _same_text(there: Point | None, payload: Mapping[str, Any]) -> bool:
    return there is not None and there.payload.get("source", {}).get("hash") == payload["source"]["hash"]


def _vectors(point: Point, there: Point | None, row: Dense | None, with_image: bool) -> dict[str, Vector]:
    vectors = dict(point.vectors) if with_image else {}
    known = None if there is None else there.vectors.get("content")
    if row is not None:
        vectors["content"] = row
    elif known is not None:
        vectors["content"] = known
    return vectors
