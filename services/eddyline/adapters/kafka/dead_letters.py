"""Where records go that can never be applied: a topic beside their own, or a file."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import orjson

from eddyline.adapters.kafka.contract import Outgoing, Producer, Record

PREFIX = "eddyline-dlq-"


class TopicDeadLetters:
    """Dead letters in `<topic>.dlq`: the original key, value and headers, then `eddyline-dlq-*` headers.

    `-reason`, `-detail`, `-topic`, `-partition`, `-offset`, `-timestamp` and `-attempt` are UTF-8 text. A
    record without a key keeps its place by an empty one.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Keep `record`; returns when the broker has acknowledged it. Raises `Unavailable` when it
        doesn't."""
        why = _why(record, reason, detail, attempt).items()
        headers = (*record.headers, *((PREFIX + name, text.encode()) for name, text in why))
        letter = Outgoing(f"{record.topic}.dlq", record.key or b"", record.value, headers)
        self._producer.send_all([letter])


class FileDeadLetters:
    """Dead letters in `<directory>/<topic>.jsonl`, one JSON object a line, the bytes in base64.

    Safe for several threads of one process; every line is on the disk before `put` returns.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, record: Record, reason: str, detail: str, attempt: int = 1) -> None:
        """Keep `record`. Raises `OSError` when the disk refuses, which stops the service."""
        line = orjson.dumps(
            {
                **_why(record, reason, detail, attempt),
                "key": _base64(record.key),
                "value": _base64(record.value),
                "headers": [[name, _base64(value)] for name, value in record.headers],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        path = self._directory / f"{record.topic}.jsonl"
        new = not path.exists()
        # One O_APPEND write a line, so that threads never interleave.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            _sync_directory(self._directory)


def _why(record: Record, reason: str, detail: str, attempt: int) -> dict[str, str]:
    return {
        "reason": reason,
        "detail": detail,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "attempt": str(attempt),
    }


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
