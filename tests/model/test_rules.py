"""Rules: conditions on a situation, what they change, segments, and who refuses what."""

from __future__ import annotations

import math
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eddyline import settings as settings_module
from eddyline.errors import InvalidInput, Misconfigured
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.filters import Filter, Match, matches, payload_paths
from eddyline.model.rules import Adjustments, RuleSet, Situation, active_promotions, evaluate_rules, read_situation
from eddyline.model.rules.conditions import WEEKDAYS, parse_when
from eddyline.model.trends import trend_tau
from eddyline.settings import Settings


def at(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


WEDNESDAY_NOON = at("2026-07-15T12:00:00+00:00")


def rules(toml: str) -> RuleSet:
    return RuleSet.from_settings(Settings(**tomllib.loads(toml)))


def here(
    context: dict[str, Any] | None = None,
    among: RuleSet = RuleSet(),
    segment: str | None = None,
    attributes: dict[str, Any] | None = None,
    now: float = WEDNESDAY_NOON,
) -> Situation:
    return read_situation(among, context or {}, segment, attributes or {}, now)


def holds(when: dict[str, Any], where: Situation) -> bool:
    return parse_when(when).hold(where.values)


# -- conditions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, True),
        ({"device": "tv"}, True),
        ({"device": "phone"}, False),
        ({"device": ["phone", "tv"]}, True),
        ({"device": {"any": ["phone", "tv"]}}, True),
        ({"device": {"not": "tv"}}, False),
        ({"device": {"not": ["phone", "tablet"]}}, True),
        ({"surface": "home"}, False),
        ({"surface": {"not": "home"}}, True),
        ({"device": "tv", "surface": "home"}, False),
        ({"location": 1010}, True),
        ({"location": {"gte": 1000, "lt": 2000}}, True),
        ({"location": {"gt": 1010}}, False),
        ({"location": {"gte": 1010, "lte": 1010}}, True),
        ({"location": {"gte": 1000, "not": 1010}}, False),
        ({"location": "1010"}, False),
        ({"context.beta": True}, True),
        ({"context.beta": 1}, False),
        ({"context": {"beta": True, "app": "ios"}}, True),
        ({"context.build": {"lt": 8}}, False),
        ({"user.plan": "pro"}, True),
        ({"user": {"plan": "pro"}}, True),
        ({"user": {"seats": {"gte": 5}}}, True),
        ({"user.seats": {"lt": 5}}, False),
        ({"user.reads": "sport"}, True),
        ({"user.reads": {"all": ["sport", "news"]}}, True),
        ({"user.reads": {"all": ["sport", "art"]}}, False),
        ({"user.reads": {"not": "sport"}}, False),
        ({"user.age": {"gte": 0}}, False),
        ({"segment": "staff"}, True),
        ({"segment": {"not": "staff"}}, False),
        ({"weekday": "wednesday"}, True),
        ({"weekday": ["saturday", "sunday"]}, False),
        ({"hour": 12}, True),
        ({"hour": [11, 13]}, False),
        ({"hour": {"gte": 9, "lt": 17}}, True),
        ({"hour": {"gte": 12, "lt": 24}}, True),
    ],
    ids=str,
)
def test_a_condition(when: dict[str, Any], expected: bool) -> None:
    context = {"device": "tv", "location": 1010, "beta": True, "app": "ios", "build": 9}
    attributes = {"plan": "pro", "seats": 7, "reads": ["news", "sport"], "age": None}
    assert holds(when, here(context, segment="staff", attributes=attributes)) is expected


@pytest.mark.parametrize(
    ("wanted", "locale", "expected"),
    [
        ("de", "de", True),
        ("de", "de-AT", True),
        ("de", "DE_at", True),
        ("de-AT", "de-at-1996", True),
        ("de-AT", "de", False),
        ("de", "den", False),
        (["fr", "de"], "de-CH", True),
        ("de", None, False),
    ],
)
def test_a_language_stands_for_its_regions(wanted: Any, locale: str | None, expected: bool) -> None:
    assert holds({"locale": wanted}, here({} if locale is None else {"locale": locale})) is expected


