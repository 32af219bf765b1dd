"""Sending dead letters again through a running Eddyline: the only way into an in-process broker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import httpx

from eddyline.adapters.kafka import Letter
from eddyline.errors import Unavailable
from eddyline.offline.dead_letters.restoring import IMPRESSIONS, INTERACTIONS, is_internal, json_object, restored
from eddyline.offline.intake import GOES_ON, Intake, decoded, in_path, said

BATCHES = {
    INTERACTIONS: ("/v1/events", "events"),
    IMPRESSIONS: ("/v1/events", "events"),
    "content": ("/v1/items", "items"),
    "availability": ("/v1/items/availability", "items"),
}
PATHS = {"content": "/v1/items/", "users": "/v1/users/"}


class _Call(NamedTuple):
    """A request for one letter, or (with `batch`) a part of one for several."""

    method: str
    path: str
    body: Any = None
    batch: str | None = None


class HttpDestination:
    """The collector that `intake` calls."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def send(self, letters: Sequence[Letter]) -> list[str | None]:
        """Events, items and availability in batches, everything else one by one."""
        calls = [_call(letter) for letter in letters]
        answers: list[str | None] = []
        for is_batch, run in groupby(calls, lambda call: isinstance(call, _Call) and call.batch is not None):
            if is_batch:
                answers += self._post([call for call in run if isinstance(call, _Call)])
            else:
                answers += [call if isinstance(call, str) else self._one(call) for call in run]
        return answers

    def refuses(self, letter: Letter) -> str | None:
        """What has no way in over HTTP."""
        call = _call(letter)
        return call if isinstance(call, str) else None

    def _post(self, calls: Sequence[_Call]) -> list[str | None]:
        response = self._intake.call(calls[0].method, calls[0].path, {calls[0].batch: [call.body for call in calls]})
        answer = decoded(response)
        if response.status_code in (202, 422) and "rejected" in answer:
            refused = {one["index"]: f"{one['field'] or 'body'}: {one['reason']}" for one in answer["rejected"]}
            return [refused.get(index) for index in range(len(calls))]
        refusal = _refusal(response)
        if len(calls) == 1:
            return [refusal]
        middle = len(calls) // 2  # too large, or one of them spoils it for all
        return self._post(calls[:middle]) + self._post(calls[middle:])

    def _one(self, call: _Call) -> str | None:
        response = self._intake.call(call.method, call.path, call.body)
        return None if response.status_code == 202 else _refusal(response)


def _call(letter: Letter) -> _Call | str:
    """What is to be asked for, or why nothing can be."""
    record = restored(letter.record)
    topic = record.topic
    if topic not in BATCHES and topic not in PATHS:
        return f"only Eddyline's own services write to {topic}"
    if record.value is None:
        name = _text(record.key)
        if topic not in PATHS or not name:
            return "a tombstone without a key that is an id" if topic in PATHS else f"{topic} has no tombstones"
        return _Call("DELETE", PATHS[topic] + in_path(name))
    body = json_object(record.value)
    if body is None:
        return "its value is not a JSON object"
    if is_internal(topic, body):
        return f"{body.get('type', 'served')!r} is only written by Eddyline's own services"
    if topic in BATCHES:
        path, batch = BATCHES[topic]
        return _Call("POST", path, body, batch)
    user_id = body.get("user_id", _text(record.key))
    if not isinstance(user_id, str) or not user_id:
        return "it names no user_id"
    return _Call("PUT", PATHS[topic] + in_path(user_id), body)


def _refusal(response: httpx.Response) -> str:
    """The reason of a refusal. Raises `Unavailable` for any other answer."""
    if response.status_code in (400, 413, 422):
        return said(response)
    raise Unavailable(f"{response.request.url} answered {response.status_code} ({said(response)}); {GOES_ON}")


def _text(data: bytes | None) -> str:
    """Empty where it is none."""
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        return ""
