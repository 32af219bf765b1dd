"""The work of the commands of `eddyline dlq`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import orjson
import typer
from rich.console import Console

from eddyline.adapters.kafka import (
    DeadLetter,
    DeadLetterLog,
    DeadLetterStore,
    KafkaProducer,
    Producer,
    TopicDeadLetterStore,
    UnreadableDeadLetter,
)
from eddyline.adapters.kafka.client_config import LIBRARY_LOG
from eddyline.cli import dead_letter_views as views
from eddyline.cli.terminal_output import counted, errors, first_lines, print_line, progress_bar
from eddyline.errors import EddylineError, Misconfigured, NotFound
from eddyline.maintenance.dead_letters import (
    DeadLetterSelection,
    DeadLetterSummary,
    ReplayDestination,
    TopicDestination,
    drop,
    replay,
    select_dead_letters,
    summarise_dead_letters,
)
from eddyline.model.events import parse_timestamp_text
from eddyline.runtime.connections import journal_directory, open_log
from eddyline.settings import Settings
from eddyline.topics import DEAD_LETTER_SUFFIX, SOURCE_TOPICS

MAX_SHOWN = 20
_letters = partial(counted, noun="dead letter")


@dataclass(frozen=True, slots=True)
class OpenDeadLetters:
    """The dead letters of a deployment, where they are, and the producer of its log."""

    box: DeadLetterStore
    where: str
    producer: Producer


@contextmanager
def open_dead_letters(settings: Settings) -> Iterator[OpenDeadLetters]:
    """Open the dead letters of the Kafka cluster in the settings, or of the data directory. Raises `Unavailable`."""
    with ExitStack() as stack:
        LIBRARY_LOG.disabled = True  # hundreds of lines about a broker that is away; ours says it once
        options = stack.enter_context(open_log(settings)).unsigned()
        producer = KafkaProducer(options)
        stack.callback(producer.close)
        producer.check()
        box = TopicDeadLetterStore(options, producer)
        where = settings.kafka.bootstrap_servers or str(journal_directory(settings))
        opened = OpenDeadLetters(box, f"{'on' if settings.kafka.bootstrap_servers else 'in'} {where}", producer)
        stack.callback(box.close)
        yield opened


def parse_selection(
    topic: str | None,
    reason: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    places: Sequence[str] | None,
) -> DeadLetterSelection:
    """Parse the options. Raises a usage error that names the option."""
    topics = [source.name for source in SOURCE_TOPICS]
    topic = None if topic is None else topic.removesuffix(DEAD_LETTER_SUFFIX)
    if topic is not None and topic not in topics:
        raise typer.BadParameter(f"{topic!r} is none of {', '.join(topics)}", param_hint="--topic")
    return DeadLetterSelection(
        topic,
        reason,
        None if key is None else key.encode(),
        _parse_time(since, "--since"),
        _parse_time(until, "--until"),
        tuple(places or ()),
    )


def _parse_time(text: str | None, option: str) -> float | None:
    try:
        return None if text is None else parse_timestamp_text(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def run_list(opened: OpenDeadLetters, selection: DeadLetterSelection, limit: int, console: Console) -> None:
    """Run `eddyline dlq list`."""
    found = summarise_dead_letters(opened.box.logs(selection.topic), selection, limit)
    if not found.total:
        print_line(console, _nothing(opened, selection))
    else:
        console.print(views.count_table(found))
    if found.newest:
        more = found.total - len(found.newest)
        console.print(f"\nThe newest {len(found.newest):,}; {more:,} more with --limit:\n" if more else "")
        console.print(views.newest_table(found))
    _list_unreadable(found.unreadable)


def run_json(opened: OpenDeadLetters, selection: DeadLetterSelection, limit: int | None) -> None:
    """Run `eddyline dlq list --json`: as they come, or the newest `limit`."""
    logs = opened.box.logs(selection.topic)
    chosen: Iterator[DeadLetter | UnreadableDeadLetter] = select_dead_letters(logs, selection)
    if limit is not None:
        found = summarise_dead_letters(logs, selection, limit)
        chosen = islice((*found.newest, *found.unreadable), limit)
    for each in chosen:
        print(orjson.dumps(views.as_json(each)).decode())


def run_show(opened: OpenDeadLetters, place: str) -> None:
    """Run `eddyline dlq show`. Raises `NotFound`."""
    shown = 0
    for each in select_dead_letters(opened.box.logs(), DeadLetterSelection(places=(place,))):
        if shown:
            print()
        for line in views.lines(each):
            print(line)
        shown += 1
    if not shown:
        raise NotFound(f"no dead letter {opened.where} has the id {place!r}; `eddyline dlq list` shows their ids")


def run_replay(opened: OpenDeadLetters, selection: DeadLetterSelection, dry_run: bool, yes: bool) -> None:
    """Run `eddyline dlq replay`. Raises `EddylineError` when some aren't taken."""
    logs = opened.box.logs(selection.topic)
    found = _counted(opened, logs, selection)
    if not found.total:
        return
    destination, through = TopicDestination(opened.producer), f"to their topics {opened.where}"
    if dry_run:
        print(f"\nWould send {_letters(found.total)} {through} again, and remove those accepted")
        unsendable = list(_unsendable(logs, selection, destination))
        if unsendable:
            print(f"{_letters(len(unsendable))} would stay:\n{_reasons(unsendable)}")
        return
    if not _is_confirmed(f"Send {_letters(found.total)} {through} again, and remove those accepted?", yes):
        return
    with progress_bar(errors(), "sending", found.total) as advance:
        outcome = replay(logs, selection, destination, advance)
    print(f"Sent {_letters(outcome.accepted)} again")
    if outcome.refused:
        raise EddylineError(f"{_letters(len(outcome.refused))} not accepted, and kept:\n{_reasons(outcome.refused)}")