@given(first=st.integers(0, 23), end=st.integers(0, 24), hour=st.integers(0, 23))
def test_hours_reach_over_midnight(first: int, end: int, hour: int) -> None:
    if first == end:
        with pytest.raises(InvalidInput, match="nothing within"):
            parse_when({"hour": {"gte": first, "lt": end}})
        return
    hours = {(first + step) % 24 for step in range((end - first) % 24 or 24)}
    there = Situation(now=0.0, hour=hour, weekday="monday")
    assert holds({"hour": {"gte": first, "lt": end}}, there) is (hour in hours)


@given(
    value=st.sampled_from(["a", "b", 1, 2.5, True, None]),
    wanted=st.lists(st.sampled_from(["a", "b", 1, 2.5, True]), min_size=1),
)
def test_not_is_the_opposite(value: Any, wanted: list[Any]) -> None:
    there = Situation(0.0, 0, "monday", {"x": value} if value is not None else {})
    assert holds({"context.x": {"not": wanted}}, there) is not holds({"context.x": wanted}, there)


@pytest.mark.parametrize(
    ("when", "field", "reason"),
    [
        ({"app": "ios"}, "when.app", "context.<name>"),
        ({"user": "ada"}, "when.user", "no such condition"),
        ({"user.": "ada"}, "when.user.", "no such condition"),
        ({"device": {}}, "when.device", "is empty"),
        ({"device": []}, "when.device", "at least one"),
        ({"device": {"like": "tv"}}, "when.device.like", "known are any, all, not, gt, gte, lt, lte"),
        ({"device": {"gte": 3}}, "when.device.gte", "only numbers"),
        ({"device": [["tv"]]}, "when.device", "must be text, a number or a boolean"),
        ({"weekday": "funday"}, "when.weekday", "must be one of monday"),
        ({"weekday": {"not": 3}}, "when.weekday.not", "must be one of monday"),
        ({"hour": 24}, "when.hour", "0 to 23"),
        ({"hour": True}, "when.hour", "0 to 23"),
        ({"hour": {"gte": 19.5}}, "when.hour.gte", "whole number of 0 to 24"),
        ({"hour": {"gte": 5, "lt": 5}}, "when.hour", "nothing within"),
        ({"locale": 43}, "when.locale", "language tag"),
        ({"context.build": {"gte": "9"}}, "when.context.build.gte", "must be a number"),
        ({"context.build": {"gte": float("nan")}}, "when.context.build.gte", "must be a number"),
        ({"context": {"build": {"gte": 9, "lt": 8}}}, "when.context.build", "nothing within"),
    ],
    ids=str,
)
def test_a_wrong_condition_says_where_and_why(when: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_when(when)
    assert refused.value.field == field
    assert reason in refused.value.reason


# -- situations --------------------------------------------------------------------------------------------------


def test_the_clock_is_the_settings_unless_the_request_says_where_it_is() -> None:
    vienna = rules('timezone = "Europe/Vienna"')
    late = at("2026-07-15T23:30:00+00:00")
    assert (here(among=vienna, now=late).hour, here(among=vienna, now=late).weekday) == (1, "thursday")
    there = here({"timezone": "America/New_York"}, vienna, now=late)
    assert (there.hour, there.weekday) == (19, "wednesday")
    assert here(now=late).hour == 23


def test_the_clock_follows_daylight_saving() -> None:
    vienna = rules('timezone = "Europe/Vienna"')
    assert here(among=vienna, now=at("2026-01-15T12:00:00+00:00")).hour == 13
    assert here(among=vienna, now=at("2026-07-15T12:00:00+00:00")).hour == 14


@pytest.mark.parametrize(
    "name", ["Vienna", "Europe", "", "../../etc/passwd", "/etc/localtime", "Europe/Vienna\0", "é", 1, True, "a" * 300]
)
def test_a_time_zone_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match="IANA name such as Europe/Vienna") as refused:
        here({"timezone": name})
    assert refused.value.field == "context.timezone"


SEGMENTS = """
[segments]
pros = { plan = ["pro", "team"], seats = { gte = 5 } }
readers = { reads = "news" }
"""


