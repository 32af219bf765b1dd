"""The process in figures: its counters as they are, and as they were within the last hour.

A thread reads them every ten seconds, a small part of what /metrics takes; the newest 360 readings are kept. What
learned strategies weigh by is read every five minutes, and kept for a day.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

from eddyline.adapters.telemetry import Metrics

READ_SECONDS: Final = 10.0
KEPT: Final = 360
LIST_ROUTES: Final = (("POST", "/v1/recommendations"), ("GET", "/v1/users/{user_id}/recommendations"))
MAX_SERIES: Final = 200
"""Most partitions and reasons in a reading."""
WEIGHTS_EVERY: Final = 30
"""Readings after which weights are read."""
WEIGHTS_KEPT: Final = 288


def read_metrics(metrics: Metrics, at: float) -> dict[str, Any]:
    """Return the figures at `at` (epoch seconds): totals since the start of the process, and gauges.

    Histograms are `[[upper bound in seconds, how many at most that], …]`; the last bound, infinity, is None.
    """
    accepted = _by(metrics.accepted, "topic")
    lists, degraded = 0.0, 0.0
    for labels, value in _samples(metrics.recommendations):
        lists += value
        degraded += value if labels["degraded"].lower() == "true" else 0
    return {
        "at": at,
        "events": accepted.get("interactions", 0.0),
        "impressions": accepted.get("impressions", 0.0),
        "items": accepted.get("content", 0.0),
        "rejected": sum(_by(metrics.rejected, "field").values()),
        "lists": lists,
        "degraded": degraded,
        "dead_letters": sum(_by(metrics.dead_letters, "reason").values()),
        "folded": _by(metrics.folded, "").get("", 0.0),
        "visible": _buckets(metrics.visible_seconds),
        "list_seconds": _buckets(*(metrics.request_seconds.labels(*route) for route in LIST_ROUTES)),
        "lag": sum(value for _, value in _samples(metrics.lag)),
    }


def read_details(metrics: Metrics) -> dict[str, Any]:
    """Return what isn't kept: lag by partition, what is being retried, refusals by field, dead letters by reason,
    readings of feeds by outcome, CTR of the last minute."""
    lag = sorted(_samples(metrics.lag), key=lambda sample: -sample[1])[:MAX_SERIES]
    return {
        "lag": [{**labels, "records": value} for labels, value in lag],
        "retrying": sorted(group for group, value in _by(metrics.retrying, "group").items() if value),
        "rejected": _by(metrics.rejected, "field"),
        "dead_letters": _by(metrics.dead_letters, "reason"),
        "feeds": _by(metrics.feeds_read, "outcome"),
        "ctr": [{**labels, "ctr": value} for labels, value in _samples(metrics.insights["ctr"])][:MAX_SERIES],
    }


def read_weights(metrics: Metrics) -> dict[tuple[str, str, str], float]:
    """Return what learned strategies weigh by now, by strategy, visit and term."""
    return {
        (labels["strategy"], labels["visit"], labels["term"]): value for labels, value in _samples(metrics.blend_weight)
    }


class MetricsHistory:
    """Readings of the last hour. `close` ends its thread. `clock` in epoch seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics, self._clock = metrics, clock
        self._readings: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._weights: deque[tuple[float, dict[tuple[str, str, str], float]]] = deque(maxlen=WEIGHTS_KEPT)
        self._noted = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-history", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def read(self) -> dict[str, Any]:
        """Read now."""
        return read_metrics(self._metrics, self._clock())

    def details(self) -> dict[str, Any]:
        """Read now what isn't kept."""
        return read_details(self._metrics)

    def readings(self) -> list[dict[str, Any]]:
        """Return what was read, oldest first."""
        return list(self._readings)

    def weights(self) -> dict[str, Any]:
        """Return what learned strategies have weighed by, oldest first and now: `at` in epoch seconds, and a value for
        each in the `series` of a term; None before there was any."""
        readings = [*self._weights, (self._clock(), read_weights(self._metrics))]
        known = dict.fromkeys(key for _, weights in readings for key in weights)
        return {
            "at": [at for at, _ in readings],
            "series": [
                {
                    **dict(zip(("strategy", "visit", "term"), key, strict=True)),
                    "weights": [None if key not in weights else round(weights[key], 5) for _, weights in readings],
                }
                for key in known
            ],
        }

    def note(self) -> None:
        """Read, and keep it."""
        self._readings.append(self.read())
        if self._noted % WEIGHTS_EVERY == 0:
            self._weights.append((self._clock(), read_weights(self._metrics)))
        self._noted += 1

    def _run(self) -> None:
        self.note()
        while not self._stopping.wait(READ_SECONDS):
            self.note()


def _samples(metric: Counter | Gauge | Histogram) -> Iterable[tuple[Mapping[str, str], float]]:
    """Yield a metric's values, without when a counter began."""
    for family in metric.collect():
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                yield sample.labels, sample.value


def _by(metric: Counter | Gauge, label: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for labels, value in _samples(metric):
        found[labels.get(label, "")] += value
    return dict(found)


def _buckets(*histograms: Histogram) -> list[tuple[float | None, float]]:
    found: dict[float, float] = defaultdict(float)
    for one in histograms:
        for family in one.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    found[float(sample.labels["le"])] += sample.value
    return [(None if bound == float("inf") else bound, found[bound]) for bound in sorted(found)]
