"""Guardrails at work, and gauges: a bad variant is stopped once, whoever restarts, and is said to be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.fakes import NOW, record
from tests.support.rows import ROWS, SIZES, Desk, cell, cell_row, cell_rows, moments, progress_row, variant_row
from tests.support.system import wait_until

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, Outgoing, Record, TopicTail
from eddyline.errors import Unavailable
from eddyline.insights.changelog_view import CellQuery
from eddyline.insights.gauges import MAX_COMBINATIONS, Gauges
from eddyline.insights.guardrails import MAX_WINDOWS
from eddyline.insights.periodic_tasks import PeriodicTasks
from eddyline.insights.rows import Cell, CellKey, Dimensions, window_start
from eddyline.insights.schemas import KpiQuery
from eddyline.insights.verdict_view import VerdictView
from eddyline.model.experiments.verdicts import parse_verdict
from eddyline.topics import VERDICTS

FILE = """
[[experiment]]
name = "e"
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "bad"
[[experiment.variant]]
name = "good"
[[experiment.guardrail]]
metric = "ctr"
min = 0.02
"""
HOUR = 3600
SETTLED = window_start(NOW - 600, "minute") - 60
"""The last minute whose clicks have come."""


@pytest.fixture
def desk() -> Desk:
    """An experiment that has run for a day; nothing was clicked in control and in bad within the last full hour."""
    desk = Desk(FILE)
    feed(desk, NOW)
    return desk


def variant_rows(desk: Desk, variant: str, clicks: int, now: float = NOW) -> list[Record]:
    began = moments([{}], since=NOW - 24 * HOUR)
    lists = cell(requests=300, impressions=3000, clicks=clicks)
    return [
        *cell_rows(now - HOUR, lists, experiment="e", variant=variant),
        variant_row("e", desk.revision("e"), variant, began),
    ]


def feed(desk: Desk, now: float) -> None:
    desk.feed(progress_row(now))
    for variant, clicks in (("control", 0), ("bad", 1), ("good", 300)):
        desk.feed(*variant_rows(desk, variant, clicks, now))


def check(desk: Desk) -> list[str]:
    """The variants for which verdicts are written, after one more check."""
    desk.guard.check_all()
    return written(desk)


def written(desk: Desk) -> list[str]:
    return [parse_verdict(one.value).variant for one in desk.producer.to(VERDICTS)]


def follow(desk: Desk, verdicts: VerdictView) -> None:
    """Apply what was written, as the topic's consumer does."""
    for one in desk.producer.to(VERDICTS):
        verdicts.apply(record(VERDICTS, one.key, one.value))


def test_a_variant_under_its_floor_is_stopped_and_the_control_never(desk: Desk) -> None:
    assert check(desk) == ["bad"]
    (sent,) = desk.producer.to(VERDICTS)
    verdict = parse_verdict(sent.value)
    assert sent.key == b"e/bad"
    assert (verdict.experiment, verdict.revision) == ("e", desk.revision("e"))
    assert (verdict.metric, verdict.bound, verdict.at) == ("ctr", 0.02, NOW)
    assert verdict.value == pytest.approx(1 / 3000)
    assert "click-through rate was 0.0003333, under 0.02, in 300 lists" in verdict.reason
    page = desk.metrics.render().decode()
    assert 'eddyline_insights_stopped{experiment="e",variant="bad"} 1.0' in page
    assert 'eddyline_insights_stopped{experiment="e",variant="good"} 0.0' in page


def test_a_verdict_is_written_once(desk: Desk) -> None:
    for _ in range(3):
        assert check(desk) == ["bad"]


def test_after_a_restart_a_known_verdict_is_not_repeated(desk: Desk) -> None:
    desk.guard.check_all()
    after = Desk(FILE)
    follow(desk, after.verdicts)
    feed(after, NOW)
    assert check(after) == []


def test_nothing_is_judged_before_rows_and_verdicts_are_read(desk: Desk) -> None:
    desk.caught_up = False
    assert check(desk) == []
    desk.caught_up = True
    assert check(desk) == ["bad"]


def test_young_windows_wait_for_their_clicks(desk: Desk) -> None:
    full = window_start(NOW, "hour")
    desk.feed(progress_row(full + 599))
    desk.clock.now = full + 5 * HOUR
    assert check(desk) == [], "what is unread counts, not the clock"
    desk.feed(progress_row(full + 600))
    assert check(desk) == ["bad"]


