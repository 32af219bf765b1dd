"""Test, then learn: each event of the last part of a log is recommended for before it is learnt from.

A recommender sees what is known at that moment and never the event, so nothing can leak from the future: an event
changes what is known only after every strategy has answered (Gama, Sebastião and Rodrigues, "On evaluating stream
learning algorithms", 2013).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidInput
from eddyline.evaluation.interaction_log import (
    IMPRESSION,
    VISIT_GAP,
    InteractionLog,
    ItemCounts,
    LoggedInteraction,
    PriorCounts,
)
from eddyline.evaluation.metrics import StrategyLists, divergence, diversity, novelty
from eddyline.model.ranking.candidates import number_values

FIRST_EVENTS = 10
"""Someone is new for so many events."""
FEW_EVENTS = 5
"""An item with fewer events is new."""
STEP = 500
"""Events between two moves of the progress bar."""
AT_ONCE = 64
"""Most requests whose lists are made together."""
MakeList: TypeAlias = Callable[[], Sequence[int]]
"""Makes a list of places of items, best first."""
Recommend: TypeAlias = Callable[[int, float, int], MakeList]
"""Takes down what is known of a person at a time in epoch seconds, and returns what makes a list of at most k items of
it, at once or when more has been learnt; lists are made in the order of their requests."""


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """Which lists are made: of `k` items, for every `stride`-th event, for people with `min_events` before.

    New people's are reported apart. `repeats`: also for events with items that the person has met, of all items.
    """

    k: int = 10
    stride: int = 1
    min_events: int = 5
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """A run's n requests: the event that came after each (its place in the log), its slices, and every list.

    `seconds` is what each strategy took for its lists; a search that several share is the first one's.
    """

    event: NDArray[np.int64]
    person: NDArray[np.int64]
    slices: Mapping[str, NDArray[np.bool_]]
    lists: Mapping[str, StrategyLists]
    seconds: Mapping[str, float]


def run(
    log: InteractionLog,
    content: NDArray[np.float32],
    learn: Callable[[LoggedInteraction], None],
    settle: Callable[[], None],
    recommenders: Mapping[str, Recommend],
    begin: int,
    protocol: EvaluationProtocol,
    progress: ProgressListener,
    what: str = "events",
) -> EvaluationRun:
    """Learn everything in order, and recommend first for the events from place `begin` on.

    `content`: the items' vectors, (items, dimension); `settle` is called before each request. Raises `InvalidInput`
    where there is nothing to recommend for.
    """
    before = PriorCounts.before_each(log.events)
    requests = _requests(log, before, begin, protocol)
    slices = {name: mask[requests] for name, mask in _slices(log, before, requests, protocol).items()}
    total, k = int(requests.sum()), protocol.k
    if not slices["all"].any():
        raise InvalidInput(
            f"{log.name} is too small: of its {len(log.events):,} events none of the last {len(log.events) - begin:,} "
            f"is one to recommend for (new to someone with {protocol.min_events} events before; see --share and "
            "--min-events)"
        )
    recorders = {name: _ListRecorder(recommend, total, k) for name, recommend in recommenders.items()}
    progress.start(what, len(log.events), 0)
    row = 0
    for place, event in enumerate(log.events):
        if requests[place]:
            settle()
            for recorder in recorders.values():
                recorder.prepare(event)
            row += 1
            if row % AT_ONCE == 0 or row == total:
                for recorder in recorders.values():
                    recorder.make_lists(row)
        learn(event)
        if (place + 1) % STEP == 0:
            progress.advance(what, STEP)
    progress.advance(what, len(log.events) % STEP)
    asked, counts = np.flatnonzero(requests), ItemCounts.from_events(log.events)
    categories = number_values(item.category for item in log.items)
    return EvaluationRun(
        event=asked,
        person=np.fromiter((event.person for event in log.events), dtype=np.int64)[requests],
        slices=slices,
        lists={
            name: StrategyLists(
                one.items,
                one.rank,
                diversity(content, one.items),
                novelty(one.items, counts.before(one.items, asked), counts.all_before(asked), len(log.items)),
                divergence(one.items, categories, _chosen_categories(log, categories, requests)),
            )
            for name, one in recorders.items()
        },
        seconds={name: one.seconds for name, one in recorders.items()},
    )


def _chosen_categories(
    log: InteractionLog, categories: NDArray[np.intp], requests: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """Count what the person of each request had chosen before it, by category: one array, which goes on being counted
    in."""
    chosen: dict[int, NDArray[np.float64]] = {}
    for event, is_asked in zip(log.events, requests.tolist(), strict=True):
        counts = chosen.get(event.person)
        if counts is None:
            counts = chosen[event.person] = np.zeros(int(categories.max(initial=-1)) + 1)
        if is_asked:
            yield counts
        category = int(categories[event.item])
        if event.type != IMPRESSION and category >= 0:
            counts[category] += 1.0


class _ListRecorder:
    """Records one strategy's lists, as they come: `items` (requests, k) and `rank` (requests)."""

    def __init__(self, recommend: Recommend, requests: int, k: int) -> None:
        self._recommend, self._k = recommend, k
        self._prepared: list[tuple[int, MakeList]] = []
        self.seconds = 0.0
        self.items = np.full((requests, k), -1, dtype=np.int32)
        self.rank = np.zeros(requests, dtype=np.int32)

    def prepare(self, event: LoggedInteraction) -> None:
        """Ask for the list before this event, of which the item is the one that comes next."""
        started = time.perf_counter()
        self._prepared.append((event.item, self._recommend(event.person, event.time, self._k)))
        self.seconds += time.perf_counter() - started

    def make_lists(self, end: int) -> None:
        """Make the lists of all prepared requests, the last of which is the one before row `end`."""
        started = time.perf_counter()
        for row, (came, make_list) in enumerate(self._prepared, end - len(self._prepared)):
            places = np.asarray(make_list(), dtype=np.int32)[: self._k]
            self.items[row, : len(places)] = places
            found = np.flatnonzero(places == came)
            self.rank[row] = found[0] + 1 if len(found) else 0
        self._prepared.clear()
        self.seconds += time.perf_counter() - started


