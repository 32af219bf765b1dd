"""SASRec learns what comes next; frozen, it stays what it was; refitted, it follows what changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.evaluation.baselines import did, listed, task, taught
from tests.support.extras import needs

from eddyline.evaluation.interaction_log import LoggedInteraction

pytestmark = [needs("torch", "embedder"), pytest.mark.xdist_group("torch")]

ITEMS = 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small are sooner multiplied than shared out."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def walks(people: range, step: int, length: int, seed: int) -> list[LoggedInteraction]:
    """Each person begins somewhere and goes `step` items further every time, all side by side."""
    begins = np.random.default_rng(seed).integers(ITEMS, size=len(people)).tolist()
    return [
        did(person, (begin + step * place) % ITEMS, place + person / 1000)
        for place in range(length)
        for person, begin in zip(people, begins, strict=True)
    ]


@pytest.mark.extended  # trains for half a minute
@pytest.mark.slow(60)
def test_a_cyclic_sequence_is_learnt() -> None:
    events = [*walks(range(40), 1, 8, 1), did(90, 3, 99.0), did(90, 4, 99.1), did(91, 10, 99.0)]
    model = taught("sasrec", task(ITEMS, len(events), len(events) + 10), events)
    for name in ("sasrec (frozen)", "sasrec (refitted)"):
        assert listed(model, 90, 100.0, 3)[name][0] == 5
        assert listed(model, 91, 100.0, 3)[name][0] == 11
        assert 3 not in listed(model, 90, 100.0, ITEMS)[name]
        assert listed(model, 92, 100.0, 3)[name] == []  # nothing is known of them


@pytest.mark.extended
@pytest.mark.slow(60)
def test_only_what_is_refitted_follows_a_change_and_lists_are_of_the_moment_they_were_asked_for() -> None:
    """At first people go one item further, then five."""
    before, after = walks(range(40), 1, 8, 1), walks(range(40, 90), 5, 8, 2)
    asked = [did(100, 0, 99.0)]
    # Refitted after each 80 events.
    model = taught("sasrec", task(ITEMS, len(before) + 1, len(before) + 1 + 80 * 100), [*before, *asked])
    early = {name: ask(100, 100.0, 1) for name, ask in model.recommenders().items()}
    for event in after:
        model.learn(event)
    assert {name: list(make()) for name, make in early.items()} == {"sasrec (frozen)": [1], "sasrec (refitted)": [1]}
    assert listed(model, 100, 200.0, 1) == {"sasrec (frozen)": [1], "sasrec (refitted)": [5]}


@pytest.mark.slow(60)
def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    from eddyline.evaluation.baselines import sasrec

    monkeypatch.setattr(sasrec, "MAX_ROUNDS", 2)
    events = walks(range(12), 1, 5, 1)
    same = [taught("sasrec", task(ITEMS, len(events), len(events) + 10, seed=seed), events) for seed in (3, 3, 4)]
    one, two, three = (
        np.concatenate([listed(model, person, 9.0, ITEMS)["sasrec (frozen)"] for person in range(12)]) for model in same
    )
    assert one.tolist() == two.tolist()
    assert one.tolist() != three.tolist()
