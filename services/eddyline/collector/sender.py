"""What was read of a request goes to the broker: what is invalid is refused, the rest sent, and each acknowledgement
awaited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeAlias

import structlog
from fastapi import Response

from eddyline.adapters.http import InFlightLimit, json_response
from eddyline.adapters.http.problems import problem_response, retry_after_header
from eddyline.adapters.kafka import Outgoing, Producer, RecordMetadata
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.acknowledgements import Acknowledgements
from eddyline.collector.schemas import BODIES
from eddyline.errors import EddylineError, InvalidEvent, InvalidInput, Overloaded, TooLarge, Unavailable
from eddyline.model.events import LeftOut

log = structlog.get_logger("collector")

MAX_WARNINGS = 100
"""Warnings in one response: a small body may give cause for many."""
ReadOne: TypeAlias = Callable[[Any, list[LeftOut]], tuple[str, Outgoing]]
"""Makes an id and a record of one object, and names what it left out. Raises `InvalidEvent`."""
_FIELDS = frozenset(name for model in BODIES for name in model.model_fields)


class Sender:
    """Sends records, and makes the response."""

    def __init__(self, producer: Producer, metrics: Metrics, in_flight: InFlightLimit) -> None:
        self._producer, self._metrics, self._in_flight = producer, metrics, in_flight

    async def take(self, given: Sequence[Any], read: ReadOne, ignored: Mapping[str, int] = {}) -> Response:
        """Refuse what is invalid, send the rest. `ignored`: how often what came to nothing was sent, by its name."""
        if not given:
            return json_response({"accepted": 0, "rejected": [], "ids": [], "ignored": dict(ignored)}, 202)
        ids: list[str | None] = []
        outgoing: dict[int, Outgoing] = {}
        rejected: list[dict[str, Any]] = []
        warnings: list[dict[str, Any]] = []
        for index, one in enumerate(given):
            left_out: list[LeftOut] = []
            try:
                if isinstance(one, InvalidEvent):
                    raise one
                name, outgoing[index] = read(one, left_out)
                ids.append(name)
            except InvalidEvent as error:
                ids.append(None)
                rejected.append(self._rejection(index, error))
            else:
                warnings.extend(self._warnings(index, left_out))
        return await self._produce(outgoing, ids, rejected, warnings, ignored)

    async def take_alone(self, read: ReadOne, given: Any) -> Response:
        """Send the one object of a request. Raises `InvalidEvent`."""
        left_out: list[LeftOut] = []
        name, record = read(given, left_out)
        return await self._produce({0: record}, [name], [], self._warnings(0, left_out))

    async def send_one(self, name: str, record: Outgoing) -> Response:
        """Send a record that needs no reading; the response names it so."""
        return await self._produce({0: record}, [name], [], [])

    async def _produce(
        self,
        outgoing: Mapping[int, Outgoing],
        ids: list[str | None],
        rejected: list[dict[str, Any]],
        warnings: list[dict[str, Any]],
        ignored: Mapping[str, int] = {},
    ) -> Response:
        """Send, and wait for every acknowledgement; where some are missing, name those that are there. `outgoing` and
        `ids` by the place in the batch. Raises `Overloaded` when too much is in flight for all of it."""
        acknowledgements = Acknowledgements()
        refused: EddylineError | None = None
        sizes = {index: record.size for index, record in outgoing.items()}
        unsent = sum(sizes.values())
        self._in_flight.reserve(unsent)
        try:
            for index, record in outgoing.items():
                try:
                    sent = self._producer.send(record)
                except TooLarge as error:
                    if len(ids) == 1:
                        raise
                    ids[index] = None
                    rejected.append(self._rejection(index, error))
                except (Overloaded, Unavailable) as error:
                    refused = error
                    break
                else:
                    unsent -= sizes[index]
                    sent.add_done_callback(partial(self._settled, sizes[index]))
                    acknowledgements.add(index, sent)
        finally:
            self._in_flight.release(unsent)
        if not acknowledgements and refused is None:
            return _all_rejected(rejected)
        outcomes = await acknowledgements.wait()
        accepted = [index for index, failure in outcomes.items() if failure is None]
        failures = [failure for failure in outcomes.values() if failure is not None]
        self._count(outgoing[index].topic for index in accepted)
        unexpected = next((f for f in failures if not isinstance(f, Overloaded | Unavailable)), None)
        if unexpected is not None:
            raise unexpected
        if refused is None and not failures:
            answer: dict[str, Any] = {"accepted": len(accepted), "rejected": rejected, "ids": ids}
            further = {"warnings": warnings[:MAX_WARNINGS], "ignored": dict(ignored)}
            return json_response(answer | {name: value for name, value in further.items() if value}, 202)
        reason = refused or failures[0]
        acknowledged = [ids[index] for index in accepted]
        wait = reason.retry_after if isinstance(reason, Overloaded) else 1.0
        log.warning("refused", reason=str(reason), acknowledged=len(acknowledged), of=len(outgoing))
        return problem_response(
            503,
            f"{reason}; send the rest again",
            headers=retry_after_header(wait),
            accepted=len(acknowledged),
            acknowledged=acknowledged,
            rejected=rejected,
        )

    def _count(self, topics: Iterable[str]) -> None:
        """Count records that were acknowledged."""
        for topic, records in Counter(topics).items():
            self._metrics.accepted.labels(topic).inc(records)

    def _settled(self, size: int, _sent: Future[RecordMetadata]) -> None:
        self._in_flight.release(size)

    def _warnings(self, index: int, left_out: Sequence[LeftOut]) -> list[dict[str, Any]]:
        self._metrics.count_left_out(one.field for one in left_out)
        return [{"index": index, "field": one.field, "reason": f"{one.reason}: left out"} for one in left_out]

    def _rejection(self, index: int, error: InvalidInput) -> dict[str, Any]:
        self._metrics.rejected.labels(_metric_label(error.field)).inc()
        return {"index": index, "field": error.field, "reason": error.reason}


def _all_rejected(rejected: Sequence[Mapping[str, Any]]) -> Response:
    first = rejected[0]
    detail = f"{first['field']}: {first['reason']}" if first["field"] else first["reason"]
    return problem_response(422, detail, first["field"], accepted=0, rejected=rejected)


def _metric_label(field: str | None) -> str:
    """Return a field's name for a metric: only our own names, since anyone can send any."""
    name = (field or "body").split(".")[0]
    return name if name in _FIELDS or name == "body" else "unknown"
