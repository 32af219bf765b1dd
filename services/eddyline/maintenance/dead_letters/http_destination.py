"""Sending dead letters again through a running Eddyline: the only way into an in-process broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeAlias

from eddyline.adapters.kafka import DeadLetter
from eddyline.clients import Client
from eddyline.clients.progress import resumable
from eddyline.errors import InvalidInput
from eddyline.maintenance.dead_letters.restored_record import is_internal, json_object, restore_record
from eddyline.model.ids import Person
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS, USERS

Call: TypeAlias = dict[str, Any] | Callable[[], None] | str
"""How a letter is sent: in a batch, as this body; by a call of its own; or not at all, for this reason."""


class HttpDestination:
    """The collector of a running Eddyline, reached by `client`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._batches = {
            INTERACTIONS: client.send_events,
            IMPRESSIONS: client.send_events,
            CONTENT: client.put_items,
            AVAILABILITY: client.set_availability,
        }
        self._deletions = {CONTENT: client.delete_item, USERS: lambda user_id: client.erase(Person("u", user_id))}

    def send(self, letters: Sequence[DeadLetter]) -> list[str | None]:
        """Send events, items and availability in batches, everything else one by one."""
        answers: list[str | None] = []
        with resumable():
            for is_batch, run in groupby(map(self._call, letters), lambda call: isinstance(call, dict)):
                if is_batch:
                    bodies = [call for call in run if isinstance(call, dict)]
                    refused = self._batches[letters[0].record.topic](bodies)
                    answers += [str(refused[index]) if index in refused else None for index in range(len(bodies))]
                else:
                    answers += [_refusal(call) for call in run if not isinstance(call, dict)]
        return answers

    def refuses(self, letter: DeadLetter) -> str | None:
        """Say why a letter has no way in over HTTP."""
        call = self._call(letter)
        return call if isinstance(call, str) else None

    def _call(self, letter: DeadLetter) -> Call:
        record = restore_record(letter.record)
        topic = record.topic
        if topic not in self._batches and topic not in self._deletions:
            return f"only Eddyline's own services write to {topic}"
        if record.value is None:
            if topic not in self._deletions:
                return f"{topic} has no tombstones"
            name = _text(record.key)
            if not name:
                return "a tombstone without a key that is an id"
            return partial(self._deletions[topic], name)
        body = json_object(record.value)
        if body is None:
            return "its value is not a JSON object"
        if is_internal(topic, body):
            return f"{body.get('type', 'served')!r} is only written by Eddyline's own services"
        if topic in self._batches:
            return body
        user_id = body.get("user_id", _text(record.key))
        if not isinstance(user_id, str) or not user_id:
            return "it names no user_id"
        return partial(self._client.put_user, user_id, body)


def _refusal(call: Callable[[], None] | str) -> str | None:
    if isinstance(call, str):
        return call
    try:
        call()
    except InvalidInput as error:
        return str(error)
    return None


def _text(data: bytes | None) -> str:
    """Empty where it is none."""
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        return ""
