"""The tables that are made from the code: `python -m tests.docs.generated` writes them into docs/ anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path

from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # it re-exports it without saying so
from tests.docs.pages import ROOT

from eddyline.adapters.kafka import KafkaUser, access_rules
from eddyline.adapters.telemetry import Metrics
from eddyline.insights.kpis import Kpis
from eddyline.insights.statistics import plan_sample_size
from eddyline.runtime.documents import (
    access_table,
    mapping_table,
    mappings_table,
    settings_table,
    strategies_table,
)
from eddyline.topics import TOPIC_SPECS


def metrics_table() -> str:
    """Every metric with its type, its labels and its help text."""
    metrics = Metrics()
    rows = ["| metric | type | labels | |", "| --- | --- | --- | --- |"]
    grouped = (one.values() if isinstance(one, dict) else [one] for one in vars(metrics).values())
    for declared in chain.from_iterable(grouped):
        if not hasattr(declared, "describe") or declared is metrics.registry:
            continue
        (family,) = [one for one in declared.describe() if not one.name.endswith("_created")]
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in declared._labelnames)
        rows.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(rows)


def plans_table() -> str:
    """How many people an experiment takes, by what there is and what is to be found."""
    lifts = (0.02, 0.05, 0.1, 0.2)
    heads = " | ".join(f"a lift of {100 * lift:.0f} %" for lift in lifts)
    rows = [f"| control has | {heads} |", "|---|---:|---:|---:|---:|"]
    for said, metric, baseline, per_person in (
        ("`ctr` 2 %, 20 impressions a person", "ctr", 0.02, 20.0),
        ("`ctr` 5 %, 5 impressions a person", "ctr", 0.05, 5.0),
        ("`ctr` 5 %, 20 impressions a person", "ctr", 0.05, 20.0),
        ("`ctr` 5 %, 50 impressions a person", "ctr", 0.05, 50.0),
        ("1 click a person", "clicks", 1.0, None),
        ("3 conversions of a hundred people", "conversions", 0.03, None),
        ("revenue, 10 orders of a hundred people", "revenue", 2.0, 0.1),
        ("dwell time, 5 dwells a person", "dwell", 30_000.0, 5.0),
    ):
        people = [
            plan_sample_size(metric=metric, baseline=baseline, lift=lift, per_person=per_person).people
            for lift in lifts
        ]
        rows.append(f"| {said} | " + " | ".join(f"{number:,}" for number in people) + " |")
    return "\n".join(rows)


def kpis_table() -> str:
    """Every measure with its formula."""
    rows = ["| measure | |", "| --- | --- |"]
    rows += [
        f"| `{name}` | {' '.join((field.description or '').split())} |" for name, field in Kpis.model_fields.items()
    ]
    return "\n".join(rows)


def kafka_users_table() -> str:
    """What each user of a secured cluster may do with each topic."""
    allowed: dict[str, dict[str, set[str]]] = {topic: {} for topic in TOPIC_SPECS}
    for rule in access_rules(""):
        if rule.name in allowed:
            user = rule.principal.removeprefix("User:")
            allowed[rule.name].setdefault(user, set()).add(AclOperation(rule.operation).name)
    words = {"READ": "reads", "WRITE": "writes", "ALL": "everything"}
    rows = ["| topic | " + " | ".join(f"`{user}`" for user in KafkaUser) + " |", "|---|" + "---|" * len(KafkaUser)]
    for topic, users in allowed.items():
        cells = (", ".join(word for name, word in words.items() if name in users.get(user, ())) for user in KafkaUser)
        rows.append(f"| `{topic}` | {' | '.join(cells)} |")
    return "\n".join(rows)


TABLES: Mapping[str, tuple[Path, Callable[[], str]]] = {
    "settings": (ROOT / "docs" / "configuration.md", settings_table),
    "access": (ROOT / "docs" / "security.md", access_table),
    "mappings": (ROOT / "docs" / "sources.md", mappings_table),
    "mapping": (ROOT / "docs" / "sources.md", mapping_table),
    "strategies": (ROOT / "docs" / "ranking.md", strategies_table),
    "kpis": (ROOT / "docs" / "insights.md", kpis_table),
    "kafka-users": (ROOT / "docs" / "operations.md", kafka_users_table),
    "metrics": (ROOT / "docs" / "operations.md", metrics_table),
    "plans": (ROOT / "docs" / "statistics.md", plans_table),
}
"""Name of the markers → page and what belongs between them."""


def current(name: str) -> str:
    """What stands between the markers now."""
    found = _between(name).search(TABLES[name][0].read_text(encoding="utf-8"))
    return found["table"].strip() if found else ""


def write() -> None:
    """Put every table in its place."""
    for name, (page, table) in TABLES.items():
        text = page.read_text(encoding="utf-8")
        found = _between(name).search(text)
        if found is not None:
            new = f"{found['start']}\n{table()}\n{found['end']}"
            page.write_text(text[: found.start()] + new + text[found.end() :], encoding="utf-8")


def _between(name: str) -> re.Pattern[str]:
    start = rf"(?P<start><!-- {name}: made by `python -m tests\.docs\.generated` -->)"
    return re.compile(rf"{start}\n(?P<table>.*?)\n?(?P<end><!-- end -->)", re.DOTALL)


if __name__ == "__main__":
    write()
