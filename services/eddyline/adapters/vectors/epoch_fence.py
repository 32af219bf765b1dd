"""Fencing: a point is replaced only by a writer whose epoch is not lower than the one it was written under.

Whoever owns a partition writes under its epoch, which is higher than all of its predecessors'. A predecessor that
wakes up finds its writes without effect. The store doesn't say so: that a *loaded* point has a higher epoch does.
"""

from __future__ import annotations

from collections.abc import Iterable

from eddyline.errors import Fenced
from eddyline.model.filters import Filter, Range

EPOCH_STEP = 1 / 1024
"""How far a failed write moves our epoch on. Exact: milliseconds need 43 of a double's 53 bits until the year 2248."""


class EpochFence:
    """The epochs of the partitions of `topic` that we own. All calls come from the consume loop's one thread."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._epochs: dict[int, float] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._epochs

    def add(self, partition: int, epoch: float) -> None:
        """Own the partition from now on, under this epoch."""
        self._epochs[partition] = epoch

    def remove(self, partitions: Iterable[int]) -> None:
        """Own these no longer."""
        for partition in partitions:
            self._epochs.pop(partition, None)

    def epoch(self, partition: int) -> float:
        """Return the epoch to write under."""
        return self._epochs[partition]

    def check(self, what: str, stored: float, partition: int, loaded: Iterable[float] = ()) -> None:
        """Raise `Fenced` where `what` was stored under a higher epoch than ours. `loaded`: the epochs of all that were
        loaded with it, so that one new claim will do; it is looked at then alone."""
        if stored > self._epochs[partition]:
            raise Fenced(
                f"{what} was written under epoch {stored}, partition {partition} of {self._topic} is held here under "
                f"{self._epochs[partition]}: does another group write there?",
                epoch=int(max((stored, *loaded))),
            )

    def outdate(self, partitions: Iterable[int]) -> None:
        """Move our epochs on: a write that we gave up on may still take effect after later ones; those forbid it.

        Epochs are whole numbers (milliseconds), and doubles: between two of them there is room for some failures.
        """
        for partition in set(partitions) & self._epochs.keys():
            self._epochs[partition] += EPOCH_STEP
            if self._epochs[partition] % 1 == 0:
                raise Fenced(
                    f"{1 / EPOCH_STEP:.0f} writes under an epoch of {self._topic}, partition {partition}, have failed",
                    epoch=int(self._epochs[partition]),
                )


def not_above(epoch: float) -> Filter:
    """Match the points that may be replaced under this epoch."""
    return Filter(must_not=(Range("epoch", gt=epoch),))
