"""Records that one owner of a partition passes on to another: what keeps them from being lost, or counted twice.

An owner passes records on in the order in which it read them, and commits a batch only when all of its passages are
acknowledged. Some of an attempt may get through and others not; then all of them are sent again. So the receiver must
take each origin once, and never one whose forerunner it hasn't seen (go-back-N: Tanenbaum, Computer Networks, §3.4):
it keeps the highest origin applied of each partition; a passage at or under it is a repeat, and one whose forerunner in
its batch lies above it came through a gap, and will come again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from eddyline.errors import InvalidEvent

ORIGIN, AFTER = "eddyline-origin", "eddyline-after"


class SequenceCheck(Enum):
    """What a receiver makes of a passage."""

    NEXT = "next"
    REPEAT = "repeat"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class ForwardedFrom:
    """Where a record that was passed on came from: a place in the log of `interactions`.

    `after`: the offset of the record that the same batch passed on before this one, from the same partition to the same
    person; None where it is the first, since then everything before is acknowledged.
    """

    log: str
    partition: int
    offset: int
    after: int | None = None

    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """As record headers."""
        origin = (ORIGIN, f"{self.log}:{self.partition}:{self.offset}".encode())
        return (origin,) if self.after is None else (origin, (AFTER, str(self.after).encode()))

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes]]) -> ForwardedFrom | None:
        """The inverse of `headers`; None for a record that came from its author. Raises `InvalidEvent`."""
        origin = after = None
        for name, value in headers:
            if name == ORIGIN:
                origin = value
            elif name == AFTER:
                after = value
        if origin is None:
            return None
        try:
            log, partition, offset = origin.decode().rsplit(":", 2)
            return cls(log, int(partition), int(offset), None if after is None else int(after))
        except ValueError:
            raise InvalidEvent(f"header {ORIGIN} or {AFTER} is not what the profiler writes", ORIGIN) from None

    def verdict(self, highest: int) -> SequenceCheck:
        """`highest`: the highest origin applied of this log and partition, -1 for none."""
        if self.offset <= highest:
            return SequenceCheck.REPEAT
        return SequenceCheck.GAP if self.after is not None and self.after > highest else SequenceCheck.NEXT


def without_forwarding_headers(headers: Iterable[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """The headers that a record had before it was passed on."""
    return tuple((name, value) for name, value in headers if name not in (ORIGIN, AFTER))
