"""What the insights worker, a process of its own, is told: one JSON object on its standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from eddyline.adapters.kafka import KafkaOptions
from eddyline.settings import InsightsSettings


class WorkerConfig(BaseModel):
    """Where to read, where to keep what, and how to measure. It may hold secrets of the cluster: never log it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: KafkaOptions
    settings: InsightsSettings
    directory: Path
    """For the tables."""
    is_embedded: bool
    """Whether no other process runs a worker on this log."""
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["console", "json"]
