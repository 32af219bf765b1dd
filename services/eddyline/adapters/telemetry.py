"""Metrics and logs. Every metric is declared here, once, with its help text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from functools import partial
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.dev import plain_traceback
from structlog.processors import JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer

from eddyline.settings import mask_credentials

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LATENCY = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_DIMENSIONS = ("surface", "strategy", "experiment", "variant")
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
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        latency = partial(Histogram, buckets=_LATENCY, registry=self.registry)
        self.requests = counter(
            "eddyline_http_requests_total",
            "HTTP requests answered, by the name of their key where there is one",
            ("method", "route", "status", "key"),
        )
        self.request_seconds = latency(
            "eddyline_http_request_seconds", "Time to answer an HTTP request", ("method", "route")
        )
        self.refused = counter(
            "eddyline_http_refused_total",
            "Requests and connections refused before a route saw them, by the limit that they exceeded",
            ("limit",),
        )
        self.unfinished = gauge("eddyline_http_unfinished_bytes", "Bytes of request bodies that haven't come whole")
        self.keys_refused = gauge(
            "eddyline_http_keys_refused", "1 while a changed file of keys is refused: the previous keys stay in force"
        )
        self.accepted = counter("eddyline_collector_accepted_total", "Records acknowledged by the broker", ("topic",))
        self.rejected = counter("eddyline_collector_rejected_total", "Events refused as invalid", ("field",))
        self.left_out = counter(
            "eddyline_left_out_total", "Values of optional fields that couldn't be right and were left out", ("field",)
        )
        self.outdated = counter(
            "eddyline_embedder_outdated_total",
            "Items whose newer state was written again, since an older one came after it",
            ("topic",),
        )
        self.feeds_read = counter("eddyline_feeds_read_total", "Readings of feeds, by what they came to", ("outcome",))
        self.feed_items = counter("eddyline_feeds_items_total", "Items of feeds, by what became of them", ("outcome",))
        self.in_flight = gauge(
            "eddyline_collector_in_flight_bytes", "Bytes taken in over HTTP and not yet acknowledged by the broker"
        )
        self.records = counter("eddyline_consumer_records_total", "Records handled and committed", ("group", "topic"))
        self.dead_letters = counter(
            "eddyline_dead_letters_total", "Records that became dead letters", ("group", "topic", "reason")
        )
        self.tick_failures = counter(
            "eddyline_consumer_tick_failures_total", "Periodic work that failed, and is tried again", ("group",)
        )
        self.batch_seconds = latency("eddyline_consumer_batch_seconds", "Time to handle one batch", ("group",))
        self.retrying = gauge(
            "eddyline_consumer_retrying",
            "1 while a batch is being retried, because something is unavailable",
            ("group",),
        )
        self.retries = counter(
            "eddyline_consumer_retries_total",
            "Attempts at a batch that failed because something was unavailable",
            ("group",),
        )
        self.lag = gauge("eddyline_consumer_lag_records", "Records not yet handled", ("group", "topic", "partition"))
        self.embedded = counter("eddyline_embedder_embedded_total", "Items embedded")
        self.unchanged = counter("eddyline_embedder_unchanged_total", "Items whose text had not changed")
        self.truncated = counter("eddyline_encoder_truncated_total", "Texts too long to be embedded whole")
        self.encoder_cached = counter("eddyline_encoder_cached_total", "Texts whose vectors came from the cache")
        self.encoder_tokens = counter("eddyline_encoder_tokens_total", "Tokens counted by the endpoint")
        self.encoder_failures = counter(
            "eddyline_encoder_failures_total",
            "Failed requests to an encoder's endpoint that may be retried, by status, timeout or unreachable",
            ("reason",),
        )
        self.images = counter(
            "eddyline_imager_images_total",
            "Attempts at images, by result: ready, refused, failed, or pending (another will follow)",
            ("state",),
        )
        self.folded = counter("eddyline_profiler_folded_total", "Interactions folded into profiles")
        self.repeated = counter(
            "eddyline_profiler_repeated_total", "Records skipped because they were folded before", ("by",)
        )
        self.shed = counter(
            "eddyline_profiler_shed_total",
            "Entries that profiles too large to be written or handed over have shed: seen items, pending interactions",
            ("what",),
        )
        self.waiting = gauge("eddyline_profiler_waiting", "Items that pending interactions of this process wait for")
        self.visible_seconds = latency(
            "eddyline_profiler_visible_seconds",
            "Time from an interaction's broker timestamp until its profile is durable",
        )
        self.learnt = counter("eddyline_affinity_learnt_total", "Activities that items have learnt from")
        self.choices = counter("eddyline_affinity_choices_total", "Choices that learned strategies have learnt from")
        self.blend_loss = gauge(
            "eddyline_blend_loss",
            "Mean loss of late choices in nats, before they are learnt from: by learned weights, by shipped ones",
            ("strategy", "weights"),
        )
        self.blend_weight = gauge(
            "eddyline_blend_weight",
            "What learned strategies weigh by now, over all partitions: in a running visit, and in its first list",
            ("strategy", "visit", "term"),
        )
        self.seeded = counter("eddyline_affinity_seeded_total", "Items whose rows were seeded from similar ones")
        self.recommendations = counter(
            "eddyline_reader_recommendations_total", "Recommendation lists served", ("cold_start", "degraded")
        )
        self.catalogue_items = counter(
            "eddyline_reader_catalogue_items_total",
            "Items that lists needed, by where they came from: the reader's cache, or the store",
            ("source",),
        )
        self.shown = counter("eddyline_reader_shown_total", "Items of served lists that were reported to the profiles")
        self.shown_dropped = counter(
            "eddyline_reader_shown_dropped_total",
            "Items of served lists that were not reported to the profiles: too many at once (full), "
            "or refused (broker)",
            ("reason",),
        )
        self.impressions = counter("eddyline_reader_impressions_total", "Served lists reported for measuring")
        self.impressions_dropped = counter(
            "eddyline_reader_impressions_dropped_total",
            "Served lists not reported for measuring: too many at once (full), refused (broker), or invalid",
            ("reason",),
        )
        self.insights_restarts = counter("eddyline_insights_restarts_total", "Restarts of the insights worker")
        self.insights = {
            name: gauge(f"eddyline_insights_{name}", f"{text}, in the last settled minute", _DIMENSIONS)
            for name, text in _INSIGHTS.items()
        }
        self.insights_window = gauge(
            "eddyline_insights_window_start_seconds", "Start of the minute that the insights gauges describe (epoch)"
        )
        self.insights_behind = gauge(
            "eddyline_insights_behind_seconds",
            "How far the measures are behind: everything sent before then is in them",
        )
        self.insights_stopped = gauge(
            "eddyline_insights_stopped", "1 where a guardrail has stopped the variant", ("experiment", "variant")
        )
        self.experiments_refused = gauge(
            "eddyline_reader_experiments_refused",
            "1 while a changed experiments file is refused: the previous experiments stay in force",
        )
        self.verdicts_ignored = counter(
            "eddyline_reader_verdicts_ignored_total", "Unreadable records on the topic verdicts"
        )

    def count_left_out(self, fields: Iterable[str]) -> None:
        """Count values that were left out, by their dotted fields, which begin with names of our own."""
        for field in fields:
            self.left_out.labels(field.partition(".")[0]).inc()

    def render(self) -> bytes:
        """Return all of them in the Prometheus text format."""
        return generate_latest(self.registry)


def configure_logging(level: str, form: Literal["console", "json"]) -> None:
    """Send every log line to standard error, as text for people or as one JSON object a line.

    Tracebacks come without the values of variables: those hold what people did, and keys. The passwords of URLs are
    masked.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mask_credentials,
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


def _mask_credentials(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: mask_credentials(value) if isinstance(value, str) else value for name, value in event.items()}
