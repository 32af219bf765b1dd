"""A strategy that is learned, through the services: what people choose moves its weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tests.services.reading import SETTINGS, Shop, stocked
from tests.support.fakes import Clock, FakeDeadLetters

from eddyline.adapters.kafka import TopicPartition
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import BLENDS, Collections
from eddyline.affinity import AffinityLearner, BlendStore, ChoiceFinder, ChoiceLearning
from eddyline.model.ranking.blend import Choice
from eddyline.profiler import Profiler
from eddyline.profiler.choice_sampler import BURST, RATE
from eddyline.reader import Reader
from eddyline.reader.schemas import StrategyList
from eddyline.settings import STRATEGIES, StrategySettings
from eddyline.settings.strategies import LEARNED_TERMS

LEARNED = SETTINGS.model_copy(update={"ranking": SETTINGS.ranking.model_copy(update={"strategy": "learned"})})
ITEMS = 12


class LearningShop(Shop):
    """One whose every choice is learnt from."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        super().__init__(LEARNED)
        self.found: list[Choice] = []
        self.processor = Clock(0.0)
        self.restart_affinity()
        self.profiler = Profiler(
            self.store,
            self._producer,
            FakeDeadLetters(),
            LEARNED.events,
            LEARNED.profile,
            1,
            Metrics(),
            clock=self.clock,
            monotonic=self.monotonic,
            samples_choices=True,
        )
        self.profiler.assigned({TopicPartition("interactions", 0): 1})
        self.put(*({"item_id": f"i{n}", "title": f"thing {n}"} for n in range(ITEMS)))

    def restart_affinity(self) -> None:
        shop = self

        class Recording(BlendStore):
            def learn(self, found: Any) -> None:
                shop.found += [choice for several in found.values() for choice in several]
                super().learn(found)

        self.learner = ChoiceLearning(
            ChoiceFinder(self.store, Collections(), LEARNED.ranking, LEARNED.profile, self.monotonic),
            Recording(self.store, LEARNED.strategies, Metrics()),
        )
        self.affinity = AffinityLearner(
            self.store, choices=self.learner, monotonic=self.monotonic, processor=self.processor
        )
        self.affinity.assigned({TopicPartition("activity", 0): 1})

    def visit(self, person: str, *items: int) -> None:
        """Someone opens these, one after another."""
        for item in items:
            self.clock.now += 20.0
            self.monotonic.now += 20.0
            self.did(person, f"i{item}")

    def _pass_on(self) -> None:
        self.sent += [one.value or b"" for one in self._producer.sent]
        super()._pass_on()

    def weights(self) -> StrategySettings:
        """As the reader has them, a second later."""
        self.monotonic.now += 2.0
        return self.reader._strategies.named("learned")

    def stored(self) -> dict[str, Any]:
        points, _ = self.store.scroll(BLENDS)
        assert len(points) <= 1
        return dict(points[0].payload) if points else {}


def strategy_named(name: str, reader: Reader) -> dict[str, Any]:
    told = reader.strategies()
    assert told["usual"] == "learned"
    StrategyList.model_validate(told)
    (one,) = (one for one in told["strategies"] if one["name"] == name)
    return dict(one)


def weight_metric(metrics: Metrics, term: str) -> float:
    labels = {"strategy": "learned", "visit": "running", "term": term}
    value = metrics.registry.get_sample_value("eddyline_blend_weight", labels)
    assert value is not None
    return value


@pytest.fixture
def shop() -> LearningShop:
    return LearningShop()


def test_where_one_thing_leads_to_the_next_that_comes_to_weigh_more(shop: LearningShop) -> None:
    shipped = STRATEGIES["learned"]
    assert shop.weights() == shipped
    for visitor in range(24):
        start = visitor * 7 % ITEMS
        shop.visit(f"p{visitor}", *((start + step) % ITEMS for step in range(4)))

    learnt = shop.weights()
    assert learnt.next > shipped.next + 0.2
    assert learnt.popularity < shipped.popularity
    assert shop.stored()["choices"] == len(shop.found) > 40
    shop.visit("last", 3, 4)
    with shop.open():
        answer = shop.recommend("last", explain=True)
    assert answer["strategy"] == "learned"
    assert answer["items"][0]["item_id"] == "i5"
    assert answer["items"][0]["scores"]["next"] > 0


def test_what_is_learnt_goes_on_after_a_restart(shop: LearningShop) -> None:
    for visitor in range(6):
        shop.visit(f"p{visitor}", *(range(visitor % 5, visitor % 5 + 4)))
    before = shop.stored()
    assert before["choices"] > 5

    shop.restart_affinity()
    shop.visit("q", 1, 2, 3)

    assert shop.stored()["choices"] > before["choices"]
    assert shop.stored()["state"]["loss"] == pytest.approx(before["state"]["loss"], abs=0.5)


def test_from_other_weights_in_the_settings_it_begins_anew(shop: LearningShop) -> None:
    for visitor in range(6):
        shop.visit(f"p{visitor}", *(range(visitor % 5, visitor % 5 + 4)))
    other = STRATEGIES["learned"].model_copy(update={"affinity": 9.0})
    settings = LEARNED.model_copy(update={"strategies": {**LEARNED.strategies, "learned": other}})
    reader = Reader(shop.store, settings, Metrics(), shop.clock, shop.monotonic)

    assert strategy_named("learned", reader)["weights"]["running"]["affinity"] == 9.0
    reader.close()


