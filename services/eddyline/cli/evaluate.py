"""`eddyline evaluate`: how good the lists are, on a real log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eddyline import __version__
from eddyline.cli.shared_options import (
    ConfigFile,
    Constants,
    FileFormat,
    RatingScale,
    Renamed,
    Skipped,
    TimeZone,
    load_settings,
)
from eddyline.cli.terminal_output import counted, errors, output, print_line, progress_bars
from eddyline.errors import Misconfigured
from eddyline.evaluation.stored_evaluation import METRICS_FILE, RUN_FILE
from eddyline.settings import Settings, StrategySettings, effective

if TYPE_CHECKING:
    from rich.console import Console

    from eddyline.clients.progress import ProgressListener
    from eddyline.evaluation.interaction_log import InteractionLog
    from eddyline.evaluation.prequential import EvaluationProtocol
    from eddyline.evaluation.strategy_comparison import Contender, Evaluation, StrategyComparison

BASELINES = {"popularity": StrategySettings(popularity=1.0)}
"""What anybody could do without a recommender: compared with, though no strategy that is served."""
FILES = {"metrics": METRICS_FILE, "requests": "requests.csv", "run": RUN_FILE, "plot": "quality.png"}
TUNED = "{} (tuned)"


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """Options of the evaluation, beside the settings."""

    share: float
    protocol: EvaluationProtocol
    seed: int
    shuffled: bool
    tuned: bool
    against: list[str]


def evaluate(
    path: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A MovieLens folder, or items and events as .jsonl or .csv."),
    ],
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", help="Strategy to compare; repeatable; by default all, the default one first."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="Baseline to compare with: sasrec, ease, vsknn, popularity-window; repeatable."),
    ] = None,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Recommend for every N-th event only.")] = 1,
    folder: Annotated[
        Path | None, typer.Option("--output", help="Folder for metrics.csv, quality.png and run.json.")
    ] = None,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Fit the first strategy's weights to the part of the log before the last one."),
    ] = False,
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="Length of the lists.")] = 10,
    share: Annotated[
        float,
        typer.Option("--share", min=0.01, max=0.99, help="Share of the log, at its end, that is recommended for."),
    ] = 0.2,
    min_events: Annotated[
        int, typer.Option("--min-events", min=0, help="Events after which a person counts as known.")
    ] = 5,
    repeats: Annotated[
        bool,
        typer.Option("--repeats", help="Also recommend for events with items that the person has met, of all items."),
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="Seed of the shuffling, the resampling, the tuning and the baselines.")
    ] = 0,
    no_shuffled: Annotated[
        bool, typer.Option("--no-shuffled", help="Skip the second run, with visits shuffled.")
    ] = False,
    requests: Annotated[bool, typer.Option("--requests", help="Also write every list to requests.csv.")] = False,
    no_plot: Annotated[bool, typer.Option("--no-plot", help="Skip the plot.")] = False,
    renamed: Renamed = None,
    constants: Constants = None,
    skipped: Skipped = None,
    timezone: TimeZone = None,
    rating_scale: RatingScale = None,
    form: FileFormat = "auto",
    config: ConfigFile = None,
) -> None:
    """Compare strategies on a log: recommend before each of its last events, then learn from it."""
    # The products are small: threads that wait for each other would cost more than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from eddyline.cli import evaluation_views as views
    from eddyline.clients.columns import Columns
    from eddyline.clients.sources import open_source
    from eddyline.evaluation import metrics_plot as plot
    from eddyline.evaluation.baselines import baseline_factory
    from eddyline.evaluation.interaction_log import read
    from eddyline.evaluation.prequential import EvaluationProtocol

    settings, err, out = load_settings(config), errors(), output()
    if tune and 2 * share >= 1:
        raise typer.BadParameter("--tune needs a part before the last of the same length: --share below 0.5")
    if requests and folder is None:
        raise typer.BadParameter("--requests needs --output")
    if folder is not None and not no_plot:
        plot.check()
    contenders = _contenders(settings, strategy)
    baselines = [baseline_factory(name) for name in dict.fromkeys(against or ())]
    options = EvaluationOptions(
        share,
        EvaluationProtocol(k, stride, min_events, repeats),
        seed,
        not no_shuffled,
        tune,
        against or [],
    )
    started = time.monotonic()
    columns = Columns.from_options(renamed, settings.attributes, constants, skipped, timezone, rating_scale)
    log = read(open_source(path, columns, form, settings.events), settings.events)
    for line in views.about(log, options.share):
        print_line(err, line)
    with progress_bars(err) as bars:
        evaluation, space = _evaluation(log, settings, options.protocol, bars)
        if tune:
            name, better = next(iter(contenders)), _tuned(evaluation, contenders, options, bars, out)
            contenders[TUNED.format(name)] = better
        begin = log.position(1.0 - options.share)
        comparison = replace(evaluation, baselines=baselines).compare(
            contenders, begin, options.seed, options.shuffled, bars
        )
    views.show(comparison.measured, k, out)
    for line in views.speed(comparison.answered, time.monotonic() - started):
        print_line(out, line)
    if folder is not None:
        _write(folder, log, comparison, contenders, options, settings, space, requests, not no_plot)
        print_line(err, f"Written to {folder}.")


def _tuned(
    evaluation: Evaluation,
    contenders: Mapping[str, Contender],
    options: EvaluationOptions,
    progress: ProgressListener,
    out: Console,
) -> Contender:
    """Find better weights for the first contender, on a log that ends where the report begins; print and return it."""
    from eddyline.evaluation.weight_optimiser import as_toml, tune

    log, (name, base) = evaluation.log, next(iter(contenders.items()))
    before = replace(evaluation, log=log.first(log.position(1.0 - options.share)))
    found = tune(before, base, log.position(1.0 - 2 * options.share), options.seed, progress)
    print_line(
        out,
        f"Tuned {name}: a loss of {found.loss_after:.3f} instead of {found.loss_before:.3f} nats on the "
        f"{counted(found.requests, 'request')} that it was fitted to. As settings:\n",
    )
    print_line(out, as_toml(name, found.contender.strategy))
    return found.contender


def _contenders(settings: Settings, names: list[str] | None) -> dict[str, Contender]:
    from eddyline.evaluation.strategy_comparison import Contender

    known = {**settings.strategies, **{name: one for name, one in BASELINES.items() if name not in settings.strategies}}
    chosen = list(dict.fromkeys(names or [settings.ranking.strategy, *known]))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise Misconfigured(
            f"there is no strategy {', '.join(unknown)}: there are {', '.join(known)}, and those that "
            "[strategies.NAME] in the settings adds"
        )
    return {name: Contender(settings.ranking, known[name]) for name in chosen}


def _evaluation(
    log: InteractionLog, settings: Settings, protocol: EvaluationProtocol, progress: ProgressListener
) -> tuple[Evaluation, str]:
    """Encode the items and people's answers: what the log is run with, and the vectors' space."""
    from eddyline.adapters.encoders import create_text_encoder
    from eddyline.adapters.telemetry import Metrics
    from eddyline.evaluation.embedding_cache import cache_directory, cached_vectors
    from eddyline.evaluation.strategy_comparison import Evaluation
    from eddyline.model.text import Template, onboarding_text, single_parts

    directory, template = cache_directory(), Template.from_settings(settings.encoder.template)
    encoder = create_text_encoder(settings, Metrics())
    content = cached_vectors([template.parts(item.model_dump()) for item in log.items], encoder, directory, progress)
    texts = {
        person: text
        for person, user in log.answers.items()
        if (text := onboarding_text(user.interests, user.goals, user.experience))
    }
    vectors = cached_vectors(single_parts(list(texts.values())), encoder, directory, progress)
    answers = dict(zip(texts, vectors, strict=True))
    return Evaluation(log, content, answers, settings, protocol), encoder.space


def _write(
    folder: Path,
    log: InteractionLog,
    comparison: StrategyComparison,
    contenders: Mapping[str, Contender],
    options: EvaluationOptions,
    settings: Settings,
    space: str,
    requests: bool,
    with_plot: bool,
) -> None:
    from eddyline.evaluation import metrics_plot as plot
    from eddyline.evaluation import result_files as files
    from eddyline.evaluation.strategy_comparison import SHUFFLED

    k = options.protocol.k
    files.write_metrics(folder / FILES["metrics"], comparison.measured, k)
    if requests:
        runs = {"as it was": (log, comparison.answered)}
        runs |= {} if comparison.shuffled is None else {SHUFFLED: comparison.shuffled}
        files.write_requests(folder / FILES["requests"], runs)
    if with_plot:
        plot.draw(folder / FILES["plot"], comparison.measured, k)
    facts = {
        "eddyline": __version__,
        "log": {
            "fingerprint": log.fingerprint,
            "items": len(log.items),
            "people": len(log.people),
            "events": len(log.events),
            "left_out": log.left_out,
        },
        "space": space,
        **asdict(options),
        "contenders": {
            name: {"ranking": one.ranking.model_dump(mode="json"), "strategy": one.strategy.model_dump(mode="json")}
            for name, one in contenders.items()
        },
        "settings": {name: effective(settings)[name] for name in ("events", "profile", "affinity", "encoder")},
    }
    files.write_run(folder / FILES["run"], facts)
