"""Metrics and logs. Every metric is declared here, once, with its help text."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.dev import plain_traceback
from structlog.processors import JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WHOSE = ("surface", "strategy", "experiment", "variant")
_INSIGHTS = {
    "requests": "Lists served",
    "impressions": "Items seen",
    "clicks": "Items of lists clicked",
    "ctr": "Clicks per impression",
    "conversions": "Conversions of items of lists",
    "revenue": "Value of these conversions",
    "people": "Distinct people served (estimate)",
    "dwell_ms": "Mean dwell time on items of lists, in milliseconds",
    "empty_share": "Share of lists without any item",
    "degraded_share": "Share of lists from a cache",
    "latency_p95": "95th percentile of the milliseconds to make a list",
}


class Metrics:
    """All metrics of one process, in a registry of their own (so that tests don't share them)."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "eddyline_http_requests_total",
            "HTTP requests answered",
            ("method", "route", "status"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "eddyline_http_request_seconds",
            "Time to answer an HTTP request",
            ("method", "route"),
            buckets=_LATENCY,
            registry=registry,
        )
        self.accepted = Counter(
            "eddyline_collector_accepted_total", "Records acknowledged by the broker", ("topic",), registry=registry
        )
        self.rejected = Counter(
            "eddyline_collector_rejected_total", "Events refused as invalid", ("field",), registry=registry
        )
        self.in_flight = Gauge(
            "eddyline_collector_in_flight_bytes",
            "Bytes taken in over HTTP and not yet acknowledged by the broker",
            registry=registry,
        )
        self.records = Counter(
            "eddyline_consumer_records_total", "Records handled and committed", ("group", "topic"), registry=registry
        )
        self.dead_letters = Counter(
            "eddyline_dead_letters_total",
            "Records that became dead letters",
            ("group", "topic", "reason"),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "eddyline_consumer_batch_seconds",
            "Time to handle one batch",
            ("group",),
            buckets=_LATENCY,
            registry=registry,
        )
        self.retrying = Gauge(
            "eddyline_consumer_retrying",
            "1 while a batch is being retried, because something is unavailable",
            ("group",),
            registry=registry,
        )
        self.retries = Counter(
            "eddyline_consumer_retries_total",
            "Attempts at a batch that failed because something was unavailable",
            ("group",),
            registry=registry,
        )
        self.lag = Gauge(
            "eddyline_consumer_lag_records",
            "Records not yet handled",
            ("group", "topic", "partition"),
            registry=registry,
        )
        self.embedded = Counter("eddyline_embedder_embedded_total", "Items embedded", registry=registry)
        self.unchanged = Counter(
            "eddyline_embedder_unchanged_total", "Items whose text had not changed", registry=registry
        )
        self.truncated = Counter(
            "eddyline_encoder_truncated_total", "Texts too long to be embedded whole", registry=registry
        )
        self.encoder_cached = Counter(
            "eddyline_encoder_cached_total", "Texts whose vectors came from the cache", registry=registry
        )
        self.encoder_tokens = Counter(
            "eddyline_encoder_tokens_total", "Tokens counted by the endpoint", registry=registry
        )
        self.encoder_failures = Counter(
            "eddyline_encoder_failures_total",
            "Failed requests to an encoder's endpoint that may be retried, by status, timeout or unreachable",
            ("reason",),
            registry=registry,
        )
        self.images = Counter(
            "eddyline_imager_images_total",
            "Attempts at images, by result: ready, refused, failed, or pending (another will follow)",
            ("state",),
            registry=registry,
        )
        self.folded = Counter("eddyline_profiler_folded_total", "Interactions folded into profiles", registry=registry)
        self.repeated = Counter(
            "eddyline_profiler_repeated_total",
            "Records skipped because they were folded before",
            ("by",),
            registry=registry,
        )
        self.waiting = Gauge(
            "eddyline_profiler_waiting", "Items that pending interactions of this process wait for", registry=registry
        )
        self.visible_seconds = Histogram(
            "eddyline_profiler_visible_seconds",
            "Time from an interaction's broker timestamp until its profile is durable",
            buckets=_LATENCY,
            registry=registry,
        )
        self.learnt = Counter(
            "eddyline_affinity_learnt_total", "Activities that items have learnt from", registry=registry
        )
        self.seeded = Counter(
            "eddyline_affinity_seeded_total", "Items whose rows were seeded from similar ones", registry=registry
        )
        self.recommendations = Counter(
            "eddyline_reader_recommendations_total",
            "Recommendation lists served",
            ("cold_start", "degraded"),
            registry=registry,
        )
        self.shown = Counter(
            "eddyline_reader_shown_total", "Items of served lists that were reported to the profiles", registry=registry
        )
        self.shown_dropped = Counter(
            "eddyline_reader_shown_dropped_total",
            "Items of served lists that were not reported to the profiles: too many at once (full), "
            "or refused (broker)",
            ("reason",),
            registry=registry,
        )

        self.impressions = Counter(
            "eddyline_reader_impressions_total", "Served lists reported for measuring", registry=registry
        )
        self.impressions_dropped = Counter(
            "eddyline_reader_impressions_dropped_total",
            "Served lists not reported for measuring: too many at once (full), refused (broker), or invalid",
            ("reason",),
            registry=registry,
        )
        self.insights_restarts = Counter(
            "eddyline_insights_restarts_total",
            "Restarts of the insights worker",
            registry=registry,
        )

        self.insights = {
            name: Gauge(f"eddyline_insights_{name}", f"{text}, in the last settled minute", _WHOSE, registry=registry)
            for name, text in _INSIGHTS.items()
        }
        self.insights_window = Gauge(
            "eddyline_insights_window_start_seconds",
            "Start of the minute that the insights gauges describe (epoch)",
            registry=registry,
        )
        self.insights_behind = Gauge(
            "eddyline_insights_behind_seconds",
            "How far the measures are behind: everything sent before then is in them",
            registry=registry,
        )
        self.insights_stopped = Gauge(
            "eddyline_insights_stopped",
            "1 where a guardrail has stopped the variant",
            ("experiment", "variant"),
            registry=registry,
        )
        self.experiments_refused = Gauge(
            "eddyline_reader_experiments_refused",
            "1 while a changed experiments file is refused: the previous experiments stay in force",
            registry=registry,
        )
        self.verdicts_ignored = Counter(
            "eddyline_reader_verdicts_ignored_total", "Unreadable records on the topic verdicts", registry=registry
        )

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class PrometheusLoopMetrics:
    """What consume loops count, as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def records(self, group: str, topic: str, count: int) -> None:
        """So many were handled and committed."""
        self._metrics.records.labels(group, topic).inc(count)

    def dead_letter(self, group: str, topic: str, reason: str) -> None:
        """One was set aside."""
        self._metrics.dead_letters.labels(group, topic, reason).inc()

    def batch_seconds(self, group: str, seconds: float) -> None:
        """A batch was handled."""
        self._metrics.batch_seconds.labels(group).observe(seconds)

    def lag(self, group: str, topic: str, partition: int, records: int) -> None:
        """So many are still to be handled."""
        self._metrics.lag.labels(group, topic, partition).set(records)

    def retrying(self, group: str, retrying: bool) -> None:
        """Retrying began or ended."""
        self._metrics.retrying.labels(group).set(retrying)

    def retry(self, group: str) -> None:
        """An attempt failed."""
        self._metrics.retries.labels(group).inc()


def configure_logging(level: str, form: Literal["console", "json"]) -> None:
    """Send every log line to standard error, as text for people or as one JSON object a line.

    Tracebacks come without the values of variables: those hold what people did, and keys.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor] = (
        [structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)), JSONRenderer()]
        if form == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True
    )