def test_a_partition_that_is_behind_is_waited_for(desk: Desk) -> None:
    desk.feed(progress_row(NOW, read_until=NOW - 3 * HOUR, partition=1))
    assert check(desk) == []


@pytest.mark.slow(20)
def test_however_many_rows_there_are_a_bad_variant_is_stopped_and_all_is_told(desk: Desk) -> None:
    one = cell(served=1).to_bytes()
    begins = [int(window_start(NOW, "hour")) - hours * HOUR for hours in range(1, MAX_WINDOWS)]
    desk.feed(
        *(
            record(ROWS, CellKey("hour", begin, Dimensions("", "", "e", "bad", f"c{number}")).to_bytes(), one)
            for begin in begins
            for number in range(2_200)
        )
    )
    assert check(desk) == ["bad"]
    assert desk.comparison.experiment("e").reports[1].guardrails[0].state == "stopped"
    assert desk.measures.kpis(KpiQuery(by="variant")).total.served == len(begins) * 2_200 > 50_000


def test_a_variant_that_cannot_be_judged_keeps_no_other_from_being_stopped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = desk.view.cells

    def failing(query: CellQuery) -> Iterator[tuple[CellKey, Cell]]:
        if query.where["variant"] == {"bad"}:
            raise RuntimeError("a bug")
        return cells(query)

    monkeypatch.setattr(desk.view, "cells", failing)
    desk.feed(*cell_rows(NOW - HOUR, cell(requests=300, impressions=3000), experiment="e", variant="good"))
    assert check(desk) == ["good"]
    assert 'eddyline_insights_stopped{experiment="e",variant="good"} 1.0' in desk.metrics.render().decode()


def test_what_cannot_be_written_is_written_later(desk: Desk) -> None:
    desk.producer.refuse = Unavailable("Kafka is down")
    assert check(desk) == []
    assert desk.verdicts.all() == []
    desk.producer.refuse = None
    assert check(desk) == ["bad"]


def test_a_changed_definition_starts_afresh(desk: Desk) -> None:
    desk.guard.check_all()
    desk.define(FILE.replace('name = "bad"\n', 'name = "bad"\ndiversity = 0.1\n'))
    assert check(desk) == ["bad"], "nothing is known of it yet"
    began = NOW + 60
    desk.feed(variant_row("e", desk.revision("e"), "bad", moments([{}], since=began)))
    later = window_start(began, "hour") + 2 * HOUR
    desk.feed(
        *(cell_row(size, began, cell(requests=500, impressions=500), experiment="e", variant="bad") for size in SIZES),
        progress_row(later - HOUR + 600),
    )
    assert check(desk) == ["bad"], "its first window has lists of the old one too"
    desk.feed(
        *cell_rows(later - HOUR, cell(requests=500, impressions=500), experiment="e", variant="bad"),
        progress_row(later + 600),
    )
    assert check(desk) == ["bad", "bad"]
    first, second = (parse_verdict(one.value).revision for one in desk.producer.to(VERDICTS))
    assert first != second


def test_a_variant_that_was_let_go_on_is_judged_by_what_comes_then(desk: Desk) -> None:
    desk.guard.check_all()
    follow(desk, desk.verdicts)
    desk.verdicts.apply(record(VERDICTS, "e/bad", None, 1, at=NOW))
    assert check(desk) == ["bad"]
    feed(desk, NOW + 2 * HOUR + 600)
    assert check(desk) == ["bad", "bad"]


def test_experiments_that_do_not_run_are_left_alone(desk: Desk) -> None:
    desk.define(FILE.replace('name = "e"\n', 'name = "e"\nends = 2020-01-01T00:00:00Z\n'))
    desk.feed(variant_row("e", desk.revision("e"), "bad", moments([{}], since=NOW - 24 * HOUR)))
    assert check(desk) == []


def test_a_verdict_that_cannot_be_read_changes_nothing(desk: Desk) -> None:
    desk.verdicts.apply(record(VERDICTS, "e/bad", b"rubbish"))
    desk.verdicts.apply(record(VERDICTS, None, b"{}"))
    assert check(desk) == ["bad"]


