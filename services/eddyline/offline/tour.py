"""The tour: a person's list, one click, the list after, what changed, why, and how long it took. Over HTTP alone."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eddyline.errors import EddylineError
from eddyline.model.events import parse_timestamp
from eddyline.offline.importing import Source

FEWEST, MOST = 30, 120
"""How many ratings the person of the tour shall have."""
AWAY_SECONDS = 6 * 3600.0
QUIET_SECONDS = 0.5
VISIBLE_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Tour:
    """What was seen. `milliseconds`: from the click's POST to the first answer that differs."""

    person: str
    clicked: dict[str, Any]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    milliseconds: float

    @property
    def entered(self) -> list[dict[str, Any]]:
        """What is on the second list and wasn't on the first."""
        known = {item["item_id"] for item in self.before}
        return [item for item in self.after if item["item_id"] not in known]


def choose_person(source: Source) -> tuple[str, int]:
    """Someone with a good many events who hasn't been here for some hours, and how many events: the last such one."""
    counts: Counter[str] = Counter()
    last: dict[str, float] = {}
    for line in source.events():
        user = line.value.get("user_id")
        if user is not None:
            counts[user] += 1
            last[user] = max(last.get(user, 0.0), parse_timestamp(line.value.get("timestamp", 0)))
    if not counts:
        raise EddylineError("the tour needs events of signed-in people")
    end = max(last.values())
    regular = [user for user, count in counts.items() if FEWEST <= count <= MOST]
    away = [user for user in regular if last[user] <= end - AWAY_SECONDS]
    chosen = max(away or regular or list(counts), key=lambda user: (last[user], user))
    return chosen, counts[chosen]


def await_quiet(client: httpx.Client, person: str, events: int, within: float = 300.0) -> None:
    """Until the person's events are folded and no consumer has anything left to do.

    Raises `EddylineError` past `within` seconds.
    """
    deadline, before = time.monotonic() + within, -1.0
    while time.monotonic() < deadline:
        known = client.get(f"/v1/users/{person}")
        handled, lag = _consumed(client.get("/metrics").text)
        if known.status_code == 200 and known.json()["events"] >= events and lag == 0 and handled == before:
            return
        before = handled
        time.sleep(QUIET_SECONDS)
    raise EddylineError(f"the imported events of person {person} aren't all handled after {within:g} s")


def _consumed(metrics: str) -> tuple[float, float]:
    """Records handled so far, and records left, over all consumers."""
    totals = {"eddyline_consumer_records_total": 0.0, "eddyline_consumer_lag_records": 0.0}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name in totals:
                totals[sample.name] += sample.value
    return totals["eddyline_consumer_records_total"], totals["eddyline_consumer_lag_records"]


def take(client: httpx.Client, person: str) -> Tour:
    """Ask, click on something that isn't listed, ask until the answer differs."""
    before = recommend(client, person)
    clicked = _unlisted(client, person, before)
    listed = [item["item_id"] for item in before]
    event = {"type": "click", "user_id": person, "item_id": clicked["item_id"], "event_id": str(uuid.uuid4())}
    started = time.perf_counter()
    response = client.post("/v1/events", json=event)
    response.raise_for_status()
    while True:
        after = recommend(client, person)
        took = time.perf_counter() - started
        if [item["item_id"] for item in after] != listed:
            return Tour(person, clicked, before, after, took * 1000)
        if took > VISIBLE_WITHIN:
            raise EddylineError(f"the click on {clicked['title']!r} changed nothing within {VISIBLE_WITHIN:g} s")


def recommend(client: httpx.Client, person: str, limit: int = 10) -> list[dict[str, Any]]:
    """The person's list, explained."""
    response = client.get(f"/v1/users/{person}/recommendations", params={"limit": limit, "explain": True})
    response.raise_for_status()
    items: list[dict[str, Any]] = response.json()["items"]
    return items


def _unlisted(client: httpx.Client, person: str, listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The most popular item of a category that isn't on the list at all."""
    seen = set(client.get(f"/v1/users/{person}").json()["recents"]) | {item["item_id"] for item in listed}
    categories = {item["category"] for item in listed}
    trending = client.get("/v1/trending", params={"limit": 100, "window": "week"}).json()["items"]
    fresh = [item for item in trending if item["item_id"] not in seen]
    other = [item for item in fresh if item["category"] not in categories]
    if not fresh:
        raise EddylineError("the tour needs items that the person hasn't seen")
    chosen: dict[str, Any] = (other or fresh)[0]
    return chosen


def show(tour: Tour, console: Console) -> None:
    """Print the tour for people."""
    known = {item["item_id"]: item["rank"] for item in tour.before}
    table = Table(title=f"Top {len(tour.before)} of person {tour.person}", title_justify="left", expand=False)
    table.add_column("#", justify="right")
    table.add_column("before")
    table.add_column("after one click")
    table.add_column("")
    for old, new in zip(tour.before, tour.after, strict=False):
        rank = known.get(new["item_id"])
        moved = "new" if rank is None else "" if rank == new["rank"] else f"was {rank}"
        table.add_row(
            str(new["rank"]),
            escape(old["title"]),
            f"[bold green]{escape(new['title'])}[/]" if rank is None else escape(new["title"]),
            moved,
        )
    console.print()
    console.print(table)
    clicked = tour.clicked
    console.print(
        f"The click: [bold]{escape(clicked['title'])}[/] ({escape(str(clicked['category']))}), not listed before."
    )
    for item in tour.entered:
        terms = ", ".join(f"{name} {value:.2f}" for name, value in item["scores"].items() if value >= 0.005)
        console.print(f"  + {escape(item['title'])}: {item['because']} ({terms})")
    console.print(
        f"From the click's POST to the changed answer: [bold]{tour.milliseconds:.0f} ms[/] "
        "(HTTP → Kafka protocol → profiler → Qdrant engine → HTTP)."
    )


def curl_commands(url: str, tour: Tour) -> list[str]:
    """Three commands to try."""
    item = tour.entered[0] if tour.entered else tour.after[0]
    event = f'{{"type": "click", "user_id": "{tour.person}", "item_id": "{item["item_id"]}"}}'
    return [
        f"curl -s '{url}/v1/users/{tour.person}/recommendations?limit=5&explain=true'",
        f"curl -s -X POST '{url}/v1/events' -H 'Content-Type: application/json' -d '{event}'",
        f"curl -s '{url}/v1/items/{item['item_id']}/similar?limit=5'",
    ]
