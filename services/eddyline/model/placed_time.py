"""The order of what people did: by time, and what has one time by its place in the log.

Many things have one time: the lines of an order, a batch, whatever comes from a source whose times are whole minutes.
Their order is worth as much as any other (what came after what is what is learnt), and only the log still knows it. So
everything that is kept of an event by time is kept with the place of its record, and events are compared by both. That
is a total order which each record carries with it: sets of the newest are the same in whatever order they are folded.

A record's place is the partition and offset where its author's producer put it. It travels along where the record is
forwarded, by whichever owner and however often, and in transfers; see `forwarding`. Offsets of one partition are in the
order in which things were sent. Between partitions, and with a topic that was recreated, the order means nothing, but
is the same for everyone.
"""

from __future__ import annotations

from typing import TypeAlias

PlacedTime: TypeAlias = tuple[float, int]
"""Epoch seconds, and a place. A plain tuple on purpose: there are millions, and the garbage collector lets go of it."""

UNPLACED = -1
"""The place of what was folded before places were kept: before all others of its time."""
_MAX_OFFSETS = 1 << 48
_MAX_PARTITIONS = 1 << 15
LAST_PLACE = _MAX_PARTITIONS * _MAX_OFFSETS - 1


def place_of(partition: int, offset: int) -> int:
    """Return the place of a record as one number of 63 bits, which compares as (partition, offset) does.

    Raises ValueError for a partition or offset that no log has.
    """
    if not (0 <= partition < _MAX_PARTITIONS and 0 <= offset < _MAX_OFFSETS):
        raise ValueError(f"no record is at partition {partition}, offset {offset}")
    return partition * _MAX_OFFSETS + offset
