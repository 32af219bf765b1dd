"""Who gets which variant: stable, fair, independent, and the first that takes them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline.errors import InvalidInput
from eddyline.model.experiments.assignment import Assignment, assign, draw_variant, force_variant, is_enrolled
from eddyline.model.experiments.definitions import Experiments, parse_experiments
from eddyline.settings import Settings

NOW = 1_790_000_000.0  # 2026-09-21
PEOPLE = [f"u:{n}" for n in range(20_000)]


def written(name: str, fields: str = "", weights: Iterable[float] = (1, 1)) -> str:
    variants = "".join(f'[[experiment.variant]]\nname = "v{n}"\nweight = {w}\n' for n, w in enumerate(weights))
    return f'[[experiment]]\nname = "{name}"\n{fields}\n{variants}'


def experiments(*texts: str) -> Experiments:
    return parse_experiments("\n".join(texts), Settings(), "tests.toml")


def got(found: Assignment | None) -> str | None:
    return None if found is None else f"{found.experiment}/{found.variant}"


def split(all_of_them: Experiments, people: Iterable[str] = PEOPLE) -> Counter[str | None]:
    return Counter(got(assign(all_of_them, unit, None, NOW)) for unit in people)


def chi_square(observed: Iterable[float], expected: Iterable[float]) -> float:
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


# -- stable ------------------------------------------------------------------------------------------------------------


def test_an_assignment_never_changes() -> None:
    """Not with another release, either: people would change places in a running experiment."""
    both = experiments(written("one", "share = 0.5"), written("two", weights=(1, 2, 1)))
    assert [got(assign(both, f"u:{n}", None, NOW)) for n in range(6)] == [
        "one/v1",
        "two/v0",
        "two/v1",
        "two/v0",
        "two/v2",
        "one/v0",
    ]
    found = assign(both, "u:0", None, NOW)
    assert found is not None
    named = both.named(found.experiment)
    assert named is not None
    assert (found.revision, found.forced, found.external) == (named.revision, False, False)


@pytest.mark.slow(10)
@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.floats(0, 1), st.floats(0, 1))
def test_who_is_in_stays_in_and_keeps_their_variant_when_the_share_is_raised(id: str, one: float, two: float) -> None:
    less, more = sorted((one, two))
    (small,), (large,) = (experiments(written("one", f"share = {share:.6f}")) for share in (less, more))
    if is_enrolled(small, f"u:{id}"):
        assert is_enrolled(large, f"u:{id}")
    assert draw_variant(small, f"u:{id}") == draw_variant(large, f"u:{id}")


def test_a_share_of_nothing_takes_nobody_and_of_everything_everyone() -> None:
    (none,), (all_of_them,) = (experiments(written("one", f"share = {share}")) for share in (0, 1))
    assert not any(is_enrolled(none, unit) for unit in PEOPLE)
    assert all(is_enrolled(all_of_them, unit) for unit in PEOPLE)


# -- fair (bounds: the 99.9 % quantile of chi-square) ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "bound"), [((1, 1), 10.8), ((1, 2, 1), 13.8), ((9, 1), 10.8), ((1,) * 10, 27.9), ((0.5, 0.1), 10.8)]
)
def test_variants_get_people_by_their_weights(weights: tuple[float, ...], bound: float) -> None:
    counts = split(experiments(written("one", weights=weights)))
    expected = [len(PEOPLE) * weight / sum(weights) for weight in weights]
    assert chi_square([counts[f"one/v{n}"] for n in range(len(weights))], expected) < bound


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_an_experiment_takes_its_share_of_people(share: float) -> None:
    counts = split(experiments(written("one", f"share = {share}")))
    out = counts.pop(None)
    expected = len(PEOPLE) * share
    assert chi_square([sum(counts.values()), out], [expected, len(PEOPLE) - expected]) < 10.8


def test_experiments_are_independent_of_each_other_and_of_who_is_in() -> None:
    """Who is in one, and in which of its variants, says nothing of the other."""
    (one,), (two,) = (experiments(written(name, "share = 0.5")) for name in ("one", "two"))

    def cell(experiment: object, unit: str) -> str:
        assert experiment is one or experiment is two
        drawn = one if experiment is one else two
        return f"{is_enrolled(drawn, unit)} {draw_variant(drawn, unit).name}"

    counts = Counter((cell(one, unit), cell(two, unit)) for unit in PEOPLE)
    cells = [f"{is_in} v{n}" for is_in, n in product((True, False), (0, 1))]
    expected = [len(PEOPLE) / 16] * 16
    assert chi_square([counts[pair] for pair in product(cells, cells)], expected) < 37.7  # 15 degrees of freedom


# -- which one ---------------------------------------------------------------------------------------------------------


def test_the_first_that_takes_them_in_is_theirs_and_the_rest_are_for_the_others() -> None:
    both = experiments(written("one", "share = 0.5"), written("two", "share = 0.5"))
    (one,), (two,) = (experiments(written(name, "share = 0.5")) for name in ("one", "two"))
    for unit in PEOPLE[:500]:
        found = got(assign(both, unit, None, NOW))
        if is_enrolled(one, unit):
            assert found == f"one/{draw_variant(one, unit).name}"
        elif is_enrolled(two, unit):
            assert found == f"two/{draw_variant(two, unit).name}"
        else:
            assert found is None


def test_one_of_another_surface_or_time_is_passed_over() -> None:
    all_of_them = experiments(
        written("mail", 'surface = "mail"'),
        written("early", "starts = 2026-10-01T00:00:00Z"),
        written("late", "ends = 2026-09-01T00:00:00Z"),
        written("now"),
    )
    assert (got(assign(all_of_them, "u:1", "home", NOW)) or "").startswith("now/")
    assert (got(assign(all_of_them, "u:1", "mail", NOW)) or "").startswith("mail/")
    assert (got(assign(all_of_them, "u:1", None, NOW + 30 * 86_400)) or "").startswith("early/")


def test_the_people_of_a_stopped_variant_are_in_no_experiment() -> None:
    both = experiments(written("one", "share = 0.5"), written("two"))
    one = both.experiments[0]
    stopped = frozenset({("one", one.revision, "v1")})
    for unit in PEOPLE[:500]:
        before, after = got(assign(both, unit, None, NOW)), got(assign(both, unit, None, NOW, stopped))
        assert after == (None if before == "one/v1" else before)


def test_a_verdict_on_another_revision_stops_nothing() -> None:
    only = experiments(written("one"))
    stopped = frozenset({("one", "00000000", "v0"), ("one", "00000000", "v1")})
    assert split(only, PEOPLE[:100]) == Counter(got(assign(only, u, None, NOW, stopped)) for u in PEOPLE[:100])


# -- forced ------------------------------------------------------------------------------------------------------------


def test_a_variant_can_be_forced_whether_it_runs_or_not() -> None:
    only = experiments(written("one", "starts = 2030-01-01T00:00:00Z"))
    assert force_variant(only, "one/v1") == Assignment("one", "v1", only.experiments[0].revision, forced=True)


@pytest.mark.parametrize("wanted", ["", "one", "one/", "one/v2", "two/v1", "one/v1/x", "/v1"])
def test_one_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(InvalidInput, match="known are one/v0, one/v1"):
        force_variant(experiments(written("one")), wanted)


def test_where_there_is_none_that_is_said() -> None:
    with pytest.raises(InvalidInput, match="none is set"):
        force_variant(Experiments(), "one/v1")
