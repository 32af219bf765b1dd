"""What the insights worker, a process of its own, is told: one JSON object on its standard input."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from eddyline.adapters.kafka import KafkaOptions
from eddyline.settings import InsightsSettings


class ClusterConfig(BaseModel):
    """`KafkaOptions`, as it travels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bootstrap_servers: str
    prefix: str
    partitions: int
    replication_factor: int
    group_protocol: Literal["classic", "consumer"]
    client: Mapping[str, str]
    log_identity: str | None

    @classmethod
    def of(cls, options: KafkaOptions) -> ClusterConfig:
        """The same, to send."""
        return cls(**{name: getattr(options, name) for name in cls.model_fields})

    def options(self) -> KafkaOptions:
        """The same, received."""
        return KafkaOptions(**dict(self))


class WorkerConfig(BaseModel):
    """Where to read, where to keep what, and how to measure. It may hold secrets of the cluster: it is never logged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: ClusterConfig
    settings: InsightsSettings
    directory: Path
    """For the tables."""
    dead_letters: Path | None
    """For dead letters; None: their topics."""
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["console", "json"]
