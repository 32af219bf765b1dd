"""The tour of a running Eddyline: a person's list, one click, the list after, and how long it took."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from eddyline.clients.client import Client
from eddyline.clients.sources import Source
from eddyline.errors import EddylineError, NotFound
from eddyline.model.events import parse_timestamp

MIN_EVENTS, MAX_EVENTS = 30, 120
"""Bounds of the number of events that the person of the tour has."""
AWAY_SECONDS = 6 * 3600.0
QUIET_SECONDS = 0.5
VISIBLE_WITHIN = 10.0


@dataclass(frozen=True, slots=True)
class Tour:
    """A tour that was taken. `milliseconds`: from the click's POST to the first answer that differs."""

    person: str
    clicked: dict[str, Any]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    milliseconds: float

    @property
    def entered(self) -> list[dict[str, Any]]:
        """List what is on the second list and wasn't on the first."""
        known = {item["item_id"] for item in self.before}
        return [item for item in self.after if item["item_id"] not in known]


def choose_person(source: Source) -> tuple[str, int]:
    """Choose the latest person with a good many events who has been away for some hours; return also their count."""
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
    regular = [user for user, count in counts.items() if MIN_EVENTS <= count <= MAX_EVENTS]
    away = [user for user in regular if last[user] <= end - AWAY_SECONDS]
    chosen = max(away or regular or list(counts), key=lambda user: (last[user], user))
    return chosen, counts[chosen]


def await_quiet(client: Client, person: str, events: int, within: float = 300.0) -> None:
    """Wait until the person's events are in the profile and no consumer is behind.

    Raises `EddylineError` past `within` seconds.
    """
    deadline, before = time.monotonic() + within, -1.0
    while time.monotonic() < deadline:
        handled, lag = _consumed(client.metrics())
        if _events_of(client, person) >= events and lag == 0 and handled == before:
            return
        before = handled
        time.sleep(QUIET_SECONDS)
    raise EddylineError(f"the imported events of person {person} aren't all handled after {within:g} s")


def _events_of(client: Client, person: str) -> int:
    try:
        return int(client.user(person)["events"])
    except NotFound:
        return 0


def _consumed(metrics: str) -> tuple[float, float]:
    """Count the records handled so far, and the records left, over all consumers."""
    totals = {"eddyline_consumer_records_total": 0.0, "eddyline_consumer_lag_records": 0.0}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name in totals:
                totals[sample.name] += sample.value
    return totals["eddyline_consumer_records_total"], totals["eddyline_consumer_lag_records"]


def take(client: Client, person: str) -> Tour:
    """Request a list, click on something that isn't on it, request again until the list differs."""
    before = recommend(client, person)
    clicked = _unlisted(client, person, before)
    listed = [item["item_id"] for item in before]
    event = {"type": "click", "user_id": person, "item_id": clicked["item_id"], "event_id": str(uuid.uuid4())}
    started = time.perf_counter()
    refused = client.send_events([event])
    if refused:
        raise EddylineError(f"the click was refused: {refused[0]}")
    while True:
        after = recommend(client, person)
        took = time.perf_counter() - started
        if [item["item_id"] for item in after] != listed:
            return Tour(person, clicked, before, after, took * 1000)
        if took > VISIBLE_WITHIN:
            raise EddylineError(f"the click on {clicked['title']!r} changed nothing within {VISIBLE_WITHIN:g} s")


def recommend(client: Client, person: str, limit: int = 10) -> list[dict[str, Any]]:
    """Request the person's list, explained."""
    return [dict(item) for item in client.recommend(user_id=person, limit=limit, explain=True)["items"]]


def _unlisted(client: Client, person: str, listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Choose the most popular item of a category that isn't on the list at all."""
    seen = set(client.user(person)["recents"]) | {item["item_id"] for item in listed}
    categories = {item["category"] for item in listed}
    trending = [dict(item) for item in client.trending("week", limit=100)["items"]]
    fresh = [item for item in trending if item["item_id"] not in seen]
    other = [item for item in fresh if item["category"] not in categories]
    if not fresh:
        raise EddylineError("the tour needs items that the person hasn't seen")
    return (other or fresh)[0]
