"""Simulated people: what they like, what they click, when they leave. All of it follows from their seed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.clients.simulator import catalogue
from eddyline.clients.simulator.catalogue import SimulatedItem
from eddyline.clients.simulator.population import Population, SimulatedPerson, make_person
from eddyline.clients.simulator.simulation_report import percentile
from eddyline.clients.simulator.visits import ListedItem, ViewedList, Visit
from eddyline.clients.simulator.vocabulary import VOCABULARY
from eddyline.clients.simulator.world import Habits, SimulatedWorld
from eddyline.model.events import Content, Identify, ImpressionReport, Interaction, WireModel

TOPICS = tuple(VOCABULARY)
LIKINGS = st.floats(-1, 1)
RANKS = st.integers(1, 100)
HABITS = Habits()
MADE = catalogue.generate_catalogue(200)
MODELS: dict[str, type[WireModel]] = {"identify": Identify, "impression": ImpressionReport}


def world(seed: int = 1, **habits: Any) -> SimulatedWorld:
    made = SimulatedWorld(TOPICS, seed, Habits(**habits))
    made.add(one.item for one in MADE)
    return made


def someone(in_world: SimulatedWorld, number: int = 0, **taste: float) -> SimulatedPerson:
    person = make_person(in_world, 1, number)
    if taste:
        person.taste = dict(taste)
    return person


def served(*item_ids: str) -> list[ListedItem]:
    return [ListedItem(item_id, rank) for rank, item_id in enumerate(item_ids, start=1)]


def looks(
    in_world: SimulatedWorld, item_ids: list[str], taste: dict[str, float], people: int = 400
) -> list[ViewedList]:
    """What people of this taste do with the same list."""
    return [
        Visit(in_world, someone(in_world, number, **taste)).look("r", served(*item_ids)) for number in range(people)
    ]


# -- the click model ---------------------------------------------------------------------------------------------------


@given(rank=RANKS, liking=LIKINGS, quality=st.floats(-2, 2))
def test_a_click_is_less_likely_further_down(rank: int, liking: float, quality: float) -> None:
    assert HABITS.clicks(rank, liking, quality) > HABITS.clicks(rank + 1, liking, quality)


@given(rank=RANKS, one=LIKINGS, other=LIKINGS)
def test_a_click_is_more_likely_on_what_is_liked_more(rank: int, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0 < HABITS.clicks(rank, less) <= HABITS.clicks(rank, more) < 1
    assert HABITS.buys(less) <= HABITS.buys(more)
    assert HABITS.dwell(less, Random(1)) <= HABITS.dwell(more, Random(1))


@given(one=st.floats(-1, 2), other=st.floats(-1, 2))
def test_who_was_pleased_stays_longer_and_is_back_sooner(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert HABITS.goes_on(less) <= HABITS.goes_on(more)
    assert HABITS.leaves(less) >= HABITS.leaves(more)
    assert HABITS.pause(10, less, Random(1)) >= HABITS.pause(10, more, Random(1))


def test_what_people_do_is_as_likely_as_the_model_says() -> None:
    made = world()
    made.add([SimulatedItem("good", {"Jazz": 1.0}, 0.0, 9.0), SimulatedItem("bad", {"Chess": 1.0}, 0.0, 9.0)])
    taste = {"Jazz": 0.8, "Chess": -0.5}
    found = looks(made, ["bad", "good"], taste, people=4000)
    clicks = Counter(place.item_id for look in found for place in look.clicked)
    assert clicks["good"] / 4000 == pytest.approx(HABITS.clicks(2, 0.8), abs=0.03)
    assert clicks["bad"] / 4000 == pytest.approx(HABITS.clicks(1, -0.5), abs=0.02)
    sold = sum(look.conversions for look in found)
    assert sold / clicks["good"] == pytest.approx(HABITS.buys(0.8), abs=0.03)


def test_relevance_decides_the_clicks_of_a_list() -> None:
    made = world()
    taste = dict.fromkeys(TOPICS, -0.6) | {"Jazz": 0.9, "Chess": 0.9}
    best = sorted(made.items, key=lambda item_id: -made.liking(taste, item_id))
    good, middling = looks(made, best[:10], taste), looks(made, best[5::20], taste)
    assert sum(len(look.clicked) for look in good) > 2 * sum(len(look.clicked) for look in middling)


def test_people_see_only_the_first_so_many_and_click_only_what_they_see() -> None:
    made = world()
    item_ids = [one.item.item_id for one in MADE[:40]]
    found = looks(made, item_ids, {})
    depths = Counter(len(look.seen) for look in found)
    assert {4, 8, 12, 10} <= depths.keys()
    assert depths[4] > depths[8] > depths[12]
    for look in found:
        assert look.seen == tuple(served(*item_ids)[: len(look.seen)])
        assert set(look.clicked) <= set(look.seen)
        impression, *_ = [action.event for action in look.actions]
        assert impression["positions"] == list(range(1, len(look.seen) + 1))


def test_what_was_clicked_before_is_seldom_clicked_again() -> None:
    made = world()
    made.add([SimulatedItem("good", {"Jazz": 1.0}, 0.0, 9.0)])
    fresh = again = 0
    for number in range(500):
        person = someone(made, number, Jazz=1.0)
        fresh += bool(Visit(made, person).look("r", served("good")).clicked)
        person.clicked.add("good")
        again += bool(Visit(made, person).look("r", served("good")).clicked)
    assert again < fresh / 3


# -- events ------------------------------------------------------------------------------------------------------------


def test_everything_that_is_told_is_an_event_of_the_wire() -> None:
    made = world()
    kinds: Counter[str] = Counter()
    for number in range(300):
        person = someone(made, number)
        for _ in range(3):
            visit = Visit(made, person)
            actions = [*visit.arrive(), *visit.look("r7", served(*list(made.items)[:10]), "home").actions]
            for event in (action.event for action in actions):
                kinds[event["type"]] += 1
                MODELS.get(event["type"], Interaction).model_validate(event)
    assert kinds.keys() == {"impression", "click", "purchase", "dislike", "identify"}


def test_some_clicks_have_lost_their_list_and_some_events_come_late() -> None:
    made = world(unattributed=0.3, late=0.2)
    found = looks(made, [one.item.item_id for one in MADE[:20]], dict.fromkeys(TOPICS, 0.5))
    actions = [action for look in found for action in look.actions]
    clicks = [action.event for action in actions if action.event["type"] == "click"]
    lost = sum("request_id" not in click for click in clicks) / len(clicks)
    late = [action.late for action in actions if action.late]
    assert lost == pytest.approx(0.3, abs=0.06)
    assert len(late) / len(actions) == pytest.approx(0.2, abs=0.05)
    assert sum(late) / len(late) == pytest.approx(Habits().late_seconds, rel=0.25)


def test_someone_anonymous_signs_in_once_and_is_a_user_from_then_on() -> None:
    made = world(anonymous=1.0, identify=1.0)
    person = someone(made)
    first = Visit(made, person)
    assert first.arrive() == []
    assert first.look("r", served("sim-item-1")).actions[0].event["anonymous_id"] == person.anonymous_id
    second = Visit(made, person)
    (identify,) = second.arrive()
    assert identify.event["type"] == "identify"
    assert (identify.event["anonymous_id"], identify.event["user_id"]) == (person.anonymous_id, person.user_id)
    impression = second.look("r", served("sim-item-1")).actions[0].event
    assert impression["user_id"] == person.user_id
    assert "anonymous_id" not in impression
    assert Visit(made, person).arrive() == []


# -- people ------------------------------------------------------------------------------------------------------------


def life(seed: int, number: int = 3) -> list[Any]:
    """What someone does with the same lists."""
    made = world()
    person = make_person(made, seed, number)
    done: list[Any] = [dict(person.taste), person.usual_pause]
    for _ in range(20):
        visit = Visit(made, person)
        done += [visit.arrive(), visit.look("r", served(*list(made.items)[:10])), visit.next()]
    return done


def test_the_same_seed_is_the_same_person_and_another_is_another() -> None:
    assert life(1) == life(1)
    assert life(1) != life(2)
    assert life(1, 3) != life(1, 4)


def test_tastes_wander_a_little_and_sometimes_become_others() -> None:
    made = world(taste_change=0.1)
    person = someone(made)
    jumps = 0
    jumped: list[float] = []
    wandered: list[float] = []
    Visit(made, person).arrive()
    for _ in range(500):
        before, visit = person.taste, Visit(made, person)
        visit.arrive()
        change = sum(abs(person.taste[name] - before[name]) for name in TOPICS) / len(TOPICS)
        jumps += visit.has_changed_taste
        (jumped if visit.has_changed_taste else wandered).append(change)
        assert all(-1 <= liking <= 1 for liking in person.taste.values())
    assert jumps / 500 == pytest.approx(0.1, abs=0.04)
    assert max(wandered) < 0.2 < sum(jumped) / len(jumped)


def test_without_taste_changes_tastes_stay() -> None:
    made = world(taste_change=0.0)
    person = someone(made)
    before = dict(person.taste)
    for _ in range(50):
        Visit(made, person).arrive()
    assert person.taste == before


def test_a_few_come_very_often() -> None:
    made = world()
    pauses = sorted(make_person(made, 1, number).usual_pause for number in range(1000))
    visits = [1 / pause for pause in pauses]
    assert sum(visits[:100]) > 0.3 * sum(visits)
    assert pauses[-1] / pauses[0] > 10


def test_people_share_tastes_but_are_not_alike() -> None:
    made = world()
    people = [make_person(made, 1, number) for number in range(200)]
    favourites = Counter(max(person.taste, key=lambda name: person.taste[name]) for person in people)
    assert len(favourites) >= 8
    assert favourites.most_common(1)[0][1] > 2 * 200 / len(TOPICS)
    assert len({tuple(person.taste.values()) for person in people}) == 200


def test_a_displeased_person_leaves_sooner_for_the_day_and_for_good() -> None:
    made = world()
    taste = dict.fromkeys(TOPICS, -0.6) | {"Jazz": 1.0}
    best = sorted(made.items, key=lambda item_id: -made.liking(taste, item_id))

    def lives(item_ids: list[str]) -> tuple[float, float]:
        lists = leavers = 0
        for number in range(400):
            visit = Visit(made, someone(made, number, **taste))
            while True:
                visit.look("r", served(*item_ids))
                then = visit.next()
                if then.is_over:
                    break
            lists += visit.lists
            leavers += then.hours is None
        return lists / 400, leavers / 400

    (stayed, left), (endured, fled) = lives(best[:10]), lives(best[-10:])
    assert 12 > stayed > 1.3 * endured > 1.3
    assert fled > 1.5 * left > 0


def test_nobody_stays_for_ever() -> None:
    visit = Visit(made := world(go_on=50.0), someone(made))
    while not visit.next().is_over:
        visit.look("r", served("sim-item-1"))
        assert visit.lists <= 12


def test_for_each_who_leaves_someone_new_comes_and_the_calendar_goes_on_in_time() -> None:
    made = world()
    people = Population(made, 1, 10)
    times = []
    for turn in range(200):
        person = people.next()
        assert person is not None
        times.append(people.now)
        if turn % 4 == 0:
            people.leave(person)
        else:
            people.put(person, 5.0)
    assert times == sorted(times)
    assert (len(people), people.left, people.came) == (10, 50, 60)


def test_someone_who_is_here_does_not_come_a_second_time() -> None:
    people = Population(world(), 1, 3)
    there = [people.next() for _ in range(3)]
    assert len({person.number for person in there if person is not None}) == 3
    assert people.next() is None


# -- the catalogue -----------------------------------------------------------------------------------------------------


def test_made_up_items_are_items_of_the_wire_in_words_of_their_topics() -> None:
    for one in MADE:
        content = Content.model_validate(one.published(1_790_000_000.0))
        assert content.category is not None
        assert content.category in one.item.topics
        assert sum(one.item.topics.values()) == pytest.approx(1.0)
        assert one.item.topics[content.category] >= 0.5
        for topic in one.item.topics:
            assert any(subject in content.tags for subject in VOCABULARY[topic].subjects)
            assert topic.lower() in (content.description or "")
    assert len({one.state["category"] for one in MADE}) == len(TOPICS)


def test_a_larger_catalogue_begins_with_the_smaller_one() -> None:
    assert catalogue.generate_catalogue(3) == MADE[:3]


def test_an_item_that_was_there_is_about_its_category_and_its_known_tags() -> None:
    state = {"item_id": "1", "category": "Animation", "tags": ["Animation", "Children", "pixar"], "price": 3}
    item = catalogue.item_from_state(state, {"Animation", "Children"})
    assert item.topics == {"Animation": pytest.approx(2 / 3), "Children": pytest.approx(1 / 3)}
    assert item.price == 3.0
    assert item == catalogue.item_from_state(state, {"Animation", "Children"})
    assert catalogue.item_from_state({"item_id": "2"}, {"Animation"}).topics == {}


def test_the_topics_of_a_catalogue_are_what_most_of_it_is_about() -> None:
    states: list[dict[str, Any]] = [{"category": "Drama", "tags": ["Drama", f"t{n}"]} for n in range(60)]
    states += [{"category": "Comedy", "tags": ["Comedy", "Drama"]} for _ in range(5)]
    topics = catalogue.catalogue_topics(states)
    assert topics[:2] == ["Drama", "Comedy"]
    assert len(topics) == catalogue.MAX_TOPICS


def test_news_in_a_catalogue_that_was_there_is_about_its_topics() -> None:
    made = SimulatedWorld(["Comedy", "Sci-Fi", "Film"], 1)
    for number in range(20):
        written = made.new_item(f"n{number}")
        Content.model_validate(written.published(1_790_000_000.0))
        assert written.item.topics.keys() <= {"Comedy", "Sci-Fi", "Film"}
        assert made.items[f"n{number}"] == written.item


@given(st.lists(st.floats(0, 100), min_size=1))
def test_percentiles_are_values_of_which_so_many_are_not_above(values: list[float]) -> None:
    found = [percentile(values, percent) for percent in (0, 50, 95, 100)]
    assert found[0] == min(values)
    assert found[-1] == max(values)
    assert all(one is not None and other is not None and one <= other for one, other in pairwise(found))
    assert percentile([], 50) is None
