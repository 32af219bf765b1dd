"""Baselines find what is plain, are told nothing before they were asked about it, and say what they need."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.evaluation.baselines import did, listed, task, taught

from eddyline.errors import InvalidInput, Misconfigured
from eddyline.evaluation.baselines import BASELINES, baseline_factory
from eddyline.evaluation.baselines.ease import MAX_ITEMS, REGULARISATION, Ease
from eddyline.model.decay import DAY, HOUR

CLIQUES = [range(5), range(5, 10)]
"""Items 0…4 are chosen together, and 5…9."""


def cliques(people: int) -> list[tuple[int, int]]:
    """(person, item): each but the first two chose four of one clique."""
    return [(person, item) for person in range(2, people) for item in CLIQUES[person % 2] if item != person % 5]


@pytest.mark.parametrize("repeats", [False, True])
def test_ease_recommends_what_is_chosen_together(repeats: bool) -> None:
    events = [did(person, item, 1.0) for person, item in [*cliques(60), (0, 1), (1, 6)]]
    ease = taught("ease", task(10, len(events), len(events) + 10, repeats), events)
    for person in (0, 1):
        for found in listed(ease, person, 2.0, 4).values():
            assert set(found) == set(CLIQUES[person]) - {(1, 6)[person]}


def test_ease_that_is_refitted_knows_what_came_since_exactly_as_if_fitted_anew() -> None:
    """In the second half, the cliques are others."""
    before = [did(person, item, 1.0) for person, item in cliques(40)]
    after = [did(person % 7, (item * 3) % 10, 2.0) for person, item in cliques(62)]
    both = len(before) + len(after)
    refitted = taught("ease", task(10, len(before), both), before + after)
    anew = taught("ease", task(10, both, both), before + after)
    assert isinstance(refitted, Ease)
    assert isinstance(anew, Ease)
    assert refitted.refitted.inverse == pytest.approx(anew.frozen.inverse, abs=1e-12)
    assert not np.allclose(refitted.frozen.inverse, anew.frozen.inverse, atol=1e-6)


def test_ease_is_the_closed_form() -> None:
    """One item of weight: B_ij = -P_ij / P_jj, of two people who chose both of two items."""
    events = [did(person, item, 1.0) for person in (0, 1) for item in (0, 1)]
    ease = taught("ease", task(3, 4, 10), [*events, did(2, 0, 1.0)])
    gram = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]]) + REGULARISATION * np.eye(3)
    inverse = np.linalg.inv(gram)
    assert isinstance(ease, Ease)
    scores = ease.frozen.scores([0])
    assert scores == pytest.approx([0.0, -inverse[0, 1] / inverse[1, 1], 0.0])


def test_ease_says_what_is_too_large_for_it() -> None:
    with pytest.raises(InvalidInput, match=f"not {MAX_ITEMS + 1:,}"):
        baseline_factory("ease")(task(MAX_ITEMS + 1, 1, 2))


def test_nearest_visits_are_those_that_share_the_newest_items() -> None:
    events = [did(0, 0, 0.0), did(0, 1, 1.0), did(0, 2, 2.0)]  # 2 was chosen after 0 and 1
    events += [did(1, 0, 10.0), did(1, 3, 11.0)]  # 3 after 0
    events += [did(2, 0, 20.0), did(2, 1, 21.0)]
    neighbours = taught("vsknn", task(5, 0, 10), events)
    # The first visit has weights 1/2 and 1 in common with the running one, the second 1/2; item 4 nobody chose.
    assert listed(neighbours, 2, 22.0, 5) == {"vsknn": [2, 3]}


def test_a_pause_begins_another_visit() -> None:
    events = [did(0, 0, 0.0), did(0, 1, HOUR), did(1, 0, HOUR + 1)]
    neighbours = taught("vsknn", task(3, 0, 10), events)
    assert listed(neighbours, 1, HOUR + 2, 3) == {"vsknn": []}
    joined = taught("vsknn", task(3, 0, 10), [did(0, 0, 0.0), did(0, 1, HOUR - 1), did(1, 0, HOUR + 1)])
    assert listed(joined, 1, HOUR + 2, 3) == {"vsknn": [1]}


def test_what_is_popular_in_a_window_is_counted_in_it_alone() -> None:
    events = [did(person, 0, 0.0) for person in range(3)]
    events += [did(person, 1, 2 * DAY) for person in range(2)]
    events += [did(0, 2, 8.5 * DAY)]
    windows = taught("popularity-window", task(4, 0, 10), events)
    assert listed(windows, 9, 9 * DAY, 4) == {
        "popularity of a day": [2],
        "popularity of a week": [1, 2],
        "popularity of a month": [0, 1, 2],
    }
    assert listed(windows, 2, 9 * DAY, 4)["popularity of a month"] == [1, 2]


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "sasrec"])
@pytest.mark.parametrize("repeats", [False, True])
def test_what_a_person_met_is_recommended_again_on_demand_alone(name: str, repeats: bool) -> None:
    events = [did(person, item, person + item / 10) for person in range(4) for item in (0, 1, 2)]
    events += [did(4, 0, 5.0), did(4, 3, 5.1, "impression")]
    baseline = taught(name, task(4, len(events), len(events) + 10, repeats), events)
    for found in listed(baseline, 4, 6.0, 4).values():
        assert (0 in found) == repeats
        assert 1 in found


def test_a_baseline_that_does_not_exist_is_said() -> None:
    with pytest.raises(Misconfigured, match="no baseline bert: there are sasrec, vsknn, ease, popularity-window"):
        baseline_factory("bert")


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eddyline.evaluation.baselines.sasrec", None)
    with pytest.raises(Misconfigured, match=r"eddyline\[embedder\]"):
        baseline_factory("sasrec")
    assert baseline_factory("vsknn")(task(3, 0, 1)).recommenders().keys() == {"vsknn"}
