"""What is known of feeds: their definitions, how reading them went, and the entries that were read.

All of it is in the compacted topic `feeds`, each feed's on the partition of its name: its definition, where it was made
over HTTP; its status; and its entries in buckets, of which only those that change are written. Every process follows
the whole topic; the owner of the partition alone writes. Thread-safe.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from eddyline.adapters.kafka import Outgoing, Record, partition_of
from eddyline.settings import FeedSettings
from eddyline.topics import FEEDS

BUCKETS = 16
DEFINITION, STATUS, ENTRIES = "definition", "status", "entries"


class FeedStatus(BaseModel):
    """How reading a feed went. Times in epoch seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str = ""
    """Where it is now, after permanent redirects; empty: as it was defined."""
    defined_as: str = ""
    """The URL that `url` follows from: another definition starts anew."""
    etag: str | None = None
    last_modified: str | None = None
    format: str | None = None
    last_success: float | None = None
    next_at: float = 0.0
    interval: float = 0.0
    entries: int = 0
    items: int = 0
    """Items that were written, in all."""
    refused: int = 0
    """Entries of the last document that no item could be made of."""
    failures: int = 0
    """In a row."""
    error: str | None = None
    ended: bool = False
    """The host says that it is gone for good (410)."""
    shrunk: bool = False
    """More than half of a catalogue was missing: deleted once it is so again."""


class FeedView:
    """All that is known of feeds. `configured`: those of the settings."""

    def __init__(self, configured: Iterable[FeedSettings], partitions: int) -> None:
        self._configured = {feed.name: feed for feed in configured}
        self._partitions = partitions
        self._lock = threading.Lock()
        self._defined: dict[str, FeedSettings] = {}
        self._statuses: dict[str, FeedStatus] = {}
        self._entries: dict[str, dict[int, dict[str, str]]] = {}

    def apply(self, record: Record) -> None:
        """Take a record of the topic. What can't be read is left out."""
        kind, _, rest = (record.key or b"").decode(errors="replace").partition(":")
        name, _, bucket = rest.partition(":")
        with self._lock:
            if kind == DEFINITION:
                self._apply_definition(name, record.value)
            elif kind == STATUS:
                self._apply_status(name, record.value)
            elif kind == ENTRIES and bucket.isdecimal():
                entries = None if record.value is None else orjson.loads(record.value)
                self._entries.setdefault(name, {})[int(bucket)] = entries if isinstance(entries, dict) else {}

    def _apply_definition(self, name: str, value: bytes | None) -> None:
        self._defined.pop(name, None)
        if value is not None:
            try:
                self._defined[name] = FeedSettings.model_validate_json(value)
            except ValidationError:
                return

    def _apply_status(self, name: str, value: bytes | None) -> None:
        self._statuses.pop(name, None)
        if value is not None:
            self._statuses[name] = FeedStatus.model_validate_json(value)

    def feeds(self) -> dict[str, FeedSettings]:
        """Return all feeds by name; those of the settings go before those made over HTTP."""
        with self._lock:
            return self._known_feeds()

    def _known_feeds(self) -> dict[str, FeedSettings]:
        return {**self._defined, **self._configured}

    def is_configured(self, name: str) -> bool:
        """Tell whether the settings define it."""
        return name in self._configured

    def status(self, name: str) -> FeedStatus:
        """Return how reading it went; as of a new one, where it wasn't read yet or is defined otherwise now."""
        with self._lock:
            status, feed = self._statuses.get(name, FeedStatus()), self._known_feeds().get(name)
        return status if feed is None or status.defined_as == feed.url else FeedStatus()

    def entries(self, name: str) -> dict[str, str]:
        """Return the fingerprint of each item that was read of it, by id."""
        with self._lock:
            return {
                item_id: mark for bucket in self._entries.get(name, {}).values() for item_id, mark in bucket.items()
            }

    def partition(self, name: str) -> int:
        """Return the partition that a feed's records lie on, whose owner reads it."""
        return partition_of(name.encode(), self._partitions)

    def definition_record(self, name: str, feed: FeedSettings | None) -> Outgoing:
        """Return the record that defines a feed, or ends one."""
        value = None if feed is None else feed.model_dump_json(exclude_defaults=True).encode()
        return self._record(f"{DEFINITION}:{name}", name, value)

    def removal_records(self, name: str) -> list[Outgoing]:
        """Return the records that forget a feed."""
        keys = [f"{STATUS}:{name}", *(f"{ENTRIES}:{name}:{bucket}" for bucket in range(BUCKETS))]
        return [self.definition_record(name, None), *(self._record(key, name, None) for key in keys)]

    def progress_records(self, name: str, status: FeedStatus, entries: Mapping[str, str]) -> list[Outgoing]:
        """Return the records of what was read: the buckets of entries that have changed, then the status."""
        with self._lock:
            known = self._entries.get(name, {})
            changed = {
                bucket: marks for bucket, marks in _in_buckets(entries).items() if marks != known.get(bucket, {})
            }
        return [
            *(self._record(f"{ENTRIES}:{name}:{bucket}", name, orjson.dumps(one)) for bucket, one in changed.items()),
            self._record(f"{STATUS}:{name}", name, status.model_dump_json().encode()),
        ]

    def note(self, name: str, status: FeedStatus, entries: Mapping[str, str]) -> None:
        """Take what was read, before it comes back from the topic."""
        buckets = _in_buckets(entries)
        with self._lock:
            self._statuses[name], self._entries[name] = status, buckets

    def _record(self, key: str, name: str, value: bytes | None) -> Outgoing:
        return Outgoing(FEEDS, key.encode(), value, partition=self.partition(name))


def _in_buckets(entries: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """Return all buckets, the empty ones as well."""
    buckets: dict[int, dict[str, str]] = {bucket: {} for bucket in range(BUCKETS)}
    for item_id, mark in entries.items():
        buckets[zlib.crc32(item_id.encode()) % BUCKETS][item_id] = mark
    return buckets


def shown_status(feed: FeedSettings, status: FeedStatus) -> dict[str, Any]:
    """Return a feed as the API shows it."""
    return {
        "name": feed.name,
        "url": feed.url,
        **status.model_dump(exclude={"defined_as", "url", "etag", "last_modified"}),
    }
