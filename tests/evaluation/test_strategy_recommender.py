"""An evaluation recommends what the services would: the same events through both give the same lists."""

from __future__ import annotations

import random
from typing import Any, Literal

import numpy as np
import pytest
from tests.services.reading import Shop
from tests.support.fakes import NOW, TinyEncoder

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.learned_state import InMemoryState
from eddyline.evaluation.prequential import EvaluationProtocol
from eddyline.evaluation.strategy_comparison import Contender, Evaluation
from eddyline.evaluation.strategy_recommender import SearchCache, StrategyRecommender
from eddyline.model.distance import Distance, space_of
from eddyline.model.events import Content, Interaction, Rating, User, interaction_weight
from eddyline.model.ids import Person
from eddyline.model.text import DEFAULT
from eddyline.settings import AffinitySettings, EncoderSettings, Settings, StrategySettings

PEOPLE, ITEMS = 6, 30
WORDS = ("alien", "starship", "galaxy", "bread", "oven", "soup", "knife", "orbit", "robot", "spice")
SETTINGS = Settings(
    affinity=AffinitySettings(seed_neighbours=0, backward_window=0),  # as the shop is built
    strategies={
        "neighbours": StrategySettings(people=1.0, popularity=0.1),
        "varied": StrategySettings(taste=0.5, affinity=0.5, diversity=0.4),
        "frugal": StrategySettings(affinity=0.3, rating=0.5, price=1.0, freshness=0.1),
        "curious": StrategySettings(affinity=1.0, session=0.3, explore=0.5, rotation=0.3),
    },
)


def contents() -> tuple[Content, ...]:
    drawn = random.Random(1)
    return tuple(
        Content(
            item_id=f"film{number}",
            title=" ".join(drawn.sample(WORDS, 3)) + f" {number}",
            category=drawn.choice(["space", "kitchen"]),
            published_at=NOW - number * 86_400.0,
            price=None if number % 5 == 0 else 1.0 + number % 7,
            rating=None if number % 4 == 0 else Rating(value=number % 5, count=10 * number, scale=5),
        )
        for number in range(ITEMS)
    )


def vectors(items: tuple[Content, ...], distance: str = "cosine") -> np.ndarray[Any, np.dtype[np.float32]]:
    encoder = TinyEncoder(space_of(Distance.named(distance), "tiny-t1"))
    return encoder.encode([DEFAULT.parts(one.model_dump())[0][0] for one in items])


def deeds(count: int) -> list[tuple[int, int, str, float]]:
    """(person, item, type, seconds since the one before), with repeats, dislikes and pauses."""
    drawn = random.Random(2)
    return [
        (
            drawn.randrange(PEOPLE),
            min(drawn.randrange(ITEMS), drawn.randrange(ITEMS)),
            drawn.choice(["click", "like", "view", "dislike", "purchase"]),
            drawn.choice([61.0, 300.0, 7_200.0, 86_400.0]),
        )
        for _ in range(count)
    ]


@pytest.mark.slow(30)
@pytest.mark.parametrize(
    ("name", "distance"),
    [
        *((name, "cosine") for name in sorted(SETTINGS.strategies)),
        *((name, distance) for name in ("content", "varied") for distance in ("dot", "euclid")),
    ],
)
def test_the_same_events_give_the_lists_that_the_services_give(
    name: str, distance: Literal["cosine", "dot", "euclid"]
) -> None:
    items = contents()
    people = tuple(Person("u", f"p{number}") for number in range(PEOPLE + 1))
    settings = SETTINGS.model_copy(update={"encoder": EncoderSettings(distance=distance)})
    memory = InMemoryState(InteractionLog("test", "0", items, people, ()), vectors(items, distance), settings)
    served = StrategyRecommender(SETTINGS.ranking, SETTINGS.strategies[name], SearchCache(), varies=True)
    compared = 0
    with Shop(settings).open() as shop:
        shop.put(*(one.model_dump(mode="json", exclude_none=True) for one in items))
        for step, (person, item, kind, pause) in enumerate(deeds(100)):
            shop.clock.forward(pause)
            shop.monotonic.forward(pause)
            if step % 3 == 0:
                for asked in (person, PEOPLE):  # someone known, and someone nobody has heard of
                    listed = shop.recommend(people[asked].id, limit=8, strategy=name, strict=True)["items"]
                    ours = [items[place].item_id for place in served.prepare(memory, asked, shop.clock(), 8)()]
                    # But for what is as good as equal: a stored profile rounds what was popular.
                    scores = {one["item_id"]: one["score"] for one in listed}
                    assert [scores[item] for item in ours] == pytest.approx(list(scores.values()), abs=1e-3)
                    compared += len(listed)
            shop.did(people[person].id, items[item].item_id, kind)
            said = Interaction(type=kind, item_id=items[item].item_id, user_id=people[person].id)
            memory.learn(
                LoggedInteraction(
                    person, item, kind, interaction_weight(said, SETTINGS.events), shop.clock(), f"e{step}"
                )
            )
    assert compared > 350


