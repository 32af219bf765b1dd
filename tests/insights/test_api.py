"""The routes of insights, over HTTP: measures by time and group, and how experiments go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
from tests.services.serving import problem, served
from tests.support.fakes import NOW, record
from tests.support.rows import SIZES, Desk, cell, cell_row, cell_rows, clickers, moments, progress_row, variant_row

from eddyline.errors import Unavailable
from eddyline.insights.api import router
from eddyline.insights.effect_history import FIRST_SECONDS, KEPT, EffectHistory
from eddyline.insights.measures import MAX_ROWS
from eddyline.insights.rows import window_start
from eddyline.model.events import format_timestamp, parse_timestamp
from eddyline.topics import VERDICTS

KPIS, EXPERIMENTS = "/v1/insights/kpis", "/v1/insights/experiments"
TWO = """
[[experiment]]
name = "diversity"
planned_people = 4000
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "diverse"
diversity = 0.5
"""
GUARDED = (
    TWO
    + """
[[experiment.guardrail]]
metric = "ctr"
min = 0.02
[[experiment.guardrail]]
metric = "empty"
max = 0.1
window = "minute"
"""
)
DAY = 86_400


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def client(desk: Desk) -> Iterator[httpx.Client]:
    with served(router(desk.measures, desk.comparison)) as client:
        yield client


def ask(client: httpx.Client, path: str = KPIS, **parameters: Any) -> dict[str, Any]:
    response = client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def report(client: httpx.Client, name: str = "diversity") -> dict[str, Any]:
    return ask(client, f"{EXPERIMENTS}/{name}")


def lists(requests: int, clicks: int, **rest: Any) -> Any:
    return cell(requests=requests, impressions=10 * requests, clicks=clicks, served=10 * requests, **rest)


# -- measures -----------------------------------------------------------------------------------------------------


def test_before_anything_was_measured_there_is_nothing_to_say(client: httpx.Client) -> None:
    said = ask(client)
    assert said["as_of"] is None
    assert said["rows"] == []
    assert said["total"]["requests"] == 0
    assert said["total"]["ctr"] is None
    assert said["progress"]["partitions"] == 0


def test_the_total_sums_over_partitions_and_dimensions(client: httpx.Client, desk: Desk) -> None:
    desk.feed(
        *cell_rows(NOW - 60, lists(10, 4), surface="home"),
        *cell_rows(NOW - 60, lists(20, 2), surface="home", partition=1),
        *cell_rows(NOW - 7200, lists(5, 5), surface="mail", category="news"),
    )
    said = ask(client)
    assert (said["total"]["requests"], said["total"]["impressions"], said["total"]["clicks"]) == (35, 350, 11)
    assert said["total"]["ctr"] == pytest.approx(11 / 350)
    assert ask(client, last="1h")["total"]["requests"] == 30
    assert ask(client, surface="mail")["total"]["clicks"] == 5
    assert ask(client, surface=["mail", "home"])["total"]["clicks"] == 11
    assert ask(client, surface="")["total"]["clicks"] == 0


def test_groups_are_told_apart_by_name_and_time(client: httpx.Client, desk: Desk) -> None:
    desk.feed(
        *cell_rows(NOW - 3600, lists(1, 0), surface="home", variant="a"),
        *cell_rows(NOW, lists(2, 0), surface="home", variant="b"),
    )
    rows = ask(client, by="surface,variant")["rows"]
    assert [(row["surface"], row["variant"], row["requests"]) for row in rows] == [("home", "a", 1), ("home", "b", 2)]
    timed = ask(client, by="time", size="hour")["rows"]
    hours = [format_timestamp(window_start(at, "hour")) for at in (NOW - 3600, NOW)]
    assert [(row["time"], row["requests"]) for row in timed] == [(hours[0], 1), (hours[1], 2)]
    assert "surface" not in timed[0]


@pytest.mark.parametrize(
    ("parameters", "size"),
    [
        ({"last": "1h"}, "minute"),
        ({"last": "3h"}, "minute"),
        ({"last": "24h"}, "hour"),
        ({}, "hour"),
        ({"last": "7d"}, "day"),
        ({"last": "90d"}, "day"),
        ({"last": "1h", "to": NOW - 12 * 3600}, "hour"),
        ({"last": "1h", "to": NOW - 60 * DAY}, "day"),
        ({"last": "7d", "size": "hour"}, "hour"),
    ],
)
def test_windows_suit_the_time_and_are_kept_for_it(client: httpx.Client, parameters: dict[str, Any], size: str) -> None:
    assert ask(client, **parameters)["size"] == size


def test_times_are_extended_to_whole_windows(client: httpx.Client) -> None:
    given: dict[str, Any] = {"from": format_timestamp(NOW - 5000), "to": NOW - 100, "size": "hour"}
    said = ask(client, **given)
    assert parse_timestamp(said["from"]) == window_start(NOW - 5000, "hour")
    assert parse_timestamp(said["to"]) == window_start(NOW - 100, "hour") + 3600


@pytest.mark.parametrize("size", SIZES)
def test_the_end_may_be_as_late_as_a_time_can_be(client: httpx.Client, desk: Desk, size: str) -> None:
    desk.feed(*cell_rows(NOW, lists(3, 0)))
    said = ask(client, **{"from": format_timestamp(NOW - 60), "to": "9999-12-31T23:59:59Z", "size": size})
    assert said["total"]["requests"] == 3
    assert parse_timestamp(said["to"]) <= NOW + 2 * DAY
    assert ask(client, last="24h", to="9999-12-31T23:59:59Z")["rows"] == []


@pytest.mark.parametrize(
    ("parameters", "field", "reason"),
    [
        ({"last": "yesterday"}, "last", "isn't a duration"),
        ({"last": "0h"}, "last", "isn't a duration"),
        ({"from": "noon"}, "from", "RFC 3339"),
        ({"from": "nan"}, "from", "RFC 3339"),
        ({"from": str(NOW), "to": str(NOW - 1)}, "from", "before the end"),
        ({"from": str(NOW - 10), "last": "1h"}, None, "from or last, not both"),
        ({"size": "week"}, "size", "minute"),
        ({"by": "surface,colour"}, "by", "colour"),
        ({"colour": "red"}, "colour", ""),
        ({"last": "2d", "size": "minute"}, "last", "kept for 6 hours"),
        ({"last": "30d", "size": "hour"}, "last", "kept for 14 days"),
        ({"from": "2019-01-01T00:00:00Z"}, "from", "kept for 400 days"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    client: httpx.Client, parameters: dict[str, str], field: str | None, reason: str
) -> None:
    said = problem(client.get(KPIS, params=parameters), 422)
    assert said.get("field") in (field, field or "query", ""), said
    assert reason in said["detail"]


@pytest.mark.slow(10)
def test_too_many_groups_are_refused(client: httpx.Client, desk: Desk) -> None:
    desk.feed(*(cell_row("hour", NOW, lists(1, 0), variant=f"v{number}") for number in range(MAX_ROWS + 1)))
    said = problem(client.get(KPIS, params={"by": "variant"}), 422)
    assert said["field"] == "by"
    assert ask(client)["total"]["requests"] == MAX_ROWS + 1


def test_what_may_still_rise_is_marked(client: httpx.Client, desk: Desk) -> None:
    for ago in (0, 3600, 24 * 3600, 27 * 3600):
        desk.feed(cell_row("hour", NOW - ago, lists(1, 0)))
    rows = ask(client, last="30h", by="time", size="hour")["rows"]
    assert [(row["is_open"], row["is_settled"]) for row in rows] == [
        (False, True),
        (False, False),
        (False, False),
        (True, False),
    ]
    assert ask(client)["total"]["is_open"] is True


def test_it_says_how_far_it_is_and_what_is_missing(client: httpx.Client, desk: Desk) -> None:
    desk.feed(
        progress_row(NOW - 5, NOW - 8, late=2, records=10),
        progress_row(NOW - 1, NOW - 2, partition=1, late=1, unreadable=4, missed=7, failed=1, cut=3, records=5),
    )
    desk.caught_up = False
    said = ask(client)
    assert said["as_of"] == format_timestamp(NOW - 1)
    assert said["complete"] is False
    assert said["progress"] == {
        "partitions": 2,
        "read_until": format_timestamp(NOW - 8),
        "records": 15,
        "late": 3,
        "unreadable": 4,
        "failed": 1,
        "missed": 7,
        "cut": 3,
        "rows_unreadable": 0,
    }


def test_coverage_needs_to_know_the_catalogue(client: httpx.Client, desk: Desk) -> None:
    desk.feed(*cell_rows(NOW, cell(items=["a", "b"], requests=1)))
    assert ask(client)["total"]["coverage"] is None
    desk.items = lambda: 8
    assert ask(client)["total"]["coverage"] == pytest.approx(0.25, abs=0.001)
    assert ask(client, by="category")["rows"][0]["coverage"] is None

    def down() -> int:
        raise Unavailable("Qdrant is down")

    desk.items = down
    assert ask(client)["total"]["coverage"] is None


def test_who_came_back_is_told_once_the_day_and_what_is_late_are_over(client: httpx.Client, desk: Desk) -> None:
    today = window_start(NOW, "day")
    desk.feed(cell_row("day", today - 2 * DAY, cell(visitors=10, returned_1=3)))
    desk.feed(cell_row("day", today - DAY, cell(visitors=10, returned_1=9)))
    desk.clock.now = today + 1800
    assert ask(client, last="7d")["total"]["returned_1"] is None
    desk.clock.now = today + 3600
    assert ask(client, last="7d")["total"]["returned_1"] == pytest.approx(0.3)


# -- experiments --------------------------------------------------------------------------------------------------


def feed_two(desk: Desk, revision: str | None = None, people: tuple[int, int] = (1500, 1500), days: int = 2) -> None:
    """Control, and a variant that is twice as good."""
    for variant, count, rate in (("control", people[0], 0.05), ("diverse", people[1], 0.10)):
        found = moments(clickers(count, rate, seed=count), NOW - days * DAY, NOW)
        desk.feed(variant_row("diversity", revision or desk.revision("diversity"), variant, found))


def test_a_better_variant_is_found_and_said_in_words(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    feed_two(desk)
    said = report(client)
    control, diverse = said["reports"]
    assert (control["name"], control["is_control"], control["effects"], control["sentence"]) == (
        "control",
        True,
        None,
        None,
    )
    effect = diverse["effects"]["ctr"]
    assert effect["is_decided"]
    assert 0.5 < effect["low"] < effect["relative"] < effect["high"]
    assert effect["p_value"] < 0.001
    assert diverse["values"]["ctr"] == pytest.approx(0.10, abs=0.01)
    assert diverse["values"]["clicks"] == pytest.approx(20 * diverse["values"]["ctr"])
    assert diverse["values"]["dwell"] is None
    assert "diverse clicks" in diverse["sentence"]
    assert "more than control" in diverse["sentence"]
    assert "one more day" in diverse["sentence"]
    assert said["days_left"] == pytest.approx((4000 - 3000) / 1500, abs=0.01)
    assert said["sample_ratio"]["is_mismatch"] is False
    assert said["sample_ratio"]["expected"] == {"control": 1500.0, "diverse": 1500.0}
    assert set(diverse["effects"]) == {"ctr", "clicks", "conversions", "revenue", "dwell"}
    assert said["notes"] == []


def test_how_it_went_is_told_as_of_now_and_then_and_of_this_definition_alone(client: httpx.Client, desk: Desk) -> None:
    def course() -> list[dict[str, Any]]:
        history: list[dict[str, Any]] = ask(client, f"{EXPERIMENTS}/diversity")["history"]
        return history

    desk.define(TWO)
    desk.caught_up = False
    desk.comparison.note_effects()
    assert course() == [], "what is still being read decides nothing"
    desk.caught_up = True
    desk.comparison.note_effects()
    feed_two(desk)
    desk.comparison.note_effects()
    assert len(course()) == 1, "it is too early"
    desk.clock.forward(FIRST_SECONDS)
    desk.comparison.note_effects()
    before, after = (reading["effects"] for reading in course())
    assert before.keys() == after.keys() == {"diverse"}
    assert before["diverse"]["relative"] is None
    assert after["diverse"]["low"] < after["diverse"]["relative"] < after["diverse"]["high"]
    desk.define(TWO.replace("0.5", "0.6"))
    desk.comparison.note_effects()
    assert len(course()) == 1


def test_a_long_course_is_kept_at_fewer_and_fewer_moments() -> None:
    history = EffectHistory()
    now = 0.0
    while now < 14 * DAY:
        if history.is_due("e", "r", now):
            history.note("e", "r", now, {})
        now += 10.0
    times = [at for at, _ in history.readings("e", "r")]
    assert KEPT / 2 <= len(times) <= KEPT
    assert times[0] == 0.0
    steps = {later - earlier for earlier, later in pairwise(times)}
    assert len(steps) == 1, "at even times"
    assert times[-1] > 14 * DAY - 2 * steps.pop()
    history.keep_only({"another"})
    assert history.readings("e", "r") == []


def test_a_skewed_split_raises_the_alarm(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    feed_two(desk, people=(2000, 1500))
    said = report(client)
    assert said["sample_ratio"]["is_mismatch"]
    assert "don't trust this" in said["reports"][1]["sentence"]
    assert any("split as the weights" in note for note in said["notes"])


def test_whoever_signs_in_is_counted_once_in_the_split(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    revision = desk.revision("diversity")
    for variant, people, signed_in in (("control", 1000, 0), ("diverse", 1000, 400)):
        found = replace(moments(clickers(people + signed_in, 0.05, 1)), units=people)
        desk.feed(variant_row("diversity", revision, variant, found))
    said = report(client)
    assert said["sample_ratio"]["seen"] == {"control": 1000, "diverse": 1000}
    assert said["sample_ratio"]["is_mismatch"] is False
    assert said["reports"][1]["people"] == 1400


def test_a_variant_that_was_let_go_on_is_not_held_against_the_weights(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO + '[[experiment.variant]]\nname = "third"\n')
    revision = desk.revision("diversity")
    for variant, people in (("control", 2000), ("diverse", 1500), ("third", 2000)):
        desk.feed(variant_row("diversity", revision, variant, moments(clickers(people, 0.05, people), NOW - DAY)))
    desk.verdicts.apply(record(VERDICTS, "diversity/diverse", None, at=NOW - 2 * DAY))
    said = report(client)
    assert said["sample_ratio"]["is_mismatch"], "it was stopped before this definition"
    desk.verdicts.apply(record(VERDICTS, "diversity/diverse", None, at=NOW - 3600))
    said = report(client)
    assert (said["sample_ratio"]["is_mismatch"], said["sample_ratio"]["left_out"]) == (False, ["diverse"])
    assert "don't trust this" not in said["reports"][1]["sentence"]
    assert [note for note in said["notes"] if f"goes on since {format_timestamp(NOW - 3600)}" in note]


def test_weights_are_minded_and_external_people_are_not_held_against_them(client: httpx.Client, desk: Desk) -> None:
    desk.define(
        '[[experiment]]\nname = "three"\n[[experiment.variant]]\nname = "ours"\nweight = 3\n'
        '[[experiment.variant]]\nname = "new"\n[[experiment.variant]]\nname = "old"\nexternal = true\n'
    )
    revision = desk.revision("three")
    desk.feed(
        variant_row("three", revision, "ours", moments(clickers(900, 0.05, 1))),
        variant_row("three", revision, "new", moments(clickers(300, 0.05, 2))),
        variant_row("three", "", "old", moments(clickers(50, 0.05, 3))),
    )
    said = report(client, "three")
    assert said["sample_ratio"]["is_mismatch"] is False
    assert said["sample_ratio"]["seen"] == {"ours": 900, "new": 300}
    assert said["sample_ratio"]["left_out"] == ["old"]
    assert said["reports"][2]["people"] == 50, "lists that name no revision count to the present one"
    assert said["earlier"] == []
    assert any(note.startswith("old is another system's") for note in said["notes"])


def test_people_of_an_earlier_definition_are_told_apart(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    feed_two(desk, people=(200, 200))
    feed_two(desk, "0ld0ld0l", people=(700, 700), days=9)
    said = report(client)
    assert said["people"] == 400
    assert [(one["revision"], one["people"]) for one in said["earlier"]] == [("0ld0ld0l", 1400)]
    assert any("definition was changed" in note for note in said["notes"])


def test_an_experiment_that_only_other_systems_know_is_reported_with_a_note(client: httpx.Client, desk: Desk) -> None:
    desk.feed(
        variant_row("theirs", "", "new", moments(clickers(300, 0.10, 1))),
        variant_row("theirs", "", "base", moments(clickers(300, 0.05, 2))),
    )
    said = report(client, "theirs")
    assert said["state"] == "not defined"
    assert [one["name"] for one in said["reports"]] == ["base", "new"]
    assert said["reports"][1]["effects"]["ctr"]["relative"] > 0
    assert said["sample_ratio"] is None
    assert "compared with base" in said["notes"][0]


def test_experiments_are_listed_with_their_state(client: httpx.Client, desk: Desk) -> None:
    later, earlier = format_timestamp(NOW + DAY), format_timestamp(NOW - DAY)
    variants = '[[experiment.variant]]\nname = "a"\n[[experiment.variant]]\nname = "b"\n'
    desk.define(
        f'[[experiment]]\nname = "soon"\nstarts = {later}\n{variants}'
        f'[[experiment]]\nname = "over"\nends = {earlier}\n{variants}'
        f'[[experiment]]\nname = "now"\nends = {later}\n{variants}'
    )
    desk.feed(variant_row("gone", "r", "a", moments([{}])))
    said = ask(client, EXPERIMENTS)["experiments"]
    assert {one["name"]: one["state"] for one in said} == {
        "soon": "planned",
        "over": "ended",
        "now": "running",
        "gone": "not defined",
    }
    assert report(client, "now")["days_left"] == pytest.approx(1.0)
    assert report(client, "over")["days_left"] == 0.0


def test_an_experiment_without_people_has_no_values_and_decides_nothing(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    said = report(client)
    diverse = said["reports"][1]
    assert diverse["values"] == dict.fromkeys(("ctr", "clicks", "conversions", "revenue", "dwell"))
    assert diverse["effects"]["ctr"]["is_decided"] is False
    assert diverse["effects"]["ctr"]["absolute_low"] is None
    assert diverse["sentence"] == "nobody has had a list of it yet"
    assert said["days_left"] is None


def test_an_unknown_experiment_is_a_404_that_names_what_there_is(client: httpx.Client, desk: Desk) -> None:
    assert "there is none" in problem(client.get(f"{EXPERIMENTS}/x"), 404)["detail"]
    desk.define(TWO)
    assert "there are diversity" in problem(client.get(f"{EXPERIMENTS}/x"), 404)["detail"]


def test_a_report_that_is_still_being_read_says_so(client: httpx.Client, desk: Desk) -> None:
    desk.define(TWO)
    desk.caught_up = False
    said = report(client)
    assert said["complete"] is False
    assert "still being read" in said["notes"][0]


def test_guardrails_are_told_and_one_that_stopped_a_variant_says_why(client: httpx.Client, desk: Desk) -> None:
    desk.define(GUARDED)
    feed_two(desk)
    desk.feed(
        progress_row(NOW),
        *cell_rows(NOW - 7200, lists(500, 0), experiment="diversity", variant="diverse"),
    )
    first, second = report(client)["reports"][1]["guardrails"]
    assert (first["metric"], first["state"], first["value"], first["lists"]) == ("ctr", "broken", 0.0, 500)
    assert (second["metric"], second["state"], second["value"]) == ("empty", "not enough yet", None)
    desk.guard.check_all()
    said = report(client)
    diverse = said["reports"][1]
    assert said["stopped"] == ["diverse"]
    assert diverse["state"] == "stopped"
    assert diverse["guardrails"][0]["state"] == "stopped"
    assert "click-through rate was 0, under 0.02" in diverse["guardrails"][0]["reason"]
    assert diverse["sentence"].startswith("stopped by a guardrail: diverse: its click-through rate")
    assert said["sample_ratio"] is None, "only the control is left"
    assert any("gets no traffic since" in note for note in said["notes"])
    assert said["reports"][0]["guardrails"] == []
