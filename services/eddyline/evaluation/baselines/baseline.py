"""What every baseline is: it is told each event after it was asked about it, as the strategies are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.interaction_log import IMPRESSION, LoggedInteraction
from eddyline.evaluation.prequential import Recommend

REFITS = 100
"""How often what is trained is trained further while it is asked: at each hundredth of the events it is asked about."""


@dataclass(frozen=True, slots=True)
class BaselineTask:
    """What a baseline is made for.

    `items`: how many there are; `begin`: events before the first request, of `events` in all; `repeats`: what a person
    has met is recommended, too.
    """

    items: int
    begin: int
    events: int
    repeats: bool
    seed: int
    progress: ProgressListener

    def is_refitted_at(self, learnt: int) -> bool:
        """Whether a hundredth of the events after `begin` is full with the first `learnt` of the log."""
        step = max(1, round((self.events - self.begin) / REFITS))
        return learnt > self.begin and (learnt - self.begin) % step == 0


class Baseline(Protocol):
    """A recommender, or several that share what they learn. Impressions teach it nothing."""

    def recommenders(self) -> Mapping[str, Recommend]:
        """Return the ways in which it recommends, by the names in the tables."""

    def learn(self, event: LoggedInteraction) -> None:
        """Take in the next event of the log."""


BaselineFactory: TypeAlias = Callable[[BaselineTask], Baseline]


class PersonHistories:
    """The items that each person chose, in order, repeats included."""

    def __init__(self, repeats: bool) -> None:
        self._repeats = repeats
        self.items: defaultdict[int, list[int]] = defaultdict(list)

    def add(self, event: LoggedInteraction) -> None:
        """Append an event's item; impressions don't count."""
        if event.type != IMPRESSION:
            self.items[event.person].append(event.item)

    def hidden(self, person: int) -> NDArray[np.int64]:
        """Return the places of items that the person isn't recommended: all that they chose, unless repeats are."""
        return np.array([] if self._repeats else self.items[person], dtype=np.int64)
