"""Google Analytics 4's events: as the Measurement Protocol and Tag Manager send them, and as BigQuery has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from eddyline.errors import InvalidInput
from eddyline.model.trackers.tracked_event import (
    NOT_AN_OBJECT,
    TrackedEvent,
    first_text,
    number,
    text,
    tracked_messages,
)

_CLIENT = ("client_id", "app_instance_id", "user_pseudo_id")
_SESSION = ("session_id", "ga_session_id")


def ga4_messages(body: Any, now: float) -> list[TrackedEvent]:
    """Read a body of the Measurement Protocol (`{client_id, events: [{name, params}]}`), or events as Tag Manager has
    them, one or a list: of its server container (`{event_name, client_id, items, …}`), or of the data layer
    (`{event, ecommerce: {items}}`).

    `now` in epoch seconds: when those happened that say nothing of it. Raises `InvalidInput`.
    """
    if isinstance(body, list):
        return [one for event in tracked_messages(body, "body") for one in _of_body(event, now)]
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object, or a list of such", "body")
    return _of_body(body, now)


def _of_body(body: Any, now: float) -> list[TrackedEvent]:
    if not isinstance(body, dict):
        return [TrackedEvent(NOT_AN_OBJECT, {})]
    given = [body] if body.get("events") is None else tracked_messages(body["events"], "events")
    alike = Counter[tuple[Any, ...]]()
    tracked: list[TrackedEvent] = []
    for event in given:
        if not isinstance(event, dict):
            tracked.append(TrackedEvent(NOT_AN_OBJECT, {}))
            continue
        params = event.get("params")
        properties = params if isinstance(params, dict) else event
        name = first_text(event, ("name", "event_name", "event")) or "(none)"
        micros = number(event.get("timestamp_micros") or body.get("timestamp_micros"))
        ordinal = alike[(name, micros)]
        alike[(name, micros)] += 1
        tracked.append(_event(name, properties, body, micros, ordinal, now))
    return tracked


def _event(
    name: str,
    properties: Mapping[str, Any],
    body: Mapping[str, Any],
    micros: float | None,
    ordinal: int,
    now: float,
) -> TrackedEvent:
    """`ordinal`: among events of the same name and time of one body."""
    client = first_text(body, _CLIENT) or first_text(properties, _CLIENT)
    user = text(body.get("user_id")) or text(properties.get("user_id"))
    session = first_text(properties, _SESSION) or first_text(body, _SESSION)
    made = None if micros is None else f"ga4:{client or user}:{micros:.0f}:{name}" + (f":{ordinal}" if ordinal else "")
    return TrackedEvent(
        name,
        properties,
        user,
        client,
        None if session is None else f"{client}.{session}",
        micros / 1e6 if micros is not None else now,
        text(properties.get("event_id")) or made,
    )


def ga4_row(row: Mapping[str, Any]) -> TrackedEvent:
    """Read a row of the BigQuery export."""
    parameters = _parameters(row)
    micros = number(row.get("event_timestamp"))
    person, session = text(row.get("user_pseudo_id")), parameters.get("ga_session_id")
    listed, ecommerce = row.get("items"), row.get("ecommerce")
    properties = {**parameters, "ecommerce": ecommerce}
    if isinstance(listed, list) and listed:
        properties["items"] = listed
    return TrackedEvent(
        str(row.get("event_name")),
        properties,
        text(row.get("user_id")),
        person,
        None if session is None else f"{person}.{session}",
        None if micros is None else micros / 1e6,
        f"ga4:{person}:{row.get('event_timestamp')}:{row.get('event_name')}",
    )


def _parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a row by name."""
    listed, found = row.get("event_params"), dict[str, Any]()
    for one in listed if isinstance(listed, list) else []:
        value = one.get("value") if isinstance(one, dict) else None
        if isinstance(value, dict):
            found[str(one.get("key"))] = next((part for part in value.values() if part is not None), None)
    return found
