"""Tuning finds better weights on its own part of the log, and what it prints are settings."""

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
from eddyline.evaluation.weight_optimiser import WEIGHTS, _Example, _gradient, _loss, as_toml, tune
from eddyline.model.events import Content
from eddyline.model.ids import Person
from eddyline.settings import Settings, StrategySettings

SETTINGS = Settings()
PROTOCOL = EvaluationProtocol(k=3, min_events=2)
ITEMS = 40


def chain(people: int = 10) -> InteractionLog:
    """All go through the items in the same order, which isn't that of the ids: affinity knows what comes next."""
    items = tuple(Content(item_id=f"i{number}", title=f"thing {number * 7919}") for number in range(ITEMS))
    events = [
        LoggedInteraction(
            person, 7 * step % ITEMS, "like", 3.0, NOW + 86_400.0 * person + 60.0 * step, f"{person}.{step}"
        )
        for person in range(people)
        for step in range(ITEMS)
    ]
    return InteractionLog(
        "chain", "0", items, tuple(Person("u", str(number)) for number in range(people)), tuple(events)
    )


def evaluation(log: InteractionLog) -> Evaluation:
    return Evaluation(log, TinyEncoder().encode([item.title for item in log.items]), {}, SETTINGS, PROTOCOL)


def contender(**weights: Any) -> Contender:
    return Contender(SETTINGS.ranking, StrategySettings(**weights))


def ndcg(log: InteractionLog, one: Contender, begin: int) -> float:
    answered = evaluation(log).run({"one": one}, begin, ProgressListener())
    return float(answered.lists["one"].means()["ndcg"].mean())


@pytest.mark.slow(10)
def test_the_term_that_knows_gets_the_weight_though_it_had_none() -> None:
    log, base = chain(), contender(freshness=1.0, rotation=0.1)
    begin = len(log.events) // 2
    found = tune(evaluation(log), base, begin, 1, ProgressListener())
    assert found.loss_after < found.loss_before / 1.5
    assert found.requests > 20
    strategy = found.contender.strategy
    knowing, others = ("affinity", "next", "recent"), ("taste", "session", "popularity", "trending")
    assert min(getattr(strategy, name) for name in knowing) > 10 * max(getattr(strategy, name) for name in others)
    assert strategy.rotation == 0.1
    assert ndcg(log, found.contender, begin) > 2 * ndcg(log, base, begin)


@pytest.mark.slow(10)
def test_the_same_seed_finds_the_same() -> None:
    log, base = chain(4), contender(taste=1.0)
    one, two = (tune(evaluation(log), base, 120, seed, ProgressListener()) for seed in (1, 1))
    assert one == two


def test_without_a_request_that_teaches_anything_nothing_changes() -> None:
    """The only item left is the one that came: whatever the weights, it is the most probable, and so they stay."""
    log = chain(2)
    base = contender(taste=1.0)
    found = tune(evaluation(log), base, len(log.events) - 1, 1, ProgressListener())
    assert found.contender.strategy.taste == 1.0
    assert found.loss_after == pytest.approx(0.0, abs=1e-9)


def test_the_gradient_is_that_of_the_loss() -> None:
    drawn = np.random.default_rng(1)
    example = _Example(drawn.random((9, 4)).astype(np.float32), 3)
    weights, step = drawn.random(4), 1e-5
    numeric = [
        (_loss([example], weights + step * unit) - _loss([example], weights - step * unit)) / (2 * step)
        for unit in np.eye(4)
    ]
    assert _gradient(example, weights) == pytest.approx(np.array(numeric), abs=1e-6)


@pytest.mark.slow(10)
def test_what_is_printed_are_settings_that_say_the_same() -> None:
    log = chain(4)
    tuned = tune(evaluation(log), contender(affinity=1.0, taste=0.15), 120, 1, ProgressListener()).contender.strategy
    read = Settings(**tomllib.loads(as_toml("mine", tuned)))
    assert read.strategies["mine"] == tuned


def test_every_weight_is_tuned_but_those_of_what_a_log_cannot_tell() -> None:
    assert set(WEIGHTS) == {
        "affinity",
        "next",
        "recent",
        "taste",
        "session",
        "popularity",
        "trending",
        "freshness",
    }
