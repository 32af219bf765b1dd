"""A pytest plugin: which tests belong to which tier, how long one may take, and how far a run is.

`make test-fast` leaves out what is `slow` or starts a `process`, `make test` what is `extended`, `make test-all`
nothing.
A test should take at most `LIMIT_SECONDS`, unless `slow(seconds)` allows it more; those come first, so that the workers
end together. What took longer is named at the end and fails nothing: how busy a machine is no test can know. All other
tests of a file, and those that share a fixture of it, go to one worker.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.shared import run_directory

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 2.0
"""What a test may take on an idle machine without being marked."""
USUAL_SECONDS = 0.06
"""What a test without a mark takes on average, for the estimate of what is left."""
PROGRESS_SECONDS = 15.0
EXPECTED = "expected-seconds.json"
LONGER = "longer than it should take"
_STARTED = pytest.StashKey[float]()
_SHARED_SECONDS = pytest.StashKey[float]()


def allowed_seconds(item: pytest.Item) -> float:
    """Seconds that a test may take on an idle machine."""
    mark = item.get_closest_marker("slow")
    return LIMIT_SECONDS if mark is None else float(mark.args[0])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the slow ones to the front, and keep the tests of a file together.

    Each worker sorts its own collection, so the order must be the same in all.
    """
    for item in items:
        is_alone = item.get_closest_marker("slow") is not None and not _shares_a_fixture(item)
        if item.get_closest_marker("xdist_group") is None and not is_alone:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(ROOT).as_posix()))
    seconds: dict[str, float] = {}
    for item in items:
        seconds[_group(item)] = seconds.get(_group(item), 0.0) + _expected_seconds(item)
    items.sort(key=lambda item: -seconds[_group(item)])  # stable: a group's tests keep their order


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Whether tests of its file share one of its fixtures."""
    fixtures = cast(Any, item)._fixtureinfo.name2fixturedefs.values()
    file = item.nodeid.partition("::")[0]
    return any(each.scope != "function" and each.baseid == file for definitions in fixtures for each in definitions)


def _group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return item.nodeid if mark is None else str(mark.args[0])


def _expected_seconds(item: pytest.Item) -> float:
    return USUAL_SECONDS if item.get_closest_marker("slow") is None else allowed_seconds(item) / 2


# -- how long a test may take ------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
    """Count what a fixture takes that several tests share: it isn't the fault of the first."""
    began = time.monotonic()
    try:
        return (yield)
    finally:
        if fixturedef.scope != "function":
            stash = request.session.stash
            stash[_SHARED_SECONDS] = stash.get(_SHARED_SECONDS, 0.0) + time.monotonic() - began


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Note of a test that passed whether it took longer than it should."""
    report: pytest.TestReport = yield
    stash = item.session.stash
    if call.when == "setup":
        item.stash[_STARTED] = call.start + stash.get(_SHARED_SECONDS, 0.0)
        stash[_SHARED_SECONDS] = 0.0
    if call.when == "call" and report.passed:
        took, allowed = call.stop - item.stash[_STARTED], allowed_seconds(item)
        if took > allowed * _load():
            report.user_properties.append((LONGER, f"{took:6.1f} s instead of {allowed:g}  {item.nodeid}"))
    return report


def _load() -> float:
    """How many times slower than idle this machine may be now: twice the processes that want to run, for each core,
    since what a test waits for (a broker, a worker) waits for its turn, too. The average of the last minute knows
    nothing yet of a run that has just begun, so its workers count, whatever they are at."""
    running = max(os.getloadavg()[0], float(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")))
    return max(1.0, 2 * running / (os.cpu_count() or 1))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name what took longer than it should, even for a machine as busy as this one."""
    lines = [
        line
        for report in terminalreporter.stats.get("passed", [])
        for name, line in report.user_properties
        if name == LONGER
    ]
    if lines:
        terminalreporter.section("longer than they should take", sep="-")
        terminalreporter.write_line(
            "Have them wait for less (a fake clock, a stand-in, the in-process broker), or mark them "
            "@pytest.mark.slow(seconds): CONTRIBUTING.md says which tier that is."
        )
        for line in sorted(lines, reverse=True):
            terminalreporter.write_line(line)


# -- how far a run is --------------------------------------------------------------------------------------------------


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the controller what there is to do: it collects nothing itself."""
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        expected = {item.nodeid: round(_expected_seconds(item), 3) for item in session.items}
        (run_directory(session.config) / EXPECTED).write_text(json.dumps(expected))


def pytest_configure(config: pytest.Config) -> None:
    """Show how far it is, where workers run the tests."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "progress")


class Progress:
    """In the controller: prints every now and then what is done and how long the rest takes, in place of dots."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began = self._printed = time.monotonic()
        self._expected: dict[str, float] = {}
        self._total = self._done = 0.0
        self._count = 0

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No dot for what passed or was skipped."""
        if report.when == "call" and report.passed:
            return "passed", "", "PASSED"
        return ("skipped", "", "SKIPPED") if report.skipped and not hasattr(report, "wasxfail") else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count it, and name it at once where it failed."""
        if report.failed:
            self._print(f"FAILED {report.nodeid} ({report.when})")
        if report.when != "teardown":
            return
        if not self._expected and (told := run_directory(self._config) / EXPECTED).exists():
            self._expected = json.loads(told.read_text())
            self._total = sum(self._expected.values())
        self._count += 1
        self._done += self._expected.get(report.nodeid, USUAL_SECONDS)
        now = time.monotonic()
        if now - self._printed >= PROGRESS_SECONDS and self._done > self._total / 50:
            self._printed, took = now, now - self._began
            left = took * (self._total - self._done) / self._done
            place = report.nodeid.partition("::")[0]
            self._print(
                f"{_clock(took)}  {self._count:,} of {len(self._expected):,} tests, about {_clock(left)} to go; "
                f"last: {place}"
            )

    def _print(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def pytest_xdist_auto_num_workers() -> int:
    """Say how many workers `-n auto` means: most tests wait, so more than there are cores."""
    return min(8, 2 * (os.cpu_count() or 1))
