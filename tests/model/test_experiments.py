"""Experiments as they are written: what is taken, what is refused and how, and what makes another revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from eddyline.adapters.experiments_file import load_experiments
from eddyline.errors import Misconfigured
from eddyline.model.experiments.assignment import draw_variant
from eddyline.model.experiments.definitions import (
    Experiment,
    Experiments,
    Guardrail,
    parse_experiments,
)
from eddyline.settings import STRATEGIES, Settings

ROOT = Path(__file__).parents[2]
NOW = 1_790_000_000.0  # 2026-09-21
VARIANTS = '[[experiment.variant]]\nname = "control"\n[[experiment.variant]]\nname = "other"\n'


def of(text: str) -> Experiments:
    return parse_experiments(text, Settings(), "tests.toml")


def one(fields: str = "", other: str = "", more: str = "") -> Experiment:
    """An experiment with these fields, and with these in its second variant."""
    (experiment,) = of(f'[[experiment]]\nname = "one"\n{fields}\n{VARIANTS}{other}\n{more}')
    return experiment


def refused(text: str) -> list[str]:
    """The complaints."""
    with pytest.raises(Misconfigured) as raised:
        of(text)
    return [line.strip() for line in str(raised.value).splitlines()[1:]]


# -- what is taken -----------------------------------------------------------------------------------------------------


def test_every_key_of_a_file_is_read() -> None:
    (experiment,) = of(
        """
        [[experiment]]
        name = "diversity"
        share = 0.5
        starts = 2026-01-01T00:00:00Z
        ends = 2027-01-01T00:00:00+01:00
        surface = "home"
        planned_people = 20000
        metric = "conversions"
        [[experiment.variant]]
        name = "control"
        external = true
        [[experiment.variant]]
        name = "diverse"
        weight = 2
        strategy = "articles"
        weights = { taste = 0.4, trending = 0 }
        diversity = 0.5
        explore = 0.1
        rotation = 0
        per_category = 3
        [[experiment.guardrail]]
        metric = "ctr"
        min = 0.02
        window = "day"
        least = 500
        [[experiment.guardrail]]
        metric = "latency_ms"
        max = 300
        """
    )
    assert (experiment.name, experiment.share, experiment.surface) == ("diversity", 0.5, "home")
    assert (experiment.planned_people, experiment.metric) == (20_000, "conversions")
    assert experiment.starts is not None
    assert (experiment.starts.timestamp(), experiment.runs(NOW)) == (1_767_225_600.0, True)
    control, diverse = experiment.variants
    assert (experiment.control.name, control.external, control.overrides()) == ("control", True, frozenset())
    assert (diverse.weight, diverse.strategy, dict(diverse.weights)) == (2.0, "articles", {"taste": 0.4, "trending": 0})
    assert (diverse.diversity, diverse.explore, diverse.rotation, diverse.per_category) == (0.5, 0.1, 0.0, 3)
    assert diverse.overrides() == {"strategy", "weights", "diversity", "explore", "rotation", "per_category"}
    assert experiment.guardrails == (
        Guardrail(metric="ctr", min=0.02, window="day", least=500),
        Guardrail(metric="latency_ms", max=300),
    )


def test_what_is_left_out_has_a_default() -> None:
    experiment = one()
    assert (experiment.share, experiment.metric, experiment.surface, experiment.guardrails) == (1.0, "ctr", None, ())
    assert [(variant.weight, variant.external) for variant in experiment.variants] == [(1.0, False)] * 2


def test_a_file_that_is_not_there_has_no_experiments(tmp_path: Path) -> None:
    assert len(load_experiments(tmp_path / "experiments.toml", Settings())) == 0
    (tmp_path / "empty.toml").write_text("# none yet\n")
    assert len(load_experiments(tmp_path / "empty.toml", Settings())) == 0


def test_the_example_is_taken() -> None:
    assert len(load_experiments(ROOT / "examples" / "experiments.toml", Settings())) >= 2


def test_it_runs_from_its_start_until_its_end() -> None:
    experiment = one("starts = 2026-09-01T00:00:00Z\nends = 2026-10-01T00:00:00Z")
    assert experiment.starts is not None
    assert experiment.ends is not None
    starts, ends = experiment.starts.timestamp(), experiment.ends.timestamp()
    assert [experiment.runs(at) for at in (starts - 1, starts, ends - 1, ends)] == [False, True, True, False]
    assert one().runs(0.0)


def test_it_fits_its_own_surface_or_all() -> None:
    assert [one('surface = "home"').fits(surface) for surface in ("home", "mail", None)] == [True, False, False]
    assert [one().fits(surface) for surface in ("home", None)] == [True, True]


@pytest.mark.parametrize(
    ("rail", "broken", "kept"),
    [
        (Guardrail(metric="ctr", min=0.02), 0.019, 0.02),
        (Guardrail(metric="latency_ms", max=300), 301.0, 300.0),
        (Guardrail(metric="empty", max=0.1), 0.11, float("nan")),
    ],
)
def test_a_guardrail_is_broken_beyond_its_bound(rail: Guardrail, broken: float, kept: float) -> None:
    assert rail.is_broken_by(broken)
    assert not rail.is_broken_by(kept)


# -- what a variant makes of a strategy --------------------------------------------------------------------------------


def test_its_weights_replace_those_of_the_strategy_in_and_between_visits() -> None:
    usual = STRATEGIES["eddyline"]
    changed = one(other="weights = { popularity = 0.9, people = 0.2 }").variants[1].applied(usual)
    for activity in (0.0, 0.3, 1.0):
        expected = usual.weights(activity) | {"popularity": 0.9, "people": 0.2}
        assert changed.weights(activity) == pytest.approx(expected)
    assert (changed.diversity, changed.explore, changed.rotation) == (usual.diversity, usual.explore, usual.rotation)


def test_what_it_does_not_name_stays_the_strategys() -> None:
    usual = STRATEGIES["eddyline"]
    assert one().control.applied(usual) is usual
    changed = one(other="rotation = 0\ndiversity = 0.3").variants[1].applied(usual)
    assert changed == usual.model_copy(update={"rotation": 0.0, "diversity": 0.3})


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ("share = 1.5", "experiment 'one', share: Input should be less than or equal to 1 (it is 1.5)"),
        ("share = -0.1", "experiment 'one', share: Input should be greater than or equal to 0"),
        ('share = "half"', "experiment 'one', share: Input should be a valid number (it is 'half')"),
        ("sahre = 0.5", "experiment 'one', sahre: there is no such key"),
        ("variants = []", "experiment 'one', variants: there is no such key"),
        ('metric = "joy"', "experiment 'one', metric: Input should be 'ctr', 'clicks', 'conversions'"),
        ('surface = ""', "experiment 'one', surface:"),
        ("planned_people = 0", "experiment 'one', planned_people:"),
        (
            f"planned_people = {10**20}",
            "experiment 'one', planned_people: Input should be less than or equal to 10000000",
        ),
        (f"planned_people = {10**9 + 1}", "experiment 'one', planned_people: Input should be less than or equal to 10"),
        ("starts = 2026-01-01T00:00:00", "experiment 'one', starts: needs an offset, e.g. 2026-01-01T00:00:00Z"),
        ("starts = 2026-02-01T00:00:00Z\nends = 2026-01-01T00:00:00Z", "experiment 'one': ends must be after starts"),
    ],
)
def test_a_wrong_experiment_is_refused_by_its_name_and_field(fields: str, complaint: str) -> None:
    (line,) = refused(f'[[experiment]]\nname = "one"\n{fields}\n{VARIANTS}')
    assert line.startswith(complaint)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('strategy = "nope"', "strategy: there is no strategy 'nope'; known are eddyline, articles,"),
        ("weights = { affinty = 1 }", "weights.affinty: Input should be 'affinity', 'hearsay'"),
        ("weights = { taste = -1 }", "weights.taste: Input should be greater than or equal to 0"),
        ("weights = { taste = inf }", "weights.taste: Input should be a finite number"),
        ("weights = { taste = 1e308 }", "weights.taste: Input should be less than or equal to 1000000"),
        ("weight = 0", "weight: Input should be greater than or equal to 0.000001"),
        ("weight = 1e308", "weight: Input should be less than or equal to 1000000"),
        ("weight = 1e-300", "weight: Input should be greater than or equal to 0.000001"),
        ("rotation = 1e308", "rotation: Input should be less than or equal to 1000000"),
        (f"per_category = {10**20}", "per_category: Input should be less than or equal to 1000000000"),
        ("diversity = 2", "diversity: Input should be less than or equal to 1"),
        ("per_category = 0", "per_category: Input should be greater than or equal to 1"),
        ('external = "yes"', "external: Input should be a valid boolean"),
        ("external = true\ndiversity = 0.5\nexplore = 0.1", "is external, so another system makes its lists: leave"),
        ("colour = 1", "colour: there is no such key"),
    ],
)
def test_a_wrong_variant_is_refused_by_its_experiment_name_and_field(fields: str, complaint: str) -> None:
    (line,) = refused(f'[[experiment]]\nname = "one"\n{VARIANTS}{fields}\n')
    where, _, what = line.partition("'other'")
    assert where == "experiment 'one', variant "
    assert what.lstrip(",: ").startswith(complaint)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('metric = "ctr"', "ctr takes min, and no max"),
        ('metric = "ctr"\nmax = 0.5', "ctr takes min, and no max"),
        ('metric = "latency_ms"\nmin = 5', "latency_ms takes max, and no min"),
        ('metric = "empty"\nmax = 0.1\nmin = 0.05', "empty takes max, and no min"),
        ('metric = "ctr"\nmin = 2', "min must be in 0…1"),
        ('metric = "empty"\nmax = 1.1', "max must be in 0…1"),
        ('metric = "latency_ms"\nmax = -1', "max must be at least 0"),
        ('metric = "latency_ms"\nmax = 2000', "max must be under 2000: longer times aren't told apart"),
        ('metric = "ctr"\nmin = 0.1\nwindow = "week"', "window: Input should be 'minute', 'hour' or 'day'"),
        ('metric = "ctr"\nmin = 0.1\nleast = 0', "least: Input should be greater than or equal to 1"),
        (f'metric = "ctr"\nmin = 0.1\nleast = {10**20}', "least: Input should be less than or equal to 1000000000"),
        ('metric = "joy"\nmin = 0.1', "metric: Input should be 'ctr', 'latency_ms' or 'empty'"),
    ],
)
def test_a_wrong_guardrail_is_refused(fields: str, complaint: str) -> None:
    (line,) = refused(f'[[experiment]]\nname = "one"\n{VARIANTS}[[experiment.guardrail]]\n{fields}\n')
    assert line.startswith("experiment 'one', guardrail ")
    assert complaint in line


@pytest.mark.parametrize("name", ["", "two words", "a/b", "ü", "x" * 65])
def test_a_name_must_fit_a_header(name: str) -> None:
    (line,) = refused(f'[[experiment]]\nname = "{name}"\n{VARIANTS}')
    assert "name: must be 1 to 64 letters, digits, _ and -" in line


@pytest.mark.parametrize("variants", ["", '[[experiment.variant]]\nname = "control"\n'])
def test_fewer_than_two_variants_are_refused(variants: str) -> None:
    (line,) = refused(f'[[experiment]]\nname = "one"\n{variants}')
    assert line == (
        "experiment 'one', variant: needs at least two tables [[experiment.variant]], the first being the control"
    )


def test_names_that_are_taken_twice_are_refused() -> None:
    (line,) = refused(f'[[experiment]]\nname = "one"\n{VARIANTS}[[experiment.variant]]\nname = "other"\n')
    assert line == "experiment 'one': more than one variant is called other: give each a name of its own"
    twice = f'[[experiment]]\nname = "one"\nshare = 0.5\n{VARIANTS}'
    assert refused(twice + twice) == ["experiment 'one', name: more than one is called so; give each a name of its own"]


def test_two_guardrails_of_one_metric_and_window_are_refused() -> None:
    rail = '[[experiment.guardrail]]\nmetric = "ctr"\nmin = 0.1\n'
    (line,) = refused(f'[[experiment]]\nname = "one"\n{VARIANTS}{rail}{rail}')
    assert "two guardrails have the same metric and window" in line
    assert len(one(more=rail + rail + 'window = "day"').guardrails) == 2


def test_variants_that_are_all_anothers_are_refused() -> None:
    both = VARIANTS.replace("\n[[", "\nexternal = true\n[[") + "external = true\n"
    (line,) = refused(f'[[experiment]]\nname = "one"\n{both}')
    assert "every variant is external" in line


@pytest.mark.parametrize(
    ("first", "second", "is_left"),
    [
        ("", "", False),
        ("share = 0.9", "", True),
        ("", 'surface = "home"', False),
        ('surface = "home"', "", True),
        ('surface = "home"', 'surface = "home"', False),
        ("ends = 2026-10-01T00:00:00Z", "", True),
        ("ends = 2026-10-01T00:00:00Z", "starts = 2026-10-01T00:00:00Z", True),
        ("ends = 2026-10-01T00:00:00Z", "ends = 2026-09-01T00:00:00Z", False),
    ],
)
def test_an_experiment_that_could_never_have_anybody_is_refused(first: str, second: str, is_left: bool) -> None:
    text = f'[[experiment]]\nname = "one"\n{first}\n{VARIANTS}[[experiment]]\nname = "two"\n{second}\n{VARIANTS}'
    if is_left:
        assert len(of(text)) == 2
    else:
        (line,) = refused(text)
        assert line.startswith(
            "experiment 'two': nobody is left for it, since experiment 'one' before it takes everyone"
        )


def test_everything_wrong_is_said_at_once() -> None:
    wrong = f'colour = 1\n[[experiment]]\nname = "one"\nshare = 2\n{VARIANTS}strategy = "nope"\nexternal = 1\n'
    assert [line.partition(":")[0] for line in refused(wrong)] == [
        "colour",
        "experiment 'one', variant 'other', external",
        "experiment 'one', share",
    ]


@pytest.mark.parametrize(
    "text",
    ["[experiment]\nname = 1", "experiment = 5", "experiment = [1]", f'[[experiment]]\nname="o"\n{VARIANTS[2:]}'],
)
def test_what_is_no_list_of_tables_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        of(text)


def test_a_variant_that_is_one_table_is_refused() -> None:
    (line,) = refused('[[experiment]]\nname = "one"\n[experiment.variant]\nname = "control"\n')
    assert line == "experiment 'one', variant: write each as a table of its own, under [[experiment.variant]]"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "experiments.toml"
    path.write_text("[[experiment")
    with pytest.raises(Misconfigured, match=r"experiments\.toml is not valid TOML"):
        load_experiments(path, Settings())
    path.write_bytes(b"\xff")
    with pytest.raises(Misconfigured, match=r"experiments\.toml is not valid TOML"):
        load_experiments(path, Settings())
    with pytest.raises(Misconfigured, match="can't be read"):
        load_experiments(tmp_path, Settings())


# -- revisions ---------------------------------------------------------------------------------------------------------


def test_a_revision_is_8_hex_digits_and_stays() -> None:
    assert one().revision == one().revision == "e3d45397"


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ("share = 0.5", ""),
        ("starts = 2026-01-01T00:00:00Z", ""),
        ('surface = "home"', ""),
        ("planned_people = 5", ""),
        ('metric = "dwell"', ""),
        ("", "weight = 2"),
        ("", 'strategy = "articles"'),
        ("", "weights = { taste = 0 }"),
        ("", "diversity = 0"),
        ("", "external = true"),
        ("", '[[experiment.variant]]\nname = "third"'),
    ],
)
def test_what_changes_the_statistics_makes_another_revision(fields: str, other: str) -> None:
    assert one(fields, other).revision != one().revision


@pytest.mark.parametrize(
    "same",
    [
        one("ends = 2027-01-01T00:00:00Z"),
        one("share = 1"),
        one(other="weight = 1"),
        one(more='[[experiment.guardrail]]\nmetric = "ctr"\nmin = 0.1'),
    ],
)
def test_its_end_its_guardrails_and_what_is_only_written_out_make_none(same: Experiment) -> None:
    assert same.revision == one().revision


def test_the_same_instant_and_the_same_weights_make_the_same_revision() -> None:
    utc, vienna = one("starts = 2026-01-01T00:00:00Z"), one("starts = 2026-01-01T01:00:00+01:00")
    assert utc.revision == vienna.revision
    there, back = one(other="weights = { taste = 1, people = 2 }"), one(other="weights = { people = 2, taste = 1 }")
    assert there.revision == back.revision


def test_the_largest_numbers_that_are_taken_make_a_revision_and_draw_a_variant() -> None:
    largest = "weight = 1e6\nweights = { taste = 1e6 }\nrotation = 1e6\nper_category = 1000000000"
    experiment = one("planned_people = 1000000000", largest)
    assert len(experiment.revision) == 8
    assert {draw_variant(experiment, f"u:{n}").name for n in range(10)} == {"other"}, "a millionth has the control"
