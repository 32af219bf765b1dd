"""How all commands print: consoles, tables, progress bars, counts, long lists, JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from eddyline.clients.progress import ProgressListener

WIDTH = 120
"""Columns where the output isn't a terminal."""
NONE = "–"
"""What stands where there is no value."""


def output(width: int = WIDTH) -> Console:
    """Return the console of the standard output, as wide as the terminal; `width` columns where it is none."""
    console = Console()
    return console if console.is_terminal else Console(width=width)


def errors() -> Console:
    """Return the console of the standard error, for what isn't the command's result."""
    return Console(stderr=True)


def print_line(console: Console, line: str) -> None:
    """Print a line as it is: without markup, colours or wrapping."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print an indented JSON document on the standard output."""
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def titled_table(title: str, title_style: str = "bold") -> Table:
    """Make a table with a line under its header. `title` may hold anything."""
    return Table(
        title=escape(title),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style=title_style,
        expand=False,
        pad_edge=False,
    )


def add_columns(table: Table, *names: str, right: Sequence[str] = ()) -> None:
    """Add columns that never wrap, those of `right` aligned to the right."""
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_lines(lines: Sequence[str], limit: int) -> Iterator[str]:
    """Yield the first of some lines, and how many more there are."""
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"  … and {len(lines) - limit:,} more"


class ProgressBars(ProgressListener):
    """Shows a bar for each stage; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, what: str, total: int, done: int) -> None:
        """Show a bar for the stage."""
        self._tasks[what] = self._progress.add_task(what, total=total, completed=done)

    def advance(self, what: str, count: int) -> None:
        """Move the bar."""
        self._progress.advance(self._tasks[what], count)

    def report(self, line: str) -> None:
        """Print a line above the bars."""
        self._console.print(escape(line))


@contextmanager
def progress_bars(console: Console) -> Iterator[ProgressListener]:
    """Show bars on a terminal, nothing elsewhere."""
    if not console.is_terminal:
        yield ProgressListener()
        return
    with ProgressBars(console) as bars:
        yield bars


@contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show one bar on a terminal; gives what moves it."""
    with progress_bars(console) as bars:
        bars.start(what, total, 0)
        yield partial(bars.advance, what)
