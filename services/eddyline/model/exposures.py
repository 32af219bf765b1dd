"""What was shown to a person and when: a bounded set, the same in whatever order, and however often, it is added to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from eddyline.model.decay import MINUTE


@dataclass(frozen=True, slots=True)
class ExposureHistory:
    """The newest `size` exposures, by (minute, item id). An exposure is that an item was in a list within some minute.

    Adding is commutative, associative and idempotent, so late records, records that come twice and the union of two
    such sets are exact. (A decayed sum per item would be smaller, but would count a repeat twice, couldn't be bounded,
    and couldn't say what was shown before a certain time.)
    """

    size: int
    minutes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By item, oldest first: minutes since 1970."""

    def add(self, item_ids: Iterable[str], time: float) -> ExposureHistory:
        """Return the exposures with these items, shown in the minute of `time` (epoch seconds)."""
        return self._with((item_id, (int(time // MINUTE),)) for item_id in item_ids)

    def union(self, other: ExposureHistory) -> ExposureHistory:
        """Return all that is in one of them, within this one's bound."""
        return self._with(other.minutes.items())

    def newest(self, size: int) -> ExposureHistory:
        """Return the newest `size` of them; the bound stays."""
        return ExposureHistory(self.size, _newest(self.minutes, size))

    def fatigue(self, now: float, tau: float, done: Mapping[str, float], until: float = math.inf) -> dict[str, float]:
        r"""Return $\sum e^{-(now - t)/\tau}$ over an item's exposures at times t, for the items that have any.

        Only those after the last interaction with the item count (`done`: by item, epoch seconds), and only those in
        minutes that were over at `until`. `tau` in seconds. An exposure counts as of the beginning of its minute.
        """
        faded = {  # a list is many exposures in one minute
            minute: math.exp(-max(0.0, now - minute * MINUTE) / tau)
            for minute in set().union(*self.minutes.values())
            if (minute + 1) * MINUTE <= until
        }
        found = {}
        for item_id, minutes in self.minutes.items():
            after = done.get(item_id, -math.inf)
            left = [faded[minute] for minute in minutes if minute * MINUTE > after and minute in faded]
            if left:
                found[item_id] = sum(left)
        return found

    def visit_start(self, now: float, pause: float, max_length: float) -> float:
        """Return when the visit of `now` began, to the minute: before it nothing was shown for `pause`, or it has
        lasted `max_length` (both in seconds). What was shown in it is never before that, so `fatigue` until then holds
        still."""
        began = now
        for minute in sorted(set().union(*self.minutes.values()), reverse=True):
            if began - minute * MINUTE >= pause:
                break
            began = min(began, minute * MINUTE)
        return max(began, now - max_length) // MINUTE * MINUTE

    def is_any(self, after: float, before: float) -> bool:
        """Return whether anything was shown between these times (epoch seconds)."""
        return any(after < minute * MINUTE < before for minutes in self.minutes.values() for minute in minutes)

    def __len__(self) -> int:
        return sum(len(minutes) for minutes in self.minutes.values())

    @classmethod
    def from_minutes(cls, size: int, minutes: Mapping[str, tuple[int, ...]]) -> ExposureHistory:
        """Return the exposures with these `minutes`; the newest `size` where there are more."""
        return cls(size, _newest(minutes, size))

    def _with(self, more: Iterable[tuple[str, tuple[int, ...]]]) -> ExposureHistory:
        union = dict(self.minutes)
        for item_id, minutes in more:
            known = union.get(item_id, ())
            if not known:
                union[item_id] = minutes
            elif new := set(minutes).difference(known):
                union[item_id] = tuple(sorted((*known, *new)))
        return ExposureHistory(self.size, _newest(union, self.size))


def _newest(minutes: Mapping[str, tuple[int, ...]], size: int) -> Mapping[str, tuple[int, ...]]:
    excess = sum(len(each) for each in minutes.values()) - size
    if excess <= 0:
        return minutes
    oldest = sorted((minute, item_id) for item_id, each in minutes.items() for minute in each)[:excess]
    gone: dict[str, int] = {}
    for _, item_id in oldest:
        gone[item_id] = gone.get(item_id, 0) + 1
    cut = {item_id: each[gone.get(item_id, 0) :] for item_id, each in minutes.items()}
    return {item_id: each for item_id, each in cut.items() if each}
