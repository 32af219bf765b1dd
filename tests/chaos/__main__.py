"""`make chaos`: every scenario in full, a table of what came of it, and that table in docs/delivery.md."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.fork_server import ROOT, ForkServer
from tests.chaos.load import Size
from tests.chaos.scenarios import SCENARIOS, SEED, Scenario
from tests.chaos.world import Outcome
from tests.support.kafka import start_cluster

PAGE = ROOT / "docs" / "delivery.md"
BEGIN, END = "<!-- chaos: made by `make chaos` -->\n", "<!-- end -->"
HEAD = (
    "| fault | injected | events sent | lost | doubled | largest difference | Kafka | store |",
    "|---|--:|--:|--:|--:|--:|---|---|",
)


def main(arguments: Sequence[str]) -> int:
    """0 where nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="another history and other moments")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each scenario goes on")
    parser.add_argument("--rate", type=float, default=300.0, help="events a second")
    parser.add_argument("--no-write", action="store_true", help="leave docs/delivery.md as it is")
    parser.add_argument("slugs", nargs="*", help=f"only some of: {', '.join(s.slug for s in SCENARIOS)}")
    options = parser.parse_args(arguments)
    chosen = [scenario for scenario in SCENARIOS if scenario.slug in options.slugs or not options.slugs]
    logging.getLogger("eddyline.kafka.librdkafka").setLevel(logging.CRITICAL)
    outcomes = _run(chosen, options.seed, Size(options.seconds, options.rate))
    table = [*HEAD, *(_row(outcome) for outcome in outcomes)]
    print("\n".join(["", *table]))
    failed = [outcome for outcome in outcomes if outcome.findings.problems]
    for outcome in failed:
        print(f"\n{outcome.complaint()}")
    if not failed and len(outcomes) == len(SCENARIOS) and not options.no_write:
        _write(table, options)
    return 1 if failed or not outcomes else 0


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


def _write(table: Sequence[str], options: argparse.Namespace) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest[rest.index(END) :]
    line = f"Seed {options.seed}, {options.seconds:g} seconds each, {options.rate:g} events a second."
    PAGE.write_text(before + BEGIN + "\n".join([line, "", *table]) + "\n" + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
