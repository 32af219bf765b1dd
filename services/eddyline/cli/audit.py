"""`eddyline audit`: are the stored profiles what the log says?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eddyline.cli.shared_options import ConfigFile, DataDir, load_settings
from eddyline.cli.terminal_output import counted, errors, first_lines, print_json, progress_bars
from eddyline.errors import EddylineError
from eddyline.settings import Settings

if TYPE_CHECKING:
    from eddyline.maintenance.audit import AuditReport, Difference, PeopleSelection

SHOWN = 200
"""Most characters of a stored or expected value that are printed."""


def audit(
    user: Annotated[str | None, typer.Option("--user", help="Only this user, by their user_id.")] = None,
    anonymous: Annotated[str | None, typer.Option("--anonymous", help="Only this anonymous_id.")] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Only a sample of this many people in the log.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sample: the same seed, the same people.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many differences, and people, are printed.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that was found as JSON.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Replay the log in memory, compare the profiles with what is stored, and say what differs.

    Profilers may keep running. Exits with 1 where something differs.
    """
    report = _run(load_settings(config, data_dir), _who(user, anonymous, sample, seed))
    if as_json:
        print_json({"clean": report.is_clean, "differing": report.differing, **asdict(report)})
    else:
        for line in lines(report, limit):
            print(line)
    if not report.is_clean:
        rows = len({difference.person for difference in report.row_differences})
        also = f"; rows: {rows:,} of {report.rows_compared:,}" if rows else ""
        raise EddylineError(
            f"profiles that differ from the log: {len(report.differing):,} of {report.compared:,}{also}"
        )


def lines(report: AuditReport, limit: int) -> Iterator[str]:
    """Write the report: at most `limit` differences, and as many of the people who are listed apart."""
    yield f"{report.records:,} records read, {report.invalid:,} of them dead letters, which count for nobody"
    if not (report.compared or report.older or report.apart):
        yield "nobody to compare: neither the log nor the store knows anyone"
        return
    yield f"{counted(report.compared, 'person', 'people')} compared, {len(report.differing):,} of them differ"
    if report.compared > len(report.differing):
        yield f"  the others' sums and weights differ by at most {report.largest:.2g} of the tolerance"
    if report.older:
        yield f"{counted(report.older, 'person', 'people')} not compared: the log no longer holds all of what they did"
    if report.apart:
        yield f"{counted(len(report.apart), 'person', 'people')} listed apart: they differ, which may be right"
        yield from first_lines([f"  {apart.person}: {'; '.join(apart.why)}" for apart in report.apart], limit)
    if report.rows_compared or report.rows_older:
        yield (
            f"{counted(report.rows_compared, 'row')} of items compared, "
            f"{len({difference.person for difference in report.row_differences}):,} of them differ; "
            f"{report.rows_older:,} not compared: the log no longer holds all that they learnt"
        )
    if not report.is_clean:
        yield "Different:"
        found = [*report.differences, *report.row_differences]
        yield from first_lines([_line(difference) for difference in found], limit)


def _run(settings: Settings, who: PeopleSelection) -> AuditReport:
    from eddyline.adapters.kafka import LogReader
    from eddyline.adapters.telemetry import configure_logging
    from eddyline.adapters.vectors import generations
    from eddyline.maintenance.audit import audit as compare_with_log
    from eddyline.profiler import GROUP
    from eddyline.runtime.connections import open_log, open_store

    configure_logging("warning", settings.log_format)
    with (
        open_log(settings) as options,
        closing(open_store(settings)) as store,
        closing(LogReader(options)) as reader,
        progress_bars(errors()) as progress,
    ):
        live = generations.live(store)
        group = generations.group_of(GROUP, live.profiles)
        return compare_with_log(reader, store, settings, who, group=group, collections=live, progress=progress)


def _who(user: str | None, anonymous: str | None, sample: int | None, seed: int) -> PeopleSelection:
    from eddyline.maintenance.audit import Everyone, Sample
    from eddyline.model.events import check_id
    from eddyline.model.ids import Person

    if sum(one is not None for one in (user, anonymous, sample)) > 1:
        raise typer.BadParameter("give one of --user, --anonymous and --sample")
    if user is not None:
        return Person("u", check_id(user, "--user"))
    if anonymous is not None:
        return Person("a", check_id(anonymous, "--anonymous"))
    return Everyone() if sample is None else Sample(sample, seed)


def _line(difference: Difference) -> str:
    stored, expected = _value(difference.stored), _value(difference.expected)
    tolerance = f" (tolerance {difference.tolerance:.2g})" if difference.tolerance else ""
    return f"  {difference.person} {difference.field}: {stored}, expected {expected}: by {difference.by:.4g}{tolerance}"


def _value(value: Any) -> str:
    text = f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + " …"
