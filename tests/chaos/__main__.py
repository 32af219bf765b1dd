"""`make chaos`: every scenario in full, tables of what came of them, and these tables in docs/delivery.md."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.embedded import EMBEDDED_SCENARIOS, EmbeddedScenario, History, row
from tests.chaos.fork_server import ROOT, ForkServer
from tests.chaos.load import Size
from tests.chaos.scenarios import SCENARIOS, SEED, Scenario
from tests.chaos.world import Outcome
from tests.support.disk import build_disk
from tests.support.embedding_api import embeddings
from tests.support.endpoint import serving
from tests.support.kafka import start_cluster

PAGE = ROOT / "docs" / "delivery.md"
BEGIN, END = "<!-- chaos: made by `make chaos` -->\n", "<!-- end -->"
HEAD = (
    "| fault | injected | events sent | lost | doubled | largest difference | Kafka | store |",
    "|---|--:|--:|--:|--:|--:|---|---|",
)
EMBEDDED_BEGIN = "<!-- chaos, embedded: made by `make chaos` -->\n"
EMBEDDED_HEAD = (
    "| fault | injected | events acknowledged | lost | doubled | audits | clean |",
    "|---|--:|--:|--:|--:|--:|--:|",
)
SLUGS = [scenario.slug for scenario in (*SCENARIOS, *EMBEDDED_SCENARIOS)]


def main(arguments: Sequence[str]) -> int:
    """0 where nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="another history and other moments")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each scenario goes on")
    parser.add_argument("--rate", type=float, default=300.0, help="events a second")
    parser.add_argument("--faults", type=int, default=50, help="how often each befalls the embedded mode")
    parser.add_argument("--no-write", action="store_true", help="leave docs/delivery.md as it is")
    parser.add_argument("slugs", nargs="*", help=f"only some of: {', '.join(SLUGS)}")
    options = parser.parse_args(arguments)
    if unknown := {*options.slugs} - {*SLUGS}:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    chosen = [scenario for scenario in SCENARIOS if scenario.slug in options.slugs or not options.slugs]
    embedded = [scenario for scenario in EMBEDDED_SCENARIOS if scenario.slug in options.slugs or not options.slugs]
    logging.getLogger("eddyline.kafka.librdkafka").setLevel(logging.CRITICAL)
    outcomes = _run(chosen, options.seed, Size(options.seconds, options.rate)) if chosen else []
    lives = _run_embedded(embedded, options.seed, options.faults)
    tables = (
        [*HEAD, *(_row(outcome) for outcome in outcomes)],
        [*EMBEDDED_HEAD, *(row(scenario, histories) for scenario, histories in lives)],
    )
    print("\n".join(["", *tables[0], "", *tables[1]]))
    failed = [outcome for outcome in outcomes if outcome.findings.problems]
    spoilt = [history for _, histories in lives for history in histories if history.problems]
    for complaint in (*(one.complaint() for one in failed), *(one.complaint() for one in spoilt)):
        print(f"\n{complaint}")
    if not options.no_write and not failed and len(outcomes) == len(SCENARIOS):
        line = f"Seed {options.seed}, {options.seconds:g} seconds each, {options.rate:g} events a second."
        _write(BEGIN, [line, "", *tables[0]])
    if not options.no_write and not spoilt and len(lives) == len(EMBEDDED_SCENARIOS):
        _write(EMBEDDED_BEGIN, [f"Seed {options.seed}, each fault {options.faults} times.", "", *tables[1]])
    return 1 if failed or spoilt or not (outcomes or lives) else 0


def _run(scenarios: Sequence[Scenario], seed: int, size: Size) -> list[Outcome]:
    cluster, fork_server, outcomes = start_cluster(), ForkServer(), []
    try:
        for scenario in scenarios:
            reason = scenario.unfit(cluster)
            if reason is not None:
                print(f"{scenario.slug}: not run: {reason}", flush=True)
                continue
            began = time.monotonic()
            directory = Path(tempfile.mkdtemp(prefix=f"chaos-{scenario.slug}-"))
            outcomes.append(scenario.play(seed, size, cluster, fork_server, directory))
            print(f"{scenario.slug}: {time.monotonic() - began:.0f} s", flush=True)
    finally:
        fork_server.close()
        cluster.close()
    return outcomes


def _run_embedded(
    scenarios: Sequence[EmbeddedScenario], seed: int, faults: int
) -> list[tuple[EmbeddedScenario, list[History]]]:
    directory, lives = Path(tempfile.mkdtemp(prefix="chaos-up-")), []
    library = build_disk(directory)
    if library is None:
        print("embedded: not run: no C compiler to build the disk with", flush=True)
        return []
    with serving() as encoder:
        encoder.answer = embeddings
        env = {
            "EDDYLINE_ENCODER__KIND": "openai",
            "EDDYLINE_ENCODER__URL": encoder.url,
            "EDDYLINE_ENCODER__MODEL": "small",
            "EDDYLINE_ENCODER__CACHE_DIR": str(directory / "embeddings"),
            "EDDYLINE_INSIGHTS__ENABLED": "false",
        }
        for scenario in scenarios:
            began = time.monotonic()
            lives.append((scenario, scenario.play(seed, faults, directory / scenario.slug, library, env)))
            print(f"{scenario.slug}: {time.monotonic() - began:.0f} s", flush=True)
    return lives


def _row(outcome: Outcome) -> str:
    found = outcome.findings
    cells = (
        outcome.scenario,
        f"{outcome.injected:,}",
        f"{outcome.sent:,}",
        f"{found.lost:,}",
        f"{found.doubled:,}",
        f"{found.difference:.4f}",
        outcome.kafka,
        outcome.store,
    )
    return f"| {' | '.join(cells)} |"


def _write(begin: str, lines: Sequence[str]) -> None:
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    after = rest[rest.index(END) :]
    PAGE.write_text(before + begin + "\n".join(lines) + "\n" + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
