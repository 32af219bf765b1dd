"""Tuning finds better weights on its own part of the log, and never looks at the last."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import NOW, TinyEncoder

from eddyline.clients.progress import ProgressListener
from eddyline.evaluation.interaction_log import InteractionLog, LoggedInteraction
from eddyline.evaluation.prequential import EvaluationProtocol
from eddyline.evaluation.strategy_comparison import Contender, Evaluation
from eddyline.evaluation.weight_search import as_toml, moved, point_of, tune
from eddyline.model.events import Content
from eddyline.model.ids import Person
from eddyline.settings import Settings, StrategySettings

SETTINGS = Settings()
PROTOCOL = EvaluationProtocol(k=3, min_events=2)
ITEMS = 12


def chain(people: int = 10) -> InteractionLog:
    """All go through the items in the same order: affinity knows what comes next, content doesn't."""
    items = tuple(Content(item_id=f"i{number}", title=f"thing {number * 7919}") for number in range(ITEMS))
    events = [
        LoggedInteraction(person, item, "like", 3.0, NOW + 86_400.0 * person + 60.0 * item, f"{person}.{item}")
        for person in range(people)
        for item in range(ITEMS)
    ]
    return InteractionLog(
        "chain", "0", items, tuple(Person("u", str(number)) for number in range(people)), tuple(events)
    )


def evaluation(log: InteractionLog) -> Evaluation:
    return Evaluation(log, TinyEncoder().encode([item.title for item in log.items]), {}, SETTINGS, PROTOCOL)


def contender(**weights: Any) -> Contender:
    return Contender(SETTINGS.ranking, StrategySettings(**weights))


@pytest.mark.slow(10)
def test_the_search_finds_the_source_that_knows_though_it_had_no_weight() -> None:
    log, base = chain(), contender(freshness=1.0)
    found = tune(evaluation(log), base, len(log.events) // 2, 24, 1, ProgressListener())
    assert found.score > 1.2
    assert found.contender.strategy.affinity > 0
    assert found.trials <= 24


def test_the_same_seed_finds_the_same() -> None:
    log, base = chain(5), contender(taste=1.0)
    found = [tune(evaluation(log), base, 30, 6, seed, ProgressListener()) for seed in (1, 1)]
    assert found[0] == found[1]


def test_where_nothing_helps_nothing_changes() -> None:
    """Lists that hold all items hit the same whatever the weights, and at no better rank with one item left."""
    log = chain(2)
    begin = len(log.events) - 1
    base = contender(taste=1.0)
    assert tune(evaluation(log), base, begin, 6, 1, ProgressListener()).contender == base


def test_trials_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def counted(self: Evaluation, contenders: dict[str, Contender], *rest: Any) -> Any:
        ran.extend(contenders)
        return run(self, contenders, *rest)

    run = Evaluation.run
    monkeypatch.setattr(Evaluation, "run", counted)
    tune(evaluation(chain(4)), contender(taste=1.0, affinity=0.1), 24, 7, 1, ProgressListener())
    assert len(ran) <= 7 + 1


def test_what_is_printed_are_settings_that_say_the_same() -> None:
    base = contender(affinity=1.0, taste=0.15, session_start={"popularity": 0.4})
    changed = moved(base, point_of(base) | {("strategy", "taste"): 0.25, ("ranking", "popularity_damping"): 0.1})
    read = Settings(**tomllib.loads(as_toml("mine", changed)))
    assert read.strategies["mine"] == changed.strategy
    assert read.ranking == changed.ranking
    assert read.ranking.popularity_damping == 0.1


def test_every_weight_is_searched() -> None:
    names = {place[1] for place in point_of(contender()) if place[0] == "strategy"}
    assert names == {"affinity", "taste", "session", "popularity", "trending", "freshness"}
    assert np.isfinite(list(point_of(contender()).values())).all()
