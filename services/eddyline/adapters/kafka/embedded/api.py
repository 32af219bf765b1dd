"""What every kind of request has: its number, its versions, and how it is answered.

https://kafka.apache.org/protocol#protocol_api_keys
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from confluent_kafka import KafkaError

from eddyline.adapters.kafka.embedded.journal import Journal, JournalUnavailable
from eddyline.adapters.kafka.embedded.log_state import LogPartition, LogTopic
from eddyline.adapters.kafka.embedded.wire import RequestReader, ResponseWriter

Result = TypeVar("Result")

NO_ERROR = 0
UNKNOWN_TOPIC = KafkaError.UNKNOWN_TOPIC_OR_PART
STORAGE_ERROR = 56
"""KAFKA_STORAGE_ERROR: the disk failed; the client tries again."""
NODE = 1
"""The broker's id."""

Handle: TypeAlias = "Callable[[Request], Awaitable[ResponseWriter | None]]"
"""Answers a request; None: with nothing, as it asks for."""


@dataclass(frozen=True, slots=True)
class Api:
    """A kind of request. Versions from `flexible_from` on are in the compact encoding."""

    key: int
    max_version: int
    handle: Handle
    flexible_from: int = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """A request: its body, still to be read, and an empty response."""

    version: int
    client_id: str
    body: RequestReader
    response: ResponseWriter
    ended: asyncio.Event
    """Set once its connection has ended."""


def find(journal: Journal, topic: str, number: int) -> tuple[LogTopic | None, LogPartition | None]:
    """Find a topic and its partition; None for what isn't there."""
    found = journal.topics.get(topic)
    if found is None or not 0 <= number < len(found.partitions):
        return found, None
    return found, found.partitions[number]


async def written(change: Future[Result]) -> Result | None:
    """Wait until a change is on disk; return its result, or None where the disk doesn't take it."""
    try:
        return await asyncio.wrap_future(change)
    except JournalUnavailable:
        return None