@pytest.mark.slow(10)
def test_strategies_share_searches_and_nothing_else() -> None:
    """Each lists the same alone and in company."""
    items = contents()
    rows, at = [], NOW
    for step, (person, item, kind, pause) in enumerate(deeds(120)):
        at += pause
        rows.append(LoggedInteraction(person, item, "click", 1.0, at, f"e{step}{kind}"))
    log = InteractionLog("test", "0", items, tuple(Person("u", str(number)) for number in range(PEOPLE)), tuple(rows))
    evaluation = Evaluation(log, vectors(items), {}, SETTINGS, EvaluationProtocol(k=5, min_events=1))
    contenders = {name: Contender(SETTINGS.ranking, one) for name, one in SETTINGS.strategies.items()}
    together = evaluation.run(contenders, 60, ProgressListener())
    assert len(together.event) > 20
    for name, one in contenders.items():
        alone = evaluation.run({name: one}, 60, ProgressListener())
        assert (alone.lists[name].items == together.lists[name].items).all()


def test_nobody_is_recommended_what_they_have_seen_however_long_ago() -> None:
    """Even when the profile itself has forgotten it: the log knows."""
    items = contents()
    settings = SETTINGS.model_copy(update={"profile": SETTINGS.profile.model_copy(update={"seen": 2})})
    memory = InMemoryState(InteractionLog("test", "0", items, (Person("u", "p"),), ()), vectors(items), settings)
    for item in range(ITEMS - 3):
        memory.learn(LoggedInteraction(0, item, "like", 3.0, NOW + item, f"e{item}"))
    served = StrategyRecommender(settings.ranking, settings.strategies["eddyline"], SearchCache(), varies=True)
    listed = served.prepare(memory, 0, NOW + ITEMS, 10)()
    assert sorted(listed) == [ITEMS - 3, ITEMS - 2, ITEMS - 1]


def test_what_has_one_time_is_learnt_in_the_order_of_the_log() -> None:
    items = contents()
    memory = InMemoryState(InteractionLog("test", "0", items, (Person("u", "p"),), ()), vectors(items), SETTINGS)
    chosen = [3, 0, 2, 1]
    for item in chosen:
        memory.learn(LoggedInteraction(0, item, "purchase", 5.0, NOW, f"e{item}"))
    recents = memory.profile(0, NOW).seen.recents.newest_first()
    assert recents == [items[item].item_id for item in reversed(chosen)]


def test_with_repeats_what_was_seen_is_recommended_again() -> None:
    items = contents()
    memory = InMemoryState(
        InteractionLog("test", "0", items, (Person("u", "p"),), ()), vectors(items), SETTINGS, repeats=True
    )
    memory.learn(LoggedInteraction(0, 3, "like", 3.0, NOW, "e"))
    served = StrategyRecommender(SETTINGS.ranking, StrategySettings(popularity=1.0), SearchCache())
    assert served.prepare(memory, 0, NOW + 1, 1)() == [3]


@pytest.mark.slow(10)
def test_a_list_that_is_made_later_is_the_list_of_its_moment() -> None:
    items = contents()
    people = tuple(Person("u", str(number)) for number in range(PEOPLE))
    log = InteractionLog("test", "0", items, people, ())
    at_once, later = (InMemoryState(log, vectors(items), SETTINGS) for _ in range(2))
    for name, strategy in SETTINGS.strategies.items():
        ours = StrategyRecommender(SETTINGS.ranking, strategy, SearchCache())
        theirs = StrategyRecommender(SETTINGS.ranking, strategy, SearchCache())
        expected, prepared, at = [], [], NOW
        for step, (person, item, kind, pause) in enumerate(deeds(40)):
            at += pause
            expected.append(ours.prepare(at_once, person, at, 8)())
            prepared.append(theirs.prepare(later, person, at, 8))
            for state in (at_once, later):
                state.learn(LoggedInteraction(person, item, kind, 1.0, at, f"{name}{step}"))
        assert [make() for make in prepared] == expected


def test_onboarding_answers_count_from_their_time_on() -> None:
    items, person = contents(), Person("u", "p")
    answers = {0: User(user_id="p", interests=["soup"], timestamp=NOW)}
    log = InteractionLog("test", "0", items, (person,), (), answers)
    memory = InMemoryState(log, vectors(items), SETTINGS, {0: vectors(items)[7]})
    served = StrategyRecommender(SETTINGS.ranking, SETTINGS.strategies["content"], SearchCache())
    assert memory.profile(0, NOW - 1).is_unknown
    assert served.prepare(memory, 0, NOW, 1)() == [7]


def test_new_items_begin_with_what_their_neighbours_learnt() -> None:
    items = contents()
    log = InteractionLog("test", "0", items, tuple(Person("u", str(number)) for number in range(3)), ())
    content = vectors(items)
    content[ITEMS - 1] = content[1]  # the last is like the second, which people choose after the first
    found = {}
    for neighbours in (0, 3):
        settings = SETTINGS.model_copy(update={"affinity": AffinitySettings(seed_neighbours=neighbours)})
        memory = InMemoryState(log, content, settings)
        for person in (0, 1):
            memory.learn(LoggedInteraction(person, 0, "click", 1.0, NOW + person, f"a{person}"))
            memory.learn(LoggedInteraction(person, 1, "click", 1.0, NOW + 10 + person, f"b{person}"))
        memory.learn(LoggedInteraction(2, 0, "click", 1.0, NOW + 20, "c"))
        served = StrategyRecommender(settings.ranking, StrategySettings(affinity=1.0), SearchCache())
        found[neighbours] = list(served.prepare(memory, 2, NOW + 30, 2)())
    assert found[0][0] == found[3][0] == 1
    assert found[3][1] == ITEMS - 1
    assert found[0][1] != ITEMS - 1
