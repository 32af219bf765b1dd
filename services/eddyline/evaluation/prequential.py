"""Test, then learn: each event of the last part of a log is recommended for before it is learnt from.

A recommender sees what is known at that moment and never the event, so nothing can leak from the future: an event
changes what is known only after every strategy has answered (Gama, Sebastião and Rodrigues, "On evaluating stream
learning algorithms", 2013).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidInput
from eddyline.evaluation.interaction_log import IMPRESSION, VISIT_GAP, InteractionLog, LoggedInteraction, PriorCounts
from eddyline.evaluation.metrics import StrategyLists, diversity, novelty

FIRST_EVENTS = 10
"""Someone is new for so many events."""
FEW_EVENTS = 5
"""An item with fewer events is new."""
STEP = 500
"""Events between two moves of the progress bar."""
Recommend: TypeAlias = Callable[[int, float, int], Sequence[int]]
"""Lists, for a person at a time in epoch seconds, at most k places of items, best first, by what is learnt by then."""


@dataclass(frozen=True, slots=True)
class EvaluationProtocol:
    """Which lists are made: of `k` items, for every `stride`-th event, for people with `min_events` before.

    New people's are reported apart.
    """

    k: int = 10
    stride: int = 1
    min_events: int = 5


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
    recommenders: Mapping[str, Recommend],
    begin: int,
    protocol: EvaluationProtocol,
    progress: ProgressListener,
    what: str = "events",
) -> EvaluationRun:
    """Learn everything in order, and recommend first for the events from place `begin` on.

    `content`: the items' vectors, (items, dimension). Raises `InvalidInput` where there is nothing to recommend for.
    """
    before = PriorCounts.before_each(log.events)
    requests = _requests(log, before, begin, protocol)
    slices = {name: mask[requests] for name, mask in _slices(log, before, protocol).items()}
    total, k = int(requests.sum()), protocol.k
    if not slices["all"].any():
        raise InvalidInput(
            f"{log.name} is too small: of its {len(log.events):,} events none of the last {len(log.events) - begin:,} "
            f"is one to recommend for (new to someone with {protocol.min_events} events before; see --share and "
            "--min-events)"
        )
    answers = {name: _ListRecorder(total, k) for name in recommenders}
    counts = np.zeros(len(log.items))
    progress.start(what, len(log.events), 0)
    row = 0
    for place, event in enumerate(log.events):
        if requests[place]:
            for name, recommend in recommenders.items():
                started = time.perf_counter()
                listed = recommend(event.person, event.time, k)
                answers[name].seconds += time.perf_counter() - started
                answers[name].note(row, listed, event.item, content, counts)
            row += 1
        learn(event)
        if event.type != IMPRESSION:
            counts[event.item] += 1
        if (place + 1) % STEP == 0:
            progress.advance(what, STEP)
    progress.advance(what, len(log.events) % STEP)
    return EvaluationRun(
        event=np.flatnonzero(requests),
        person=np.fromiter((event.person for event in log.events), dtype=np.int64)[requests],
        slices=slices,
        lists={name: answer.lists for name, answer in answers.items()},
        seconds={name: answer.seconds for name, answer in answers.items()},
    )


class _ListRecorder:
    """Records one strategy's lists, as they come."""

    def __init__(self, requests: int, k: int) -> None:
        self.seconds = 0.0
        self.lists = StrategyLists(
            items=np.full((requests, k), -1, dtype=np.int32),
            rank=np.zeros(requests, dtype=np.int32),
            diversity=np.full(requests, np.nan),
            novelty=np.full(requests, np.nan),
        )

    def note(
        self,
        row: int,
        listed: Sequence[int],
        came: int,
        content: NDArray[np.float32],
        counts: NDArray[np.float64],
    ) -> None:
        """Score a list, of which at most k count; `came` is the item that came next."""
        lists = self.lists
        places = np.asarray(listed, dtype=np.int32)[: lists.items.shape[1]]
        lists.items[row, : len(places)] = places
        found = np.flatnonzero(places == came)
        lists.rank[row] = found[0] + 1 if len(found) else 0
        lists.diversity[row] = diversity(content[places])
        lists.novelty[row] = novelty(counts[places], float(counts.sum()), len(counts))


def _requests(log: InteractionLog, before: PriorCounts, begin: int, protocol: EvaluationProtocol) -> NDArray[np.bool_]:
    """Mask the events that are recommended for: an item that the person hasn't had to do with, and no impression."""
    places = np.arange(len(log.events))
    impression = np.fromiter((event.type == IMPRESSION for event in log.events), dtype=np.bool_, count=len(places))
    in_turn = (places >= begin) & ((places - begin) % protocol.stride == 0)
    someone = (before.of_person >= protocol.min_events) | (before.of_person < FIRST_EVENTS)
    return np.asarray(in_turn & someone & ~impression & ~before.is_repeat)


def _slices(log: InteractionLog, before: PriorCounts, protocol: EvaluationProtocol) -> dict[str, NDArray[np.bool_]]:
    """Name the slices that are reported, each a mask over all events."""
    weights = np.fromiter((event.weight for event in log.events), dtype=np.float64, count=len(log.events))
    known = before.of_person >= protocol.min_events
    return {
        "all": known,
        "positive": known & (weights > 0),
        "new people": before.of_person < FIRST_EVENTS,
        "new items": known & (before.of_item < FEW_EVENTS),
        "after a pause": known & (before.of_person > 0) & (before.pause >= VISIT_GAP),
    }
