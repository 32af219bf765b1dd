"""What records say of items' pictures; and the uploaded ones, waiting for the embedder to be past their records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eddyline.adapters.kafka import Message
from eddyline.model.ids import item_point_id

MOST_BYTES = 32 * 1024 * 1024
"""The in-process broker, which soon drops what was read, lets the embedder fall behind by half of it."""
_OVERHEAD = 1024
"""Bytes that one takes beside the picture's."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """What a record says of an item's image: its address; of an uploaded one its name, and the bytes if they came."""

    item_id: str
    url: str | None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class LoggedImageReference:
    """The same, and where it was said: `log`, `partition` and `offset`."""

    wanted: ImageReference
    place: Mapping[str, Any]
    picture: Mapping[str, Any] | None = None
    """The place of the record with the bytes, where they came."""


class PendingUploads:
    """Uploaded pictures, by their items' points, oldest first, until they are done: the last word on each alone."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._said: dict[str, LoggedImageReference] = {}

    def __len__(self) -> int:
        return len(self._said)

    def __contains__(self, point_id: str) -> bool:
        return point_id in self._said

    def __getitem__(self, point_id: str) -> LoggedImageReference:
        return self._said[point_id]

    def points(self) -> list[str]:
        """Return the points of the items whose images wait."""
        return list(self._said)

    def hear(self, batch: Sequence[Message[ImageReference | None]]) -> dict[str, LoggedImageReference]:
        """The last word on each item of the batch, by point; those that bring a picture wait from now on.

        A name alone stands for the picture that came under it a moment before.
        """
        latest: dict[str, LoggedImageReference] = {}
        for message in batch:
            wanted, record = message.value, message.record
            if wanted is None:
                continue
            point_id = item_point_id(wanted.item_id)
            before = latest.get(point_id) or self._said.get(point_id)
            place = {"log": record.log, "partition": record.partition, "offset": record.offset}
            picture: Mapping[str, Any] | None = None if wanted.body is None else place
            if before is not None and wanted.body is None and wanted.url == before.wanted.url:
                wanted, picture = replace(wanted, body=before.wanted.body), before.picture
            latest[point_id] = LoggedImageReference(wanted, place, picture)
        self.forget(latest)
        self._said |= {point_id: said for point_id, said in latest.items() if said.wanted.body is not None}
        return latest

    def forget(self, points: Iterable[str]) -> None:
        """Drop the uploads that are done, or that a newer state of their items replaced."""
        for point_id in points:
            self._said.pop(point_id, None)

    def forget_partitions(self, partitions: Collection[int]) -> None:
        """Drop the uploads of partitions that have another owner now."""
        self.forget([one for one, said in self._said.items() if said.place["partition"] in partitions])

    def drop_oldest(self) -> None:
        """Drop the oldest beyond their share of memory: they are read from the log again."""
        sizes = {point_id: len(said.wanted.body or b"") + _OVERHEAD for point_id, said in self._said.items()}
        excess = sum(sizes.values()) - self._most_bytes
        for point_id, size in sizes.items():
            if excess <= 0:
                return
            excess -= size
            del self._said[point_id]


class RetainedUploads(PendingUploads):
    """Uploads of a group's only member, whose log soon drops what was read: what is revoked comes back to it alone, and
    can't be read again."""

    def forget_partitions(self, partitions: Collection[int]) -> None:
        """Keep everything: the partitions come back."""