def _requests(log: InteractionLog, before: PriorCounts, begin: int, protocol: EvaluationProtocol) -> NDArray[np.bool_]:
    """Mask the events that are recommended for: no impressions, and of items that the person hasn't met, unless repeats
    are asked about."""
    places = np.arange(len(log.events))
    impression = np.fromiter((event.type == IMPRESSION for event in log.events), dtype=np.bool_, count=len(places))
    in_turn = (places >= begin) & ((places - begin) % protocol.stride == 0)
    someone = (before.of_person >= protocol.min_events) | (before.of_person < FIRST_EVENTS)
    return np.asarray(in_turn & someone & ~impression & (protocol.repeats | ~before.is_repeat))


def _slices(
    log: InteractionLog, before: PriorCounts, requests: NDArray[np.bool_], protocol: EvaluationProtocol
) -> dict[str, NDArray[np.bool_]]:
    """Name the slices that are reported, each a mask over all events."""
    weights = np.fromiter((event.weight for event in log.events), dtype=np.float64, count=len(log.events))
    people = np.fromiter((event.person for event in log.events), dtype=np.int64, count=len(log.events))
    impression = np.fromiter((event.type == IMPRESSION for event in log.events), dtype=np.bool_, count=len(log.events))
    known = before.of_person >= protocol.min_events
    slices = {
        "all": known,
        "positive": known & (weights > 0),
        "new people": before.of_person < FIRST_EVENTS,
        "new items": known & (before.of_item < FEW_EVENTS),
        "after a pause": known & (before.of_person > 0) & (before.pause >= VISIT_GAP),
        "first of its moment": known & (before.pause > 0),
        "first after the split": known & _first_of_each(people, requests & known),
        "last of a person": known & _first_of_each(people[::-1], ~impression[::-1])[::-1],
    }
    return slices | ({"repeats": known & before.is_repeat} if protocol.repeats else {})


def _first_of_each(people: NDArray[np.int64], considered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mask the first event of each person among those that are considered."""
    places = np.flatnonzero(considered)
    first = np.zeros(len(people), dtype=np.bool_)
    first[places[np.unique(people[places], return_index=True)[1]]] = True
    return first
