"""Records that one owner of a partition forwards to another: what keeps them from being lost, or counted twice.

An owner forwards records in the order in which it read them, and commits a batch only when all that it forwarded is
acknowledged. Some of an attempt may get through and others not; then all of them are sent again. So the receiver must
take each origin once, and never one whose predecessor it hasn't seen (go-back-N: Tanenbaum, Computer Networks, §3.4):
it keeps the highest origin applied of each partition; a record at or under it is a repeat, and one whose predecessor in
its batch lies above it came through a gap, and will come again.

Each hop has an origin of its own. The place of the event among those of its time (`placed_time`) is where its author
put it, and stays: an event counts the same whether it was folded before its visitor was identified, and handed over, or
forwarded after.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from eddyline.errors import InvalidEvent
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import place_of

ORIGIN, AFTER, AUTHORED = "eddyline-origin", "eddyline-after", "eddyline-authored"
HEADERS = (ORIGIN, AFTER, AUTHORED)


class SequenceCheck(Enum):
    """What a receiver makes of a forwarded record."""

    NEXT = "next"
    REPEAT = "repeat"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class ForwardedFrom:
    """Where a record that was forwarded came from: its position in the log of `interactions`.

    `after`: the offset of the record that the same batch forwarded before this one, from the same partition to the same
    person; None where it is the first, since then everything before is acknowledged. `authored`: where its author had
    put it, if it was forwarded to the origin, too.
    """

    origin: LogPosition
    after: int | None = None
    authored: LogPosition | None = None

    @property
    def place(self) -> int:
        """The event's place among those of its time."""
        return place_of(*(self.authored or self.origin)[1:])

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """Return it as record headers."""
        known = ((ORIGIN, self.origin), (AFTER, self.after), (AUTHORED, self.authored))
        return tuple((name, str(value).encode()) for name, value in known if value is not None)

    @classmethod
    def from_headers(cls, headers: Iterable[tuple[str, bytes]]) -> ForwardedFrom | None:
        """Invert `headers`; None for a record that came from its author. Raises `InvalidEvent`."""
        by_name = dict(headers)
        origin, after, authored = (by_name.get(name) for name in HEADERS)
        if origin is None:
            return None
        try:
            forwarded = cls(
                LogPosition.parse(origin.decode()),
                None if after is None else int(after),
                None if authored is None else LogPosition.parse(authored.decode()),
            )
            for position in (forwarded.origin, forwarded.authored or forwarded.origin):
                place_of(position.partition, position.offset)
        except ValueError:
            raise InvalidEvent(f"a header of {', '.join(HEADERS)} is not what the profiler writes", ORIGIN) from None
        return forwarded

    def check(self, highest: int) -> SequenceCheck:
        """Compare it with the highest origin applied of its log and partition, -1 for none."""
        if self.origin.offset <= highest:
            return SequenceCheck.REPEAT
        return SequenceCheck.GAP if self.after is not None and self.after > highest else SequenceCheck.NEXT


def without_forwarding_headers(headers: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that a record had before it was forwarded."""
    return tuple((name, value) for name, value in headers if name not in HEADERS)
