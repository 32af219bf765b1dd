"""What is measured of served lists, and how long it is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eddyline.settings.section import Name, Positive, Section


class InsightsSettings(Section):
    """How what is served is measured."""

    report_served_lists: bool = True
    """Whether readers report what they serve. Needs Kafka: a reader without `kafka.bootstrap_servers` reports
    nothing."""
    enabled: bool = True
    """Whether `eddyline up` runs the insights service too; it needs `eddyline[insights]`."""
    clicks: Annotated[tuple[Name, ...], Field(min_length=1)] = ("view", "click")
    """Event types that count as a click on an item of a list."""
    conversions: Annotated[tuple[Name, ...], Field(min_length=1)] = ("purchase",)
    """Event types that count as a conversion; their `value` is the revenue."""
    attribution_hours: Positive = 24.0
    """How long after a list was served people's events can count for it."""
    lateness_minutes: Positive = 60.0
    """A record that reaches the log later than this after it happened isn't measured."""
    minute_retention_hours: Positive = 6.0
    """How long windows of a minute are kept."""
    hour_retention_days: Positive = 14.0
    """How long windows of an hour are kept."""
    day_retention_days: Annotated[float, Field(ge=9)] = 400.0
    """How long windows of a day are kept; at least nine days, so that people who come back on the seventh day still
    count."""
    flush_seconds: Positive = 1.0
    """How often measures are written."""
    settle_minutes: Positive = 10.0
    """How long to wait for a window's clicks after it has ended, before a guardrail judges its click-through rate or
    a gauge shows it."""
