"""`eddyline dlq`: the dead letters listed, shown, sent again, dropped."""

from __future__ import annotations

from typing import Annotated

import typer

from eddyline.cli.shared_options import ConfigFile, DataDir, load_settings
from eddyline.cli.terminal_output import output

dlq = typer.Typer(
    name="dlq",
    help="List, show, replay or drop dead letters: records that couldn't be read, or could never be applied.",
    no_args_is_help=True,
)

Topic = Annotated[str | None, typer.Option("--topic", help="Only of this topic, e.g. interactions.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only with this reason, e.g. unknown_item.")]
Key = Annotated[str | None, typer.Option("--key", help="Only with this key, e.g. u:ada.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only those given up at or after this time (RFC 3339 or epoch).")
]
Until = Annotated[str | None, typer.Option("--until", help="Only those given up before this time (RFC 3339 or epoch).")]
Place = Annotated[list[str] | None, typer.Option("--place", help="Only the one with this id; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, without doing it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")]


@dlq.command(name="list")
def list_(
    topic: Topic = None,
    reason: Reason = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    place: Place = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=0, help="How many to show, newest first; 20 by default, all with --json."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, each a whole dead letter.")
    ] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Count the dead letters by topic and reason, and list the newest."""
    from eddyline.cli.dead_letter_commands import open_dead_letters, parse_selection, run_json, run_list

    selection = parse_selection(topic, reason, key, since, until, place)
    with open_dead_letters(load_settings(config, data_dir)) as box:
        if as_json:
            run_json(box, selection, limit)
        else:
            run_list(
                box, selection, 20 if limit is None else limit, output(width=1000)
            )  # a pipe has no width: nothing is cut


@dlq.command()
def show(
    place: Annotated[str, typer.Argument(metavar="ID", help="As `eddyline dlq list` shows it.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print everything about one dead letter."""
    from eddyline.cli.dead_letter_commands import open_dead_letters, run_show

    with open_dead_letters(load_settings(config, data_dir)) as box:
        run_show(box, place)


@dlq.command()
def replay(
    topic: Topic = None,
    reason: Reason = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    place: Place = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Send dead letters to their topics again, and remove those accepted."""
    from eddyline.cli.dead_letter_commands import open_dead_letters, parse_selection, run_replay

    selection = parse_selection(topic, reason, key, since, until, place)
    with open_dead_letters(load_settings(config, data_dir)) as box:
        run_replay(box, selection, dry_run, yes)


@dlq.command()
def drop(
    topic: Topic = None,
    reason: Reason = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    place: Place = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Remove dead letters for good."""
    from eddyline.cli.dead_letter_commands import open_dead_letters, parse_selection, run_drop

    selection = parse_selection(topic, reason, key, since, until, place)
    with open_dead_letters(load_settings(config, data_dir)) as box:
        run_drop(box, selection, dry_run, yes)
