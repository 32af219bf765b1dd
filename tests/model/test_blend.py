"""The blend that learns: its weights go where people's choices are, by bounded steps, and back where they do worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.model.ranking.blend import (
    ITEM_SHARE,
    LEARNING_RATE,
    MEMORY,
    REHEARSED,
    REMEMBERED,
    BlendLearner,
    BlendWeights,
    Choice,
    average,
)
from eddyline.model.ranking.choices import with_weights
from eddyline.settings import STRATEGIES

TERMS = ("affinity", "taste", "popularity")
SHIPPED = BlendWeights({"affinity": 1.0, "taste": 1.0, "popularity": 1.0}, {"popularity": 2.0})


def choices(term: int, count: int, activity: float = 1.0, seed: int = 1) -> list[Choice]:
    """Choices of twenty candidates each, of the one that is best by one term."""
    draw = np.random.default_rng(seed)
    made: list[Choice] = []
    for _ in range(count):
        values = draw.random((len(TERMS), 20)).astype(np.float32)
        made.append(Choice(values, int(values[term].argmax()), activity, f"item {len(made)}"))
    return made


def learner(*learnt: Choice) -> BlendLearner:
    one = BlendLearner(TERMS, SHIPPED)
    for choice in learnt:
        one.learn(choice)
    return one


def test_before_any_choice_the_weights_are_the_shipped_ones() -> None:
    weights = learner().weights

    assert weights.running == SHIPPED.running
    assert weights.start == {**SHIPPED.running, "popularity": 2.0}
    assert with_weights(STRATEGIES["learned"], weights).weights(0.5)["popularity"] == 1.5


@pytest.mark.parametrize("term", range(len(TERMS)))
def test_the_term_that_people_go_by_comes_to_weigh_most(term: int) -> None:
    weights = learner(*choices(term, 400)).weights.running

    assert max(weights, key=lambda name: weights[name]) == TERMS[term]
    assert all(weight < weights[TERMS[term]] / 4 for name, weight in weights.items() if name != TERMS[term])


def test_what_is_learnt_of_first_lists_stays_theirs() -> None:
    both = zip(choices(0, 300, activity=1.0), choices(1, 300, activity=0.0, seed=2), strict=True)
    mixed = [choice for pair in both for choice in pair]
    weights = learner(*mixed).weights

    assert weights.running["affinity"] > weights.running["taste"]
    assert weights.start["taste"] > weights.start["affinity"]


def test_the_mean_loss_falls_and_is_below_that_of_the_shipped_weights() -> None:
    early, late = learner(*choices(0, 20)), learner(*choices(0, 600))

    assert late.loss < early.loss - 0.3
    assert late.loss < late.shipped_loss - 0.3


def test_weights_that_do_worse_than_the_shipped_ones_are_given_up() -> None:
    misled = learner(*choices(0, 400))
    assert misled.restored == 0

    for choice in choices(1, int(2 * MEMORY), seed=3):
        misled.learn(choice)

    assert misled.restored >= 1
    assert misled.weights.running["taste"] > misled.weights.running["affinity"]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 1), st.floats(0, 1e4, width=32), st.integers(0, 1000)), max_size=20
    )
)
def test_no_choice_moves_a_weight_far_or_below_zero(drawn: list[tuple[int, float, float, int]]) -> None:
    one = learner()
    for term, activity, scale, seed in drawn:
        before = one.weights
        choice = choices(term, 1, activity, seed)[0]
        one.learn(Choice(choice.values * np.float32(scale), choice.chosen, activity, choice.item_id))
        for old, new in ((before.running, one.weights.running), (before.start, one.weights.start)):
            assert all(weight >= 0.0 for weight in new.values())
            assert all(abs(new[name] - old[name]) <= 1.1 * LEARNING_RATE * (1 + REHEARSED) for name in new)


def test_ten_thousand_choices_of_one_item_move_the_weights_no_more_than_a_twentieth_of_those_rehearsed() -> None:
    poisoned = learner(*choices(0, 300))
    before, learnt = poisoned.weights.running, poisoned.choices
    for choice in choices(2, 10_000, seed=5):
        poisoned.learn(replace(choice, item_id="pushed"))

    taught = poisoned.choices - learnt
    assert taught <= REMEMBERED * ITEM_SHARE + 1
    moved = {name: abs(weight - before[name]) for name, weight in poisoned.weights.running.items()}
    assert max(moved.values()) <= taught * LEARNING_RATE * (1 + REHEARSED)
    assert max(moved.values()) < 0.8, "far less, since each step is smaller than the one before"

    restarted = learner()
    restarted.restore(poisoned.to_state())
    for choice in choices(2, 1000, seed=6):
        restarted.learn(replace(choice, item_id="pushed"))
    assert restarted.choices - poisoned.choices <= REMEMBERED * ITEM_SHARE + 1, "also after a restart"


def test_a_shop_of_few_items_is_learnt_from_all_the_same() -> None:
    small = learner(*(replace(choice, item_id=f"i{n % 4}") for n, choice in enumerate(choices(0, 2000))))

    assert small.choices == 2000


def test_it_is_soon_forgotten_with_which_weights_it_began() -> None:
    """As where the weights of one trade are begun with in another: they differ about fourfold."""
    right = BlendWeights({"affinity": 4.0, "taste": 0.5, "popularity": 0.5}, {})
    wrong = BlendWeights({"affinity": 1.0, "taste": 2.0, "popularity": 2.0}, {})
    stream = choices(0, 1500, seed=7)
    first, later = [], []
    for shipped in (right, wrong):
        one = BlendLearner(TERMS, shipped)
        ranks = []
        for choice in stream:
            weights = np.array([one.weights.running[term] for term in TERMS])
            scores = weights @ choice.values
            ranks.append(int((scores > scores[choice.chosen]).sum()))
            one.learn(choice)
        first.append(float(np.mean(np.array(ranks[:50]) < 3)))
        later.append(float(np.mean(np.array(ranks[1000:]) < 3)))

    assert first[1] < 0.9 * first[0], "it does matter at first"
    assert later[1] > 0.98 * later[0]


def test_the_same_choices_give_the_same_weights() -> None:
    assert learner(*choices(0, 50)).weights == learner(*choices(0, 50)).weights


def test_a_learner_goes_on_where_another_was() -> None:
    first = learner(*choices(0, 300))
    second = learner()
    second.restore(first.to_state())

    assert second.weights == first.weights
    assert (second.choices, second.loss, second.shipped_loss) == (300, first.loss, first.shipped_loss)


def test_a_term_that_is_new_since_begins_as_shipped() -> None:
    before = BlendLearner(TERMS[:2], SHIPPED)
    for choice in choices(0, 100):
        before.learn(Choice(choice.values[:2], choice.chosen, choice.activity, choice.item_id))
    after = learner()
    after.restore(before.to_state())

    assert after.weights.running == {**before.weights.running, "popularity": 1.0}
    assert after.weights.start["popularity"] == 2.0


def test_learners_of_parts_of_a_stream_are_averaged_by_how_much_each_has_seen() -> None:
    one, other = BlendWeights({"affinity": 1.0}, {"affinity": 0.0}), BlendWeights({"affinity": 4.0}, {"affinity": 3.0})
    shipped = BlendWeights({"affinity": 2.0}, {"affinity": 1.0})

    assert average([(one, 200), (other, 100)], shipped) == shipped
    assert average([(other, 0)], shipped) == shipped
    assert average([], shipped) == shipped


def test_the_shipped_weights_fade_as_choices_come() -> None:
    shipped, learnt = BlendWeights({"affinity": 0.0}, {}), BlendWeights({"affinity": 1.0}, {})

    parts = [average([(learnt, choices)], shipped).running["affinity"] for choices in (10, 200, 20_000)]
    assert parts == pytest.approx([0.0476, 0.5, 0.9901], abs=1e-4)
