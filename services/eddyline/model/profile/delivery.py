"""How far the log is applied to a profile: what makes each event count once, whatever crashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from eddyline.model.forwarding import ForwardedFrom, SequenceCheck
from eddyline.model.ids import fingerprint
from eddyline.model.offsets import LogPosition, Offsets, advance_offset, lowest_offsets


@dataclass(frozen=True, slots=True)
class PendingInteraction:
    """An interaction that waits for its item: the record's bytes as text, where it was, and since when."""

    item_id: str
    value: str
    topic: str
    partition: int
    offset: int
    log: str
    timestamp: int
    since: float
    headers: tuple[tuple[str, str], ...] = ()
    """Values as Latin-1, which keeps any bytes; so does `key`."""
    key: str | None = None

    def to_fields(self) -> list[Any]:
        """Return it as plain JSON, for the state of its profile."""
        return [
            self.item_id,
            self.value,
            self.topic,
            self.partition,
            self.offset,
            self.log,
            self.timestamp,
            self.since,
            self.headers,
            self.key,
        ]

    @property
    def stored_bytes(self) -> int:
        """How much it takes in the state: quotes and control characters are escaped twice, other bytes grow, too."""
        return len(orjson.dumps(self.to_fields()))


@dataclass(slots=True)
class Delivery:
    """What of the log is in a profile. Kafka delivers at least once; this makes it once.

    It is written in the same point, by the same upsert, as the state that it speaks of. So after every crash one of two
    things holds: the point has a record's effect and its watermark covers it, or it has neither and the record comes
    again, since offsets are committed only after the upsert.

    - A record at or under the watermark of its partition is in the state: it is skipped.
    - A record that another partition's owner forwarded is taken once, by its origin, and never through a gap.
    - An event that a producer sent twice is two records: the second is known by its event id, of the newest ones.
    - An interaction whose item isn't there yet counts as applied, and waits here: nothing else remembers it.
    - A record of `users` at or before the one last applied changes nothing.
    - A point is only overwritten under its own epoch or a higher one: of two owners of a partition, the later one's.
    """

    max_event_ids: int
    epoch: float = 0
    watermarks: Offsets = field(default_factory=dict)
    """Last offset folded."""
    origins: Offsets = field(default_factory=dict)
    """Highest origin applied of the records that were forwarded to this person."""
    event_ids: tuple[int, ...] = ()
    """Fingerprints of the newest event ids, oldest first."""
    pending: tuple[PendingInteraction, ...] = ()
    """Interactions that wait for their items, oldest first."""
    users_position: LogPosition | None = None
    """The record of `users` last applied: answers or an erasure."""
    first: Offsets = field(default_factory=dict)
    """Lowest offset that this state owes anything to: while all of it is in the log, the state can be recomputed."""

    def has_folded(self, position: LogPosition) -> bool:
        """Return whether the record is at or under the watermark."""
        return position.offset <= self.watermarks.get(position.log, {}).get(position.partition, -1)

    def advance(self, position: LogPosition) -> None:
        """Move the watermark of a partition. Watermarks of other logs (a topic that was recreated) are dropped."""
        self.watermarks = advance_offset(self.watermarks, position)
        if position.partition not in self.first.get(position.log, {}):
            self.first = lowest_offsets(self.first, {position.log: {position.partition: position.offset}})

    def check_sequence(self, forwarded: ForwardedFrom) -> SequenceCheck:
        """Return whether to take a record that was forwarded; if so, its origin counts as applied."""
        origin = forwarded.origin
        check = forwarded.check(self.origins.get(origin.log, {}).get(origin.partition, -1))
        if check is SequenceCheck.NEXT:
            self.origins = advance_offset(self.origins, origin)
        return check

    def is_repeat(self, event_id: str) -> bool:
        """Return whether an event of this id was folded, or waits, already."""
        return fingerprint(event_id) in self.event_ids

    def remember(self, event_id: str) -> None:
        """Keep the id, within the bound."""
        self.event_ids = (*self.event_ids, fingerprint(event_id))[-self.max_event_ids :]

    def forget(self, event_id: str) -> None:
        """Drop the id of an event that was given up: sent again, it counts."""
        forgotten = fingerprint(event_id)
        self.event_ids = tuple(known for known in self.event_ids if known != forgotten)

    def has_applied_users_record(self, position: LogPosition) -> bool:
        """Return whether this record of `users`, or a later one of the same partition, was applied."""
        last = self.users_position
        return last is not None and last[:2] == position[:2] and position.offset <= last.offset
