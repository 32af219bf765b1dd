"""What the commands of `eddyline dlq` do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from eddyline.adapters.kafka import (
    SOURCES,
    DeadLetterBox,
    FileDeadLetterBox,
    KafkaProducer,
    Letter,
    LetterLog,
    Producer,
    TopicDeadLetterBox,
    Unreadable,
)
from eddyline.adapters.kafka.options import LIBRARY_LOG
from eddyline.cli import dead_letter_views as views
from eddyline.cli.opening import dead_letters_directory, kafka_options
from eddyline.clients import WHILE_BUSY, Client
from eddyline.errors import EddylineError, InvalidInput, Misconfigured, NotFound
from eddyline.offline.dead_letters import (
    Destination,
    HttpDestination,
    Selection,
    Survey,
    TopicDestination,
    drop,
    moment,
    replay,
    selected,
    survey,
)
from eddyline.settings import Settings

MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class OpenBox:
    """The dead letters of a deployment, and the cluster's producer; None in the embedded mode."""

    box: DeadLetterBox
    where: str
    producer: Producer | None


@contextmanager
def open_box(settings: Settings) -> Iterator[OpenBox]:
    """Those of the Kafka cluster in the settings, or of the data directory. Raises `Unavailable`."""
    with ExitStack() as stack:
        if settings.kafka.bootstrap_servers:
            LIBRARY_LOG.disabled = True  # hundreds of lines about a broker that is away; ours says it once
            options = kafka_options(settings)
            producer = KafkaProducer(options)
            stack.callback(producer.close)
            producer.check()
            box: DeadLetterBox = TopicDeadLetterBox(options, producer)
            opened = OpenBox(box, f"on {options.bootstrap_servers}", producer)
        else:
            directory = dead_letters_directory(settings)
            box = FileDeadLetterBox(directory)
            opened = OpenBox(box, f"in {directory}", None)
        stack.callback(box.close)
        yield opened


def selection_of(
    topic: str | None,
    reason: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    places: Sequence[str] | None,
) -> Selection:
    """What the options say. Raises a usage error that names the option."""
    topics = [source.name for source in SOURCES]
    topic = None if topic is None else topic.removesuffix(".dlq")
    if topic is not None and topic not in topics:
        raise typer.BadParameter(f"{topic!r} is none of {', '.join(topics)}", param_hint="--topic")
    try:
        return Selection(
            topic,
            reason,
            None if key is None else key.encode(),
            None if since is None else moment(since, "--since"),
            None if until is None else moment(until, "--until"),
            tuple(places or ()),
        )
    except InvalidInput as error:
        raise typer.BadParameter(error.reason, param_hint=error.field) from None


