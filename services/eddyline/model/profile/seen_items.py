"""The items that a person has met: chosen, viewed, bought, disliked, or merely shown to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from eddyline.model.decay import HOUR, Vector
from eddyline.model.exposures import ExposureHistory
from eddyline.model.ids import item_dimension
from eddyline.model.newest_items import NewestItems
from eddyline.model.placed_time import UNPLACED
from eddyline.settings import ProfileSettings

RECENT_HALF_LIFE = 3.0
"""Positions after which a recent item's weight in `history` halves."""
MAX_COUNTED = 128
"""Items whose last count is kept per person."""
SETS = ("recents", "viewed", "purchased", "disliked", "liked")
"""The bounded sets of newest items. Their order is part of the stored form."""


@dataclass(frozen=True, slots=True)
class WeightedInteraction:
    """An interaction, ready to fold: `vector` of its item, signed `weight`, `time` in epoch seconds.

    `popularity`: the item's decayed count, over about a quarter, when it was last looked up. `place`: of its record in
    the log (`placed_time`).
    """

    item_id: str
    type: str
    vector: Vector
    weight: float
    time: float
    popularity: float = 0.0
    place: int = UNPLACED


@dataclass(slots=True)
class SeenItems:
    """Bounded sets; adding to them and merging them is commutative, associative and idempotent."""

    recents: NewestItems
    """Newest items of positive events."""
    viewed: NewestItems
    """Newest items of all events but impressions."""
    purchased: NewestItems
    disliked: NewestItems
    liked: NewestItems
    """Newest items of positive events other than views and clicks; a later one lifts a dislike."""
    shown: ExposureHistory
    """What was in lists that were served to them."""
    popularity: Mapping[str, float] = field(default_factory=dict)
    """How popular the items of `recents` were when they were folded: as a rule of thumb, it depends on that moment."""
    counted: Mapping[str, float] = field(default_factory=dict)
    """When this person last counted for an item's popularity (at most once an hour)."""

    @classmethod
    def from_settings(cls, settings: ProfileSettings) -> SeenItems:
        """Return empty sets of the sizes that are set."""
        seen = NewestItems(settings.seen)
        return cls(NewestItems(settings.recents), seen, seen, seen, seen, ExposureHistory(settings.exposures))

    def add(self, interaction: WeightedInteraction) -> None:
        """Note the item of an interaction in the sets that its type and weight belong to."""
        item_id, time, place = interaction.item_id, interaction.time, interaction.place
        if interaction.type != "impression":
            self.viewed = self.viewed.add(item_id, time, place)
        if interaction.type == "purchase":
            self.purchased = self.purchased.add(item_id, time, place)
        if interaction.weight > 0:
            self.recents = self.recents.add(item_id, time, place)
            self.note_popularity({item_id: interaction.popularity})
            if interaction.type not in ("view", "click"):
                self.liked = self.liked.add(item_id, time, place)
        elif interaction.type in ("dislike", "hide", "rating") and interaction.weight < 0:
            self.disliked = self.disliked.add(item_id, time, place)

    def drop_older_half(self) -> int:
        """Drop the older half of the largest sets. Returns how many entries that were; 0 when nothing is left."""
        before = self._entries()
        largest = max(len(self.shown), *(len(getattr(self, name).entries) for name in SETS))
        half = largest // 2
        self.recents, self.viewed, self.purchased = (
            items.newest(half) for items in (self.recents, self.viewed, self.purchased)
        )
        self.disliked, self.liked = self.disliked.newest(half), self.liked.newest(half)
        self.shown = self.shown.newest(half)
        self.note_popularity({})
        return before - self._entries()

    def _entries(self) -> int:
        return len(self.shown) + sum(len(getattr(self, name).entries) for name in SETS)

    def count_once_per_hour(self, item_id: str, time: float) -> bool:
        """Return whether the person counts for the item's popularity now; if so, note it. At most once an hour."""
        last = self.counted.get(item_id)
        if last is not None and abs(time - last) < HOUR:
            return False
        self.counted = {**self.counted, item_id: max(time, last or time)}
        if len(self.counted) > MAX_COUNTED:
            latest = max(self.counted.values())
            fresh = sorted((at, item) for item, at in self.counted.items() if latest - at < HOUR)
            self.counted = {item: at for at, item in fresh[-MAX_COUNTED // 2 :]}
        return True

    def hidden(self, kinds: Iterable[str]) -> dict[str, float]:
        """Return the items to leave out, of `viewed`, `purchased`, `disliked`, and when each came in, in epoch seconds.

        A later like lifts a dislike.
        """
        times: dict[str, float] = {}
        for kind in kinds:
            if kind == "viewed":
                times |= self.viewed.times
            elif kind == "purchased":
                times |= self.purchased.times
            elif kind == "disliked":
                liked = self.liked.entries
                times |= {i: at[0] for i, at in self.disliked.entries.items() if i not in liked or liked[i] < at}
        return times

    def history(self) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """Return the recents as a unit-length sparse vector (dimensions, values), the newest weighing the most."""
        dimensions = list(map(item_dimension, self.recents.newest_first()))
        weights = _positional_weights(len(dimensions))
        if len(set(dimensions)) < len(dimensions):
            return _summed(dimensions, weights)
        return np.array(dimensions, dtype=np.uint32), _unit_length(weights)

    def note_popularity(self, seen: Mapping[str, float]) -> None:
        """Keep the highest popularity of each recent item, and of these alone."""
        higher = {i: each for i, each in seen.items() if each > self.popularity.get(i, 0.0)}
        if higher or not self.popularity.keys() <= self.recents.entries.keys():
            known = {**self.popularity, **higher}
            self.popularity = {i: each for i, each in known.items() if i in self.recents.entries}


@lru_cache
def _positional_weights(count: int) -> tuple[float, ...]:
    return tuple(0.5 ** (position / RECENT_HALF_LIFE) for position in range(count))


@lru_cache
def _unit_length(weights: tuple[float, ...]) -> NDArray[np.float32]:
    length = math.sqrt(sum(weight * weight for weight in weights)) or 1.0
    values = np.array([weight / length for weight in weights], dtype=np.float32)
    values.setflags(write=False)  # shared by all who call
    return values


def _summed(dimensions: Sequence[int], weights: Sequence[float]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Sum the weights of items that share a dimension."""
    sums: dict[int, float] = {}
    for dimension, weight in zip(dimensions, weights, strict=True):
        sums[dimension] = sums.get(dimension, 0.0) + weight
    return np.array(list(sums), dtype=np.uint32), _unit_length(tuple(sums.values()))