def test_a_topic_of_verdicts_made_anew_stops_nobody(desk: Desk) -> None:
    desk.guard.check_all()
    follow(desk, desk.verdicts)
    assert len(desk.verdicts.all()) == 1
    desk.verdicts.apply(record(VERDICTS, "other/x", None, log="log-2"))
    assert desk.verdicts.all() == []


# -- gauges -------------------------------------------------------------------------------------------------------


def gauges(desk: Desk) -> dict[str, float]:
    """Name and labels → value, of what insights shows."""
    Gauges(desk.view, desk.settings, desk.metrics, desk.clock).set()
    lines = desk.metrics.render().decode().splitlines()
    return {
        name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if "eddyline_ins" in line[:13])
    }


def test_gauges_show_the_last_minute_whose_clicks_have_come() -> None:
    desk = Desk()
    assert not any("requests" in name for name in gauges(desk))
    desk.feed(
        progress_row(NOW),
        cell_row("minute", SETTLED, cell(requests=4, impressions=40, clicks=2), surface="home", variant="a"),
        cell_row("minute", SETTLED, cell(impressions=10), surface="home", variant="a", category="x"),
        cell_row("minute", SETTLED + 60, cell(requests=100), surface="home", variant="a"),
        cell_row("minute", SETTLED, cell(organic_clicks=1)),
    )
    labels = '{experiment="",strategy="",surface="home",variant="a"}'
    shown = gauges(desk)
    assert shown[f"eddyline_insights_requests{labels}"] == 4
    assert shown[f"eddyline_insights_ctr{labels}"] == pytest.approx(2 / 50)
    assert f"eddyline_insights_dwell_ms{labels}" not in shown, "a ratio of nothing is no 0"
    assert shown["eddyline_insights_window_start_seconds"] == SETTLED
    assert shown["eddyline_insights_behind_seconds"] == 0
    assert len([name for name in shown if "_requests{" in name]) == 1


def test_gauges_of_what_is_gone_vanish() -> None:
    desk = Desk()
    desk.feed(progress_row(NOW), cell_row("minute", SETTLED, cell(requests=4), surface="home"))
    shown = Gauges(desk.view, desk.settings, desk.metrics, desk.clock)
    shown.set()
    assert "eddyline_insights_requests{" in desk.metrics.render().decode()
    desk.feed(progress_row(NOW + 60))
    shown.set()
    assert "eddyline_insights_requests{" not in desk.metrics.render().decode()


def test_gauges_are_bounded_whatever_names_come() -> None:
    desk = Desk()
    desk.feed(progress_row(NOW))
    for number in range(MAX_COMBINATIONS + 20):
        desk.feed(cell_row("minute", SETTLED, cell(requests=number + 1), surface=f"s{number}"))
    requests = {name: value for name, value in gauges(desk).items() if "_requests{" in name}
    assert len(requests) == MAX_COMBINATIONS + 1
    other = '{experiment="other",strategy="other",surface="other",variant="other"}'
    assert requests[f"eddyline_insights_requests{other}"] == sum(range(1, 21))


def test_a_task_that_fails_does_not_keep_the_others_from_running() -> None:
    ran = []

    def fail() -> None:
        raise RuntimeError("a bug")

    watch = PeriodicTasks({"first": fail, "second": lambda: ran.append(1)}, 0.01)
    watch.start()
    wait_until(lambda: len(ran) >= 2, "the second task ran again and again")
    watch.close()


# -- all of it, on a broker -----------------------------------------------------------------------------------------


def test_it_follows_the_topics_and_stops_a_variant_through_them() -> None:
    broker = EmbeddedBroker()
    producer = KafkaProducer(broker.options)
    here = Desk(FILE)
    tails = (TopicTail(broker.options, ROWS, here.view.apply), TopicTail(broker.options, VERDICTS, here.verdicts.apply))
    try:
        producer.send_all(
            [Outgoing(ROWS, row.key, row.value) for row in (progress_row(NOW), *variant_rows(here, "bad", 0))]
        )
        for tail in tails:
            tail.start()
        wait_until(lambda: all(tail.caught_up for tail in tails), "all is read")
        here.guard.check_all()
        for sent in here.producer.to(VERDICTS):
            producer.send_all([sent])
        wait_until(lambda: len(here.verdicts.all()) == 1, "the verdict came back")
        assert written(here) == ["bad"]
    finally:
        for tail in tails:
            tail.close()
        producer.close()
        broker.close()