def run_list(opened: OpenBox, selection: Selection, limit: int, console: Console) -> None:
    """`eddyline dlq list`."""
    found = survey(opened.box.logs(selection.topic), selection, limit)
    if not found.total:
        console.print(_nothing(opened, selection), markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(views.counts(found))
    if found.newest:
        more = found.total - len(found.newest)
        console.print(f"\nThe newest {len(found.newest):,}; {more:,} more with --limit:\n" if more else "")
        console.print(views.newest(found))
    _mention(found.unreadable)


def run_json(opened: OpenBox, selection: Selection, limit: int | None) -> None:
    """`eddyline dlq list --json`: as they come, or the newest `limit`."""
    logs = opened.box.logs(selection.topic)
    chosen: Iterator[Letter | Unreadable] = selected(logs, selection)
    if limit is not None:
        found = survey(logs, selection, limit)
        chosen = islice((*found.newest, *found.unreadable), limit)
    for each in chosen:
        print(orjson.dumps(views.as_json(each)).decode())


def run_show(opened: OpenBox, place: str) -> None:
    """`eddyline dlq show`. Raises `NotFound`."""
    shown = 0
    for each in selected(opened.box.logs(), Selection(places=(place,))):
        if shown:
            print()
        for line in views.lines(each):
            print(line)
        shown += 1
    if not shown:
        raise NotFound(f"no dead letter {opened.where} has the id {place!r}; `eddyline dlq list` shows their ids")


def run_replay(opened: OpenBox, selection: Selection, url: str, dry_run: bool, yes: bool, console: Console) -> None:
    """`eddyline dlq replay`. Raises `EddylineError` when some aren't taken."""
    logs = opened.box.logs(selection.topic)
    found = _counted(opened, logs, selection)
    if not found.total:
        return
    with _destination(opened, url) as (destination, through):
        if dry_run:
            print(f"\nWould send {_letters(found.total)} {through} again, and remove those accepted")
            hopeless = list(_hopeless(logs, selection, destination))
            if hopeless:
                print(f"{_letters(len(hopeless))} would stay:\n{_reasons(hopeless)}")
            return
        if not _agreed(f"Send {_letters(found.total)} {through} again, and remove those accepted?", yes):
            return
        with _bar(console, "sending", found.total) as advance:
            outcome = replay(logs, selection, destination, advance)
    print(f"Sent {_letters(outcome.taken)} again")
    if outcome.refused:
        raise EddylineError(f"{_letters(len(outcome.refused))} not accepted, and kept:\n{_reasons(outcome.refused)}")


def run_drop(opened: OpenBox, selection: Selection, dry_run: bool, yes: bool, console: Console) -> None:
    """`eddyline dlq drop`."""
    logs = opened.box.logs(selection.topic)
    found = _counted(opened, logs, selection)
    if not found.total:
        return
    if dry_run:
        print(f"\nWould remove {_letters(found.total)} for good")
        return
    if not _agreed(f"Remove {_letters(found.total)} for good?", yes):
        return
    with _bar(console, "removing", found.total) as advance:
        dropped = drop(logs, selection, advance)
    print(f"Removed {_letters(dropped)}")


def _counted(opened: OpenBox, logs: Sequence[LetterLog], selection: Selection) -> Survey:
    """Say what is meant."""
    found = survey(logs, selection)
    if found.total:
        Console().print(views.counts(found))
    else:
        print(_nothing(opened, selection))
    _mention(found.unreadable)
    return found


def _nothing(opened: OpenBox, selection: Selection) -> str:
    return f"No dead letters {opened.where}" + ("" if selection == Selection() else " match")


def _mention(unreadable: Sequence[Unreadable]) -> None:
    if not unreadable:
        return
    print(f"\n{len(unreadable):,} can't be read as dead letters, and are kept; `eddyline dlq show ID` shows one:")
    print(_listed([(each.place, each.problem) for each in unreadable]))


@contextmanager
def _destination(opened: OpenBox, url: str) -> Iterator[tuple[Destination, str]]:
    """Where to send letters again, and how to say so."""
    if opened.producer is not None:
        yield TopicDestination(opened.producer), f"to their topics {opened.where}"
        return
    with Client(url, retries=WHILE_BUSY) as client:
        yield HttpDestination(client), f"through {url}"


def _hopeless(
    logs: Sequence[LetterLog], selection: Selection, destination: Destination
) -> Iterator[tuple[Letter, str]]:
    for each in selected(logs, selection):
        if isinstance(each, Letter) and (reason := destination.refuses(each)) is not None:
            yield each, reason


def _agreed(question: str, yes: bool) -> bool:
    """Raises `Misconfigured` when there is nobody to ask."""
    if yes:
        return True
    if not _is_attended():
        raise Misconfigured(
            "can't ask for confirmation here: add --yes to do it, or --dry-run to see what would be done"
        )
    agreed = typer.confirm(question)
    if not agreed:
        print("Nothing was done")
    return agreed


def _is_attended() -> bool:
    return sys.stdin.isatty()


@contextmanager
def _bar(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar, where somebody watches; gives what moves it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def _reasons(refused: Sequence[tuple[Letter, str]]) -> str:
    return _listed([(letter.id, reason) for letter, reason in refused])


def _listed(places: Sequence[tuple[str, str]]) -> str:
    """The first of them, each with what is wrong with it."""
    shown = [f"  {views.harmless(place)}: {views.harmless(wrong)}" for place, wrong in places[:MAX_SHOWN]]
    more = len(places) - MAX_SHOWN
    return "\n".join(shown + ([f"  … and {more:,} more"] if more > 0 else []))


def _letters(count: int) -> str:
    return f"{count:,} dead letter" + ("" if count == 1 else "s")
