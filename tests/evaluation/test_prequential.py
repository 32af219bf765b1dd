"""The run: recommended first, then learnt from; known hits on logs small enough to count by hand."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidInput
from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.prequential import AT_ONCE, EvaluationProtocol, EvaluationRun, MakeList, run
from eddyline.model.events import Content
from eddyline.model.ids import Person

HOUR = 3_600.0


class Tally:
    """Knows how often each item came, and to whom."""

    def __init__(self, items: int) -> None:
        self.content: NDArray[np.float32] = np.eye(items, dtype=np.float32)
        self.counts: Counter[int] = Counter()
        self.seen: defaultdict[int, set[int]] = defaultdict(set)
        self.learnt: list[LoggedInteraction] = []

    def learn(self, event: LoggedInteraction) -> None:
        self.counts[event.item] += 1
        self.seen[event.person].add(event.item)
        self.learnt.append(event)

    def settle(self) -> None:
        """There is nothing to be folded."""


class MostCounted:
    """The items that came most often, of equals the last; each request is kept, with what was known."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float, int]] = []

    def recommend(self, state: Tally, person: int, now: float, k: int) -> MakeList:
        self.asked.append((person, now, len(state.learnt)))
        left = [item for item in range(len(state.content)) if item not in state.seen[person]]
        listed = sorted(left, key=lambda item: (-state.counts[item], -item))[:k]
        return lambda: listed


def log_of(*rows: tuple[int, int], items: int = 4, step: float = 1.0) -> InteractionLog:
    """(person, item), one every `step` seconds."""
    events = tuple(
        LoggedInteraction(person, item, "like", 1.0, place * step, f"e{place}")
        for place, (person, item) in enumerate(rows)
    )
    contents = tuple(Content(item_id=str(number), title=f"T{number}") for number in range(items))
    people = tuple(Person("u", str(number)) for number in range(1 + max(person for person, _ in rows)))
    return InteractionLog("test", "0", contents, people, events)


POPULAR = log_of((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1))
"""All choose 0, and then 1."""


def evaluated(log: InteractionLog, begin: int, protocol: EvaluationProtocol) -> tuple[EvaluationRun, MostCounted]:
    recommender, tally = MostCounted(), Tally(len(log.items))
    recommend = partial(recommender.recommend, tally)
    answered = run(
        log, tally.content, tally.learn, tally.settle, {"most": recommend}, begin, protocol, ProgressListener()
    )
    return answered, recommender


def test_popularity_hits_what_it_can_know() -> None:
    """Nobody has chosen 1 when the first person does (of equals, 3 is listed); the other two are told by the first."""
    answered, _ = evaluated(POPULAR, 3, EvaluationProtocol(k=1, min_events=1))
    assert answered.lists["most"].items.ravel().tolist() == [3, 1, 1]
    assert answered.lists["most"].rank.tolist() == [0, 1, 1]


def test_every_list_is_made_before_its_event_is_known_and_after_all_earlier_ones() -> None:
    answered, recommender = evaluated(POPULAR, 3, EvaluationProtocol(k=1, min_events=1))
    assert recommender.asked == [(0, 3.0, 3), (1, 4.0, 4), (2, 5.0, 5)]
    assert answered.event.tolist() == [3, 4, 5]


def test_events_that_are_not_asked_about_are_learnt_from_all_the_same() -> None:
    log = log_of(*((person, item) for item in range(10) for person in range(2)), items=10)
    answered, recommender = evaluated(log, 10, EvaluationProtocol(k=1, stride=3, min_events=5))
    assert answered.event.tolist() == [10, 13, 16, 19]
    assert [known for _, _, known in recommender.asked] == [10, 13, 16, 19]


def test_the_rank_is_the_place_on_the_list() -> None:
    answered, _ = evaluated(POPULAR, 3, EvaluationProtocol(k=3, min_events=1))
    assert answered.lists["most"].rank.tolist() == [3, 1, 1]
    assert answered.lists["most"].items[0].tolist() == [3, 2, 1]


def test_a_list_longer_than_k_gains_nothing() -> None:
    tally, protocol = Tally(4), EvaluationProtocol(k=1, min_events=1)

    def everything(person: int, now: float, k: int) -> MakeList:
        return MostCounted().recommend(tally, person, now, 100 * k)

    answered = run(
        POPULAR, tally.content, tally.learn, tally.settle, {"all": everything}, 3, protocol, ProgressListener()
    )
    assert answered.lists["all"].rank.tolist() == [0, 1, 1]


