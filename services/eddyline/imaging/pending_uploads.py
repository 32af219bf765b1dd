"""What records say of items' pictures; and the uploaded ones, waiting for the embedder to be past their records."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from eddyline.model.ids import item_point_id
from eddyline.model.offsets import LogPosition

MAX_BYTES = 32 * 1024 * 1024
"""Of pictures that wait for the embedder."""
_OVERHEAD = 1024
"""Bytes that one takes beside the picture's."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """What a record says of an item's image: its address; of an uploaded one its name, and the bytes if they came."""

    item_id: str
    url: str | None
    position: LogPosition
    """Of the record."""
    body: bytes | None = None
    body_position: LogPosition | None = None
    """Of the record with the bytes, where they came."""


class PendingUploads:
    """Uploaded pictures, by their items' points, oldest first, until they are done: the latest of each item alone."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._references: dict[str, ImageReference] = {}

    def __len__(self) -> int:
        return len(self._references)

    def __contains__(self, point_id: str) -> bool:
        return point_id in self._references

    def __getitem__(self, point_id: str) -> ImageReference:
        return self._references[point_id]

    def points(self) -> list[str]:
        """Return the points of the items whose images wait."""
        return list(self._references)

    def add(self, references: Iterable[ImageReference]) -> dict[str, ImageReference]:
        """Return the latest reference of each item, by point; those that bring a picture wait from now on.

        A name alone stands for the picture that came under it a moment before.
        """
        latest: dict[str, ImageReference] = {}
        for reference in references:
            point_id = item_point_id(reference.item_id)
            before = latest.get(point_id) or self._references.get(point_id)
            latest[point_id] = reference
            if before is not None and reference.body is None and reference.url == before.url:
                latest[point_id] = replace(reference, body=before.body, body_position=before.body_position)
        self.forget(latest)
        self._references |= {point_id: one for point_id, one in latest.items() if one.body is not None}
        return latest

    def forget(self, points: Iterable[str]) -> None:
        """Drop the uploads that are done, or that a newer state of their items replaced."""
        for point_id in points:
            self._references.pop(point_id, None)

    def forget_partitions(self, partitions: Collection[int]) -> None:
        """Drop the uploads of partitions that have another owner now."""
        self.forget([point for point, one in self._references.items() if one.position.partition in partitions])

    def drop_oldest(self) -> None:
        """Drop the oldest beyond their share of memory: they are read from the log again."""
        sizes = {point_id: len(one.body or b"") + _OVERHEAD for point_id, one in self._references.items()}
        excess = sum(sizes.values()) - self._max_bytes
        for point_id, size in sizes.items():
            if excess <= 0:
                return
            excess -= size
            del self._references[point_id]
