"""The commands that bring data in and show it: import and demo."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
import webbrowser
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape

from eddyline.adapters.private_files import make_private
from eddyline.cli.shared_options import api_key
from eddyline.cli.startup_messages import LISTENING
from eddyline.cli.terminal_output import ProgressBars, first_lines, print_line
from eddyline.cli.tour_views import curl_commands, playground_address, show
from eddyline.clients import WHILE_BUSY, Client, tour
from eddyline.clients.import_preview import check_source
from eddyline.clients.importer import Importer, ImportReport
from eddyline.clients.lines import RefusedLine
from eddyline.clients.sources import Source, open_source
from eddyline.errors import EddylineError, Unavailable

STATES = Path(".eddyline/imports")
START_SECONDS = 300.0
MAX_SHOWN = 20
"""Refusals that are shown."""
SOME_REFUSED = 3
"""The exit code where some lines were refused."""


def run_import(
    source: Source, path: Path, url: str, state: Path | None, ends_now: bool, rejects: Path | None, console: Console
) -> int:
    """Import and report; return the exit code."""
    mark = hashlib.sha256(f"{url}\0{path.resolve()}".encode()).hexdigest()[:16]
    with Client(url, retries=WHILE_BUSY, api_key=api_key()) as client:
        report = import_into(client, source, state or STATES / f"{mark}.json", ends_now, console)
    _report_skipped(source, console)
    return _report_refused(report.refused, rejects, console)


def preview_import(source: Source, rejects: Path | None, out: Console, err: Console) -> int:
    """Print the first lines as they would go in, and what would; return the exit code."""
    preview = check_source(source)
    for line in preview.first:
        print_line(out, f"{line.where} {orjson.dumps(line.value).decode()}")
    counts = ", ".join(f"{count:,} {what}" for what, count in preview.counts.items() if count) or "nothing"
    err.print(f"Would import {counts}. Nothing was sent.")
    _report_skipped(source, err)
    return _report_refused(preview.refused, rejects, err)


def _report_skipped(source: Source, console: Console) -> None:
    """Print how many lines the options leave out."""
    if skipped := source.skipped():
        named = ", ".join(f"{pattern}: {count:,}" for pattern, count in skipped.most_common())
        print_line(console, f"{skipped.total():,} lines left out ({named}).")


def _report_refused(refused: Sequence[RefusedLine], rejects: Path | None, console: Console) -> int:
    """Print and write what was refused; return the exit code."""
    if rejects is not None:
        rejects.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in refused))
    if not refused:
        return 0
    fields = Counter(line.field or "the line" for line in refused)
    print_line(console, f"{len(refused):,} refused ({', '.join(f'{f}: {n:,}' for f, n in fields.most_common())}):")
    for shown in first_lines([f"  {line}" for line in refused], MAX_SHOWN):
        print_line(console, shown)
    if rejects is not None:
        print_line(console, f"All of them are in {rejects}.")
    elif len(refused) > MAX_SHOWN:
        print_line(console, "--rejects FILE writes all of them.")
    return SOME_REFUSED


def import_into(client: Client, source: Source, state: Path, ends_now: bool, console: Console) -> ImportReport:
    """Import with bars, and say what became of it."""
    started = time.monotonic()
    with ProgressBars(console) as bars:
        report = Importer(client, source, state, bars).run(ends_now)
    sent = ", ".join(f"{count:,} {what}" for what, count in report.sent.items() if count) or "nothing"
    skipped = sum(report.skipped.values())
    earlier = f"; {skipped:,} were there from an earlier run" if skipped else ""
    console.print(f"Imported {sent} in {time.monotonic() - started:.0f} s{earlier}.")
    return report


def run_demo(path: Path, data_dir: Path, port: int, leave: bool, open_playground: bool = False) -> None:
    """Start everything in a process of its own, import, take the tour, and keep serving, unless it is to `leave`."""
    source, console = open_source(path), Console()
    console.print(f"[bold]Eddyline[/]: starting everything in one process, data in {escape(str(data_dir))} …")
    key = api_key()
    with (
        _eddyline_up(data_dir, port, console) as (process, url),
        Client(url, retries=WHILE_BUSY, api_key=key) as client,
    ):
        import_into(client, source, data_dir / "import.json", True, console)
        person, events = tour.choose_person(source)
        tour.await_quiet(client, person, events)
        taken = tour.take(client, person)
        show(taken, console)
        if leave:
            return
        playground = playground_address(url, taken)
        console.print("\nClick on the list yourself, in the playground:\n")
        print_line(console, f"  {playground}")
        if open_playground:
            webbrowser.open(playground)
        console.print(f"\nStill serving at {url} (the API: {url}/docs). Try:\n")
        for command in curl_commands(url, taken):
            print_line(console, f"  {command}")
        console.print("\nCtrl-C stops it; `make demo` again continues with the same data.")
        process.wait()


@contextmanager
def _eddyline_up(data_dir: Path, port: int, console: Console) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`eddyline up` as a child; it is stopped, and waited for, at the end."""
    make_private(data_dir)
    log_file = data_dir / "log.txt"
    command = [sys.executable, "-m", "eddyline", "up", "--data-dir", str(data_dir), "--port", str(port)]
    with log_file.open("w", encoding="utf-8") as log:
        # A session of its own, so that Ctrl-C reaches this process alone, which then stops the child in order.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    try:
        yield process, _await_ready(process, log_file, console)
    except KeyboardInterrupt:
        console.print("stopping …")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait()


def _await_ready(process: subprocess.Popen[str], log_file: Path, console: Console) -> str:
    """Return its address, once it is printed and ready; print what else the process prints."""
    assert process.stdout is not None
    url = ""
    with console.status("loading the model, opening the store, joining the consumer groups"):
        for line in process.stdout:
            if line.startswith(LISTENING):
                url = line.removeprefix(LISTENING).split()[0]
                break
            console.print(line.rstrip(), markup=False, highlight=False)
        deadline = time.monotonic() + START_SECONDS
        while url and time.monotonic() < deadline and process.poll() is None:
            with Client(url, timeout=10.0) as client:
                if client.is_ready():
                    return url
            time.sleep(0.05)
    if process.poll() is None and url:
        raise Unavailable(f"`eddyline up` isn't ready after {START_SECONDS:g} s; its log is {log_file}")
    process.wait()
    last = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["it printed nothing"]
    raise EddylineError(f"`eddyline up` ended at once: {last[0].removeprefix('eddyline: ')}")