@pytest.mark.parametrize(
    ("segment", "attributes", "expected"),
    [
        (None, {}, ()),
        (None, {"plan": "pro", "seats": 4}, ()),
        (None, {"plan": "pro", "seats": 5}, ("pros",)),
        (None, {"plan": "team", "seats": 9, "reads": ["art", "news"]}, ("pros", "readers")),
        ("staff", {"reads": "news"}, ("staff", "readers")),
        ("readers", {"reads": "news"}, ("readers",)),
        ("staff", {}, ("staff",)),
    ],
)
def test_segments_come_from_the_profile_and_from_attributes(
    segment: str | None, attributes: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert here(among=rules(SEGMENTS), segment=segment, attributes=attributes).segments == expected


# -- rules -------------------------------------------------------------------------------------------------------

TABLE = """
timezone = "Europe/Vienna"

[attributes]
brand = "keyword"

[[rules]]
name = "evening"
when = { device = "tv", hour = { gte = 19, lt = 2 } }
weights = { freshness = 0.5, session = 1.5 }
boost = { filter = { category = "Film" }, factor = 1.5 }

[[rules]]
name = "weekend"
when.weekday = ["saturday", "sunday"]
weights.freshness = 4.0
strategy = "trending"

[[rules]]
name = "pros"
when.user.plan = "pro"
boost = { filter = { brand = "acme", popularity = { gte = 3 } }, factor = 2.0 }
strategy = "content"
"""
SATURDAY_NIGHT = at("2026-07-18T23:30:00+02:00")
WEDNESDAY_NIGHT = at("2026-07-15T23:30:00+02:00")


def factor(changed: Adjustments, payload: dict[str, Any]) -> float:
    """What an item's score is multiplied by."""
    return math.prod(boost.factor for boost in changed.boosts if boost.matches(payload))


def test_a_rule_applies_where_all_its_conditions_hold() -> None:
    table = rules(TABLE)
    assert evaluate_rules(table, here({"device": "tv"}, table, now=WEDNESDAY_NIGHT)).applied == ("evening",)
    assert evaluate_rules(table, here({"device": "phone"}, table, now=WEDNESDAY_NIGHT)).applied == ()
    assert evaluate_rules(table, here({"device": "tv"}, table)).applied == ()


def test_without_a_rule_that_applies_nothing_changes() -> None:
    table = rules(TABLE)
    nothing = evaluate_rules(table, here(among=table))
    assert (dict(nothing.weights), nothing.boosts, nothing.strategy) == ({}, (), None)


def test_factors_of_several_rules_multiply_and_the_last_strategy_decides() -> None:
    table = rules(TABLE)
    both = evaluate_rules(table, here({"device": "tv"}, table, attributes={"plan": "pro"}, now=SATURDAY_NIGHT))
    assert both.applied == ("evening", "weekend", "pros")
    assert both.weights == {"freshness": 2.0, "session": 1.5}
    assert both.strategy == "content"


def test_a_boost_multiplies_the_items_that_its_filter_matches() -> None:
    table = rules(TABLE)
    changed = evaluate_rules(table, here({"device": "tv"}, table, attributes={"plan": "pro"}, now=WEDNESDAY_NIGHT))
    popular = {"quarter": add_to_decayed_count(None, 4.0, WEDNESDAY_NIGHT, trend_tau("quarter"))}
    film, acme = {"category": "Film"}, {"category": "Book", "attributes": {"brand": "acme"}}
    assert factor(changed, {"meta": film}) == 1.5
    assert factor(changed, {"meta": acme}) == 1.0
    assert factor(changed, {"meta": acme, "trend": popular}) == 2.0
    assert factor(changed, {"meta": film | {"attributes": {"brand": "acme"}}, "trend": popular}) == 3.0
    assert {field for boost in changed.boosts for field in boost.fields} == {
        "meta.category",
        "meta.attributes.brand",
        "trend.quarter",
    }


def test_a_boost_by_popularity_goes_with_the_time() -> None:
    table = rules(TABLE)
    item = {
        "meta": {"attributes": {"brand": "acme"}},
        "trend": {"quarter": add_to_decayed_count(None, 4.0, WEDNESDAY_NOON, trend_tau("quarter"))},
    }
    times = [WEDNESDAY_NOON + days * 86_400 for days in (0, 30, 90)]
    pro = {"plan": "pro"}
    factors = [factor(evaluate_rules(table, here(among=table, attributes=pro, now=time)), item) for time in times]
    assert factors == [2.0, 2.0, 1.0]


@given(st.permutations(range(3)))
def test_weights_and_boosts_do_not_depend_on_the_order_of_the_rules(order: list[int]) -> None:
    table = rules(TABLE)
    turned = RuleSet(tuple(table.rules[n] for n in order), attributes=table.attributes, timezone=table.timezone)
    there = here({"device": "tv"}, table, attributes={"plan": "pro"}, now=SATURDAY_NIGHT)
    assert evaluate_rules(turned, there).weights == evaluate_rules(table, there).weights
    assert factor(evaluate_rules(turned, there), {"meta": {"category": "Film"}}) == 1.5


PROMOTIONS = """
[[promotions]]
name = "sale"
filter = { tag = "sale", published_at = { gte = 2026-01-01T00:00:00+01:00 } }
share = 0.2
starts = 2026-07-01T00:00:00+02:00
ends = 2026-08-01T00:00:00+02:00

[[promotions]]
name = "pick"
filter = { item_id = "eddies" }
positions = [1]
surface = "home"
when.device = { not = "tv" }
"""


@pytest.mark.parametrize(
    ("time", "running"),
    [
        ("2026-06-30T21:59:59+00:00", []),
        ("2026-06-30T22:00:00+00:00", ["sale"]),
        ("2026-07-31T21:59:59+00:00", ["sale"]),
        ("2026-07-31T22:00:00+00:00", []),
    ],
)
def test_a_promotion_runs_from_its_start_until_its_end(time: str, running: list[str]) -> None:
    table = rules(PROMOTIONS)
    assert [one.name for one in active_promotions(table, here(among=table, now=at(time)))] == running


def test_a_promotion_may_be_for_a_surface_and_a_situation() -> None:
    table = rules(PROMOTIONS)

    def names(**context: Any) -> list[str]:
        return [one.name for one in active_promotions(table, here(context, table))]

    assert names(surface="home") == ["sale", "pick"]
    assert names(surface="home", device="tv") == names(surface="cart") == names() == ["sale"]


def test_a_promotion_finds_its_items_in_a_store_and_among_payloads() -> None:
    table = rules(PROMOTIONS)
    sale, pick = active_promotions(table, here({"surface": "home"}, table))
    assert pick.filter == Filter(must=(Match("item_id", ("eddies",)),))
    assert (pick.positions, pick.share, sale.positions, sale.share) == ((1,), None, (), 0.2)
    assert matches(pick.filter, {"item_id": "eddies"})
    assert not matches(pick.filter, {"item_id": "rye"})
    new_year = at("2025-12-31T23:00:00+00:00")
    assert matches(sale.filter, {"meta": {"tags": ["sale"], "published_at": new_year}})
    assert not matches(sale.filter, {"meta": {"tags": ["sale"], "published_at": new_year - 1}})
    assert set(payload_paths(sale.filter)) == {"meta.tags", "meta.published_at"}


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ('timezone = "Vienna"', "timezone: there is no time zone 'Vienna'"),
        ('[[rules]]\nname = "a"\nweights = { tast = 2.0 }', "rule 'a': weights.tast: there is no such term; known are"),
        ('[[rules]]\nname = "a"\nstrategy = "best"', "rule 'a': strategy: there is no strategy 'best'; known are"),
        (
            '[[rules]]\nname = "a"\nboost = { filter = { colour = "red" }, factor = 2.0 }',
            "rule 'a': boost.filter.colour: can't be filtered on",
        ),
        (
            '[[rules]]\nname = "a"\nboost = { filter = { price = { lt = inf } }, factor = 2.0 }',
            "rule 'a': boost.filter.price.lt: must be a finite number",
        ),
        (
            '[[rules]]\nname = "a"\nstrategy = "content"\nwhen = { hour = { over = 3 } }',
            "rule 'a': when.hour.over: there is no such operator",
        ),
        ("[segments]\npros = { seats = { gte = true } }", "segment 'pros': seats.gte: must be a number"),
        ("[segments]\npros = {}", "segment 'pros': is empty"),
        (
            '[[promotions]]\nname = "b"\nfilter = { published_at = { gte = 2026-01-01 } }\nshare = 0.1',
            "promotion 'b': filter.published_at.gte: '2026-01-01' has no offset",
        ),
        (
            '[[promotions]]\nname = "b"\nfilter = { tag = "x" }\nshare = 0.1\nwhen = { app = "ios" }',
            "promotion 'b': when.app: there is no such condition",
        ),
    ],
)
def test_a_wrong_rule_is_refused_by_its_name_and_the_path(toml: str, reason: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        rules(toml)
    assert reason in str(refused.value)


def test_all_that_is_wrong_with_the_rules_is_said_at_once() -> None:
    with pytest.raises(Misconfigured) as refused:
        rules('timezone = "x"\n[[rules]]\nname = "a"\nstrategy = "b"\n[segments]\nc = { d = [] }')
    assert [line.split(":")[0].strip() for line in str(refused.value).splitlines()] == [
        "wrong settings",
        "timezone",
        "segment 'c'",
        "rule 'a'",
    ]


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ('[[rules]]\nname = "a"', "rules.0 ('a'): Value error, does nothing: give weights, boost or strategy"),
        ('[[rules]]\nstrategy = "content"', "rules.0.name: Field required"),
        ('[[rules]]\nname = "a"\nweights = { taste = -1.0 }', "rules.0.weights.taste ('a'): "),
        ('[[rules]]\nname = "a"\nwheights = { taste = 1.0 }', "rules.0.wheights ('a'): there is no such setting"),
        (2 * '[[rules]]\nname = "a"\nstrategy = "content"\n', "rules: Value error, more than one is called a"),
        ('[[promotions]]\nname = "b"\nfilter = {}\nshare = 0.1', "promotions.0.filter ('b'): "),
        ('[[promotions]]\nname = "b"\nfilter = { tag = "x" }', "promotions.0 ('b'): Value error, takes either share"),
        (
            '[[promotions]]\nname = "b"\nfilter = { tag = "x" }\nshare = 0.1\npositions = [1]',
            "takes either share or positions",
        ),
        ('[[promotions]]\nname = "b"\nfilter = { tag = "x" }\nshare = 1.1', "promotions.0.share ('b'): "),
        ('[[promotions]]\nname = "b"\nfilter = { tag = "x" }\npositions = [0]', "promotions.0.positions.0 ('b'): "),
        ('[[promotions]]\nname = "b"\nfilter = { tag = "x" }\npositions = [2, 2]', "positions must differ"),
        (
            '[[promotions]]\nname = "b"\nfilter = { tag = "x" }\nshare = 0.1\nends = 2026-01-01T00:00:00',
            "promotions.0.ends ('b'): ",
        ),
        (
            '[[promotions]]\nname = "b"\nfilter = { tag = "x" }\nshare = 0.1\n'
            "starts = 2026-01-02T00:00:00Z\nends = 2026-01-01T00:00:00Z",
            "ends must be after starts",
        ),
    ],
)
def test_a_misshapen_rule_is_refused_by_the_settings(toml: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "eddyline.toml"
    path.write_text(toml)
    with pytest.raises(Misconfigured) as refused:
        settings_module.load(path)
    assert reason in str(refused.value)


def test_rules_of_the_environment_go_over_those_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "eddyline.toml"
    path.write_text('[[rules]]\nname = "a"\nstrategy = "content"')
    monkeypatch.setenv("EDDYLINE_RULES", '[{"name": "b", "weights": {"taste": 2}}, {"name": "c"}]')
    with pytest.raises(Misconfigured, match=r"rules\.1: Value error, does nothing"):
        settings_module.load(path)
    monkeypatch.setenv("EDDYLINE_RULES", '[{"name": "b", "weights": {"taste": 2}}]')
    monkeypatch.setenv("EDDYLINE_SEGMENTS", '{"pros": {"plan": "pro"}}')
    table = RuleSet.from_settings(settings_module.load(path))
    assert evaluate_rules(table, here(among=table)).applied == ("b",)
    assert here(among=table, attributes={"plan": "pro"}).segments == ("pros",)


def test_the_weekdays_are_the_calendars() -> None:
    monday = at("2026-07-13T12:00:00+00:00")
    assert [here(now=monday + day * 86_400).weekday for day in range(7)] == list(WEEKDAYS)