def run_drop(opened: OpenDeadLetters, selection: DeadLetterSelection, dry_run: bool, yes: bool) -> None:
    """Run `eddyline dlq drop`."""
    logs = opened.box.logs(selection.topic)
    found = _counted(opened, logs, selection)
    if not found.total:
        return
    if dry_run:
        print(f"\nWould remove {_letters(found.total)} for good")
        return
    if not _is_confirmed(f"Remove {_letters(found.total)} for good?", yes):
        return
    with progress_bar(errors(), "removing", found.total) as advance:
        dropped = drop(logs, selection, advance)
    print(f"Removed {_letters(dropped)}")


def _counted(
    opened: OpenDeadLetters, logs: Sequence[DeadLetterLog], selection: DeadLetterSelection
) -> DeadLetterSummary:
    """Count what is selected, and print the counts."""
    found = summarise_dead_letters(logs, selection)
    if found.total:
        Console().print(views.count_table(found))
    else:
        print(_nothing(opened, selection))
    _list_unreadable(found.unreadable)
    return found


def _nothing(opened: OpenDeadLetters, selection: DeadLetterSelection) -> str:
    return f"No dead letters {opened.where}" + ("" if selection == DeadLetterSelection() else " match")


def _list_unreadable(unreadable: Sequence[UnreadableDeadLetter]) -> None:
    if not unreadable:
        return
    print(f"\n{len(unreadable):,} can't be read as dead letters, and are kept; `eddyline dlq show ID` shows one:")
    print(_listed([(each.place, each.problem) for each in unreadable]))


def _unsendable(
    logs: Sequence[DeadLetterLog], selection: DeadLetterSelection, destination: ReplayDestination
) -> Iterator[tuple[DeadLetter, str]]:
    for each in select_dead_letters(logs, selection):
        if isinstance(each, DeadLetter) and (reason := destination.refuses(each)) is not None:
            yield each, reason


def _is_confirmed(question: str, yes: bool) -> bool:
    """Raises `Misconfigured` when there is nobody to ask."""
    if yes:
        return True
    if not _is_attended():
        raise Misconfigured(
            "can't ask for confirmation here: add --yes to do it, or --dry-run to see what would be done"
        )
    confirmed = typer.confirm(question)
    if not confirmed:
        print("Nothing was done")
    return confirmed


def _is_attended() -> bool:
    return sys.stdin.isatty()


def _reasons(refused: Sequence[tuple[DeadLetter, str]]) -> str:
    return _listed([(letter.id, reason) for letter, reason in refused])


def _listed(places: Sequence[tuple[str, str]]) -> str:
    """List the first of them, each with what is wrong with it."""
    lines = [f"  {views.escaped(place)}: {views.escaped(wrong)}" for place, wrong in places]
    return "\n".join(first_lines(lines, MAX_SHOWN))