def test_what_somebody_had_already_and_impressions_are_not_asked_about() -> None:
    rows = POPULAR.events
    shown = rows[3]._replace(type="impression", weight=0.0, item=3)
    again = rows[3]._replace(item=0)
    log = InteractionLog("test", "0", POPULAR.items, POPULAR.people, (*rows[:3], shown, again, rows[4]))
    answered, _ = evaluated(log, 3, EvaluationProtocol(k=1, min_events=1))
    assert answered.event.tolist() == [5]


def test_slices_hold_what_their_names_say() -> None:
    """Person 0 does twelve things an hour apart; person 1 one, the last; the last item is new to all."""
    rows = [*((0, item) for item in range(12)), (1, 0)]
    log = log_of(*rows, items=13, step=HOUR)
    disliked = log.events[11]._replace(weight=-3.0)
    log = InteractionLog("test", "0", log.items, log.people, (*log.events[:11], disliked, log.events[12]))
    answered, _ = evaluated(log, 1, EvaluationProtocol(k=1, min_events=5))
    asked = {name: answered.event[mask].tolist() for name, mask in answered.slices.items()}
    assert asked["all"] == [5, 6, 7, 8, 9, 10, 11]
    assert asked["positive"] == [5, 6, 7, 8, 9, 10]
    assert asked["new people"] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 12]
    assert asked["new items"] == asked["all"]
    assert asked["after a pause"] == asked["first of its moment"] == asked["all"]
    assert asked["first after the split"] == [5]
    assert asked["last of a person"] == [11]
    assert "repeats" not in asked


def test_what_comes_at_one_moment_with_the_one_before_is_no_first_of_its_moment() -> None:
    """Person 0 buys two things at a time, and somebody else one in between."""
    rows = log_of((0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1), (1, 2), items=4)
    times = [0.0, 0.0, 0.0, 60.0, 60.0, 60.0, 61.0]
    events = tuple(event._replace(time=time) for event, time in zip(rows.events, times, strict=True))
    log = InteractionLog("test", "0", rows.items, rows.people, events)
    answered, _ = evaluated(log, 1, EvaluationProtocol(k=1, min_events=1))
    assert answered.event[answered.slices["all"]].tolist() == [1, 3, 4, 5, 6]
    assert answered.event[answered.slices["first of its moment"]].tolist() == [3, 5, 6]
    assert answered.event[answered.slices["first after the split"]].tolist() == [1, 5]
    assert answered.event[answered.slices["last of a person"]].tolist() == [4, 6]


def test_repeats_are_asked_about_on_demand() -> None:
    log = log_of((0, 0), (0, 1), (0, 0), (0, 2))
    without, _ = evaluated(log, 1, EvaluationProtocol(k=1, min_events=1))
    answered, _ = evaluated(log, 1, EvaluationProtocol(k=1, min_events=1, repeats=True))
    assert without.event.tolist() == [1, 3]
    assert answered.event.tolist() == [1, 2, 3]
    assert answered.event[answered.slices["repeats"]].tolist() == [2]


def test_lists_that_are_made_later_are_scored_by_what_was_known_when_they_were_asked_for() -> None:
    """More requests than are made at once; novelty is of the counts before each."""
    count = 3 * AT_ONCE + 5
    log = log_of(*((0, item) for item in range(count)), items=count)
    tally, made = Tally(count), list[int]()

    def first(person: int, now: float, k: int) -> MakeList:
        number = len(tally.learnt)

        def make() -> list[int]:
            made.append(number)
            return [number]

        return make

    protocol = EvaluationProtocol(k=1, min_events=1)
    answered = run(log, tally.content, tally.learn, tally.settle, {"first": first}, 1, protocol, ProgressListener())
    assert made == list(range(1, count))
    assert answered.lists["first"].rank.tolist() == [1] * (count - 1)
    expected = -np.log2(1.0 / (np.arange(1, count) + count))
    assert answered.lists["first"].novelty == pytest.approx(expected)


def test_an_item_is_new_until_it_has_five_events_and_a_pause_lasts_an_hour() -> None:
    log = log_of(*((person, 0) for person in range(7)), items=2, step=HOUR - 1)
    answered, _ = evaluated(log, 0, EvaluationProtocol(k=1, min_events=0))
    assert answered.event[answered.slices["new items"]].tolist() == [0, 1, 2, 3, 4]
    assert answered.event[answered.slices["after a pause"]].tolist() == []


def test_a_log_with_nobody_to_ask_for_is_too_small() -> None:
    with pytest.raises(InvalidInput, match=r"too small: of its 6 events none of the last 3 .* with 5 events before"):
        evaluated(POPULAR, 3, EvaluationProtocol())
