"""The outcomes of records that are sent together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from eddyline.adapters.kafka.contract import RecordMetadata
from eddyline.errors import EddylineError, Unavailable

DeliveryReport: TypeAlias = RecordMetadata | EddylineError
"""Where the broker put a record, or why it didn't."""


class DeliveryReports:
    """Collects `count` outcomes, in any order and from any thread.

    Waiting for all of them is one wake-up; with a future for each record it would be `count`, which cost more than
    sending them.
    """

    def __init__(self, count: int) -> None:
        self._outcomes: list[DeliveryReport | None] = [None] * count
        self._settled: list[int] = []  # its append is atomic: no lock for every record
        self._complete = threading.Event()
        if count == 0:
            self._complete.set()

    def slot(self, index: int) -> Callable[[DeliveryReport], None]:
        """Return what must be called once with the outcome of that record."""
        return partial(self._settle, index)

    def wait(self, seconds: float) -> list[RecordMetadata]:
        """Wait for all of them. Raises the first that is an error, and `Unavailable` after `seconds`."""
        if not self._complete.wait(seconds):
            raise Unavailable("Kafka acknowledged nothing in time")
        delivered: list[RecordMetadata] = []
        for outcome in self._outcomes:
            if isinstance(outcome, EddylineError):
                raise outcome
            assert outcome is not None
            delivered.append(outcome)
        return delivered

    def _settle(self, index: int, outcome: DeliveryReport) -> None:
        self._outcomes[index] = outcome
        self._settled.append(index)
        if len(self._settled) == len(self._outcomes):
            self._complete.set()
