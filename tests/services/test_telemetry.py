"""Logs: one line a thing, for people or for machines, and nothing in them that isn't theirs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from eddyline.adapters.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def fail_with_a_secret() -> None:
    password = "hunter" + "2"
    if password:
        raise ValueError("it failed")


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_where_and_not_what_variables_held(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json" if form == "json" else "console")
    try:
        fail_with_a_secret()
    except ValueError as error:
        structlog.get_logger("test").error("request failed", path="/v1/events", exc_info=error)
    shown = capsys.readouterr().err
    assert "fail_with_a_secret" in shown
    assert "it failed" in shown
    assert "hunter2" not in shown


def test_machines_get_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log = structlog.get_logger("test")
    log.debug("not this one")
    log.info("stopping", signal="SIGTERM")
    log.warning("two\nlines")
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [("info", "stopping"), ("warning", "two\nlines")]
    assert lines[0]["signal"] == "SIGTERM"
    assert lines[0]["timestamp"].endswith("Z")


@pytest.mark.parametrize("form", ["console", "json"])
def test_passwords_of_addresses_are_masked(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json" if form == "json" else "console")
    structlog.get_logger("test").warning("no answer from http://eddy:hunter2@store/", url="https://eddy:hunter2@store")
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert shown.count("***@store") == 2
