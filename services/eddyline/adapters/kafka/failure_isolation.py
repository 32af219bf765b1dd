"""Which record of a batch the handler fails at: tried again first, then looked for by halves.

A handler keeps its effects whole by itself: it is idempotent, and writes nothing of a batch that it raised over. So
the parts of a batch are as good as the batch, as long as they come in order.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Generic

import structlog

from eddyline.adapters.kafka.batch import FAILED, Batch, is_records_fault
from eddyline.adapters.kafka.contract import Handler, Message, Parsed, Record
from eddyline.errors import Unavailable

_LOG = structlog.get_logger("eddyline.kafka.loop")


class HandlerFailed(Unavailable):
    """The handler raised what may be a record's fault, and is tried again before that is looked into."""


class FailureIsolation(Generic[Parsed]):
    """Has the parts of a batch handled; the record that fails alone becomes a dead letter. For the loop's thread."""

    def __init__(
        self,
        handler: Handler[Parsed],
        batch: Batch[Parsed],
        put_dead_letter: Callable[[Record, str, Exception], None],
        tries: int,
    ) -> None:
        """`tries`: how often a batch is handled as it is before it is halved."""
        self._handler, self._batch, self._put_dead_letter, self._tries = handler, batch, put_dead_letter, tries
        self._failures = 0

    def handle(self, part: Sequence[Message[Parsed]]) -> None:
        """Have a part handled, or be taken on in smaller ones.

        Raises `HandlerFailed` to be called again after a back-off, `TooManyDeadLetters`, and the handler's errors that
        say nothing of a record.
        """
        try:
            self._handler.handle(part)
        except Exception as error:
            if not is_records_fault(error):
                raise
            self._failures += 1
            if self._failures < self._tries:
                raise HandlerFailed(describe_failure(error)) from error
            if len(part) > 1:
                self._batch.halve()
                return
            self._put_dead_letter(part[0].record, FAILED, error)
            self._batch.drop_failed(part[0], error)
        else:
            self._batch.part_handled(part)

    def tick(self) -> bool:
        """Have periodic work done; False where it failed by itself, which stops nothing: it is tried again."""
        try:
            self._handler.tick()
        except Exception as error:
            if not is_records_fault(error):
                raise
            _LOG.exception("periodic work failed; it will be tried again", handler=type(self._handler).__name__)
            return False
        return True

    def end_batch(self) -> None:
        """Count from zero again: within a batch, what follows a first failure isn't waited for."""
        self._failures = 0


def describe_failure(error: Exception) -> str:
    """What a dead letter says of an error that nobody raised on purpose."""
    return f"{type(error).__name__}: {error}"


def log_failure(group: str, record: Record, error: Exception) -> None:
    """Log which record failed, and where in the code: without the stack's values, which may be large, and personal."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _LOG.error(
        "a record that can't be handled became a dead letter",
        group=group,
        place=f"{record.topic}:{record.partition}:{record.offset}",
        error=describe_failure(error),
        raised_at=f"{frame.filename}:{frame.lineno} in {frame.name}",
    )