def test_it_is_told_what_strategies_weigh_and_what_was_learnt(shop: LearningShop) -> None:
    assert strategy_named("eddyline", shop.reader).keys() == {"name", "learned", "weights"}
    at_first = strategy_named("learned", shop.reader)
    assert (at_first["choices"], at_first["loss"], at_first["weights"]) == (0, None, at_first["shipped"])

    for visitor in range(12):
        shop.visit(f"p{visitor}", *(range(visitor % 5, visitor % 5 + 4)))
    shop.monotonic.now += 2.0
    told = strategy_named("learned", shop.reader)
    assert told["choices"] == len(shop.found)
    assert told["weights"]["running"]["next"] > told["shipped"]["running"]["next"]
    assert 0.0 < told["loss"] < told["shipped_loss"]
    assert told["weights"]["running"]["next"] == pytest.approx(weight_metric(shop.metrics, "next"), abs=1e-3)


def test_a_choice_is_found_before_its_own_row_knows_of_it(shop: LearningShop) -> None:
    for visitor in range(6):
        shop.visit(f"p{visitor}", 0, 1)
    following = LEARNED_TERMS.index("next")
    known = [choice.values[following, choice.chosen] for choice in shop.found if choice.item_id == "i1"]
    assert len(known) == 6
    assert known[0] == 0.0
    assert known[-1] > 0.0


def test_what_somebody_has_met_before_is_no_choice(shop: LearningShop) -> None:
    shop.visit("one", 0, 1, 2)
    known = len(shop.found)
    shop.clock.now += 4000.0
    shop.visit("one", 1)
    assert len(shop.found) == known


def test_finding_choices_takes_no_more_than_its_share_of_the_time(shop: LearningShop, monkeypatch: Any) -> None:
    find = shop.learner.finder.find

    def slowly(activity: Any) -> Choice | None:
        shop.processor.now += 0.2
        return find(activity)

    monkeypatch.setattr(type(shop.learner.finder), "find", lambda _, activity: slowly(activity))
    shop.visit("one", *range(6))
    assert 4 <= len(shop.found) <= 6, "every twenty seconds is all right"
    found = len(shop.found)
    for item in range(6, ITEMS):
        shop.clock.now += 1.0
        shop.monotonic.now += 1.0
        shop.did("one", f"i{item}")
    assert len(shop.found) <= found + 2, "every second is too much"


def test_every_choice_is_of_the_sample_while_there_are_few_and_some_a_second_at_most(shop: LearningShop) -> None:
    shop.visit("one", *range(6))
    assert len(shop.found) == 5, "but the first, of somebody unknown"
    for person in range(40):  # forty in one second
        shop.clock.now += 0.025
        shop.monotonic.now += 0.025
        shop.did(f"p{person}", f"i{person % ITEMS}")
        shop.did(f"p{person}", f"i{(person + 1) % ITEMS}")
    assert sum(b'"before"' in value for value in shop.sent) <= 5 + BURST + RATE


def test_rows_are_not_read_again_for_each_choice(shop: LearningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.visit("one", 0, 1)
    read: Counter[str] = Counter()
    retrieve = shop.store.retrieve

    def counted(collection: str, ids: Any, **asked: Any) -> Any:
        if asked.get("payload") == ("item_id", "trend", "listed_at"):
            read.update(ids)
        return retrieve(collection, ids, **asked)

    monkeypatch.setattr(shop.store, "retrieve", counted)
    found = len(shop.found)
    for item in (2, 3, 4, 5):
        shop.clock.now += 1.0
        shop.monotonic.now += 1.0
        shop.did("two", f"i{item}")
    assert len(shop.found) == found + 3, "not the first, of somebody unknown"
    assert set(read.values()) == {1}
    shop.visit("three", 6, 7, 8)
    assert max(read.values()) == 2, "half a minute later they are"


def test_an_activity_does_not_say_whose_profile_it_carries(shop: LearningShop) -> None:
    shop.user("ada-lovelace", {"interests": ["engines"], "attributes": {"plan": "secret-plan"}})
    shop.visit("ada-lovelace", 0, 1)
    carrying = [value for value in shop.sent if b'"before"' in value]
    assert carrying
    assert not any(word in value for value in carrying for word in (b"ada-lovelace", b"secret-plan"))


def test_a_newcomers_interests_decide_their_first_list_whatever_one_other_person_did() -> None:
    shop = stocked(LEARNED)
    for item in ("kitchen1", "kitchen2", "kitchen3"):
        shop.did("another", item)
    shop.user("ada", {"interests": ["starship", "galaxy"]})
    with shop.open():
        first = [item["item_id"] for item in shop.recommend("ada", limit=5)["items"]]
        assert sum(item.startswith("space") for item in first) >= 4
        for item in ("kitchen7", "kitchen8", "kitchen9"):
            shop.did("ada", item)
        then = [item["item_id"] for item in shop.recommend("ada", limit=5)["items"]]
        assert sum(item.startswith("kitchen") for item in then) >= 4
