"""Where a process listens, and which Kafka and Qdrant it works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from eddyline.settings.section import Count, Positive, Section


class ServerSettings(Section):
    """The HTTP side of any process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from, e.g. ["https://shop.example"]; none by default."""
    max_body_bytes: Count = 1_048_576
    """Largest request body accepted; a longer one is a 413."""
    max_batch: Count = 1000
    """Most events or items in one request."""
    max_in_flight_bytes: Count = 67_108_864
    """Most bytes taken in and not yet acknowledged by the broker; beyond, a 503. (Small events take about ten times as
    much memory.)"""

    @model_validator(mode="after")
    def _takes_a_whole_body(self) -> ServerSettings:
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise ValueError("max_in_flight_bytes must be at least max_body_bytes, or such a body could never be taken")
        return self


UNSAFE = {"acks", "request.required.acks", "enable.idempotence"}
"""Settings of librdkafka on which the promise of delivery rests."""


class KafkaSettings(Section):
    """The Kafka cluster. The embedded mode brings its own broker and ignores this section."""

    bootstrap_servers: str = ""
    """host:port of one or more brokers, comma-separated."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Prefix of every topic and group name, so that two deployments can share a cluster."""
    partitions: Count = 4
    """Partitions of each topic, fixed at `eddyline init`."""
    replication_factor: Count = 1
    """Replicas of each topic that `init` creates; 3 in production."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """Rebalance protocol; `consumer` is KIP-848."""
    client: Mapping[str, str] = {}
    """Further librdkafka settings, e.g. {"security.protocol" = "SASL_SSL", "sasl.password" = "…"}; not those that
    could lose acknowledged records (`acks`, `enable.idempotence`)."""
    batch_size: Count = 500
    """Most records that a consumer handles in one batch."""
    dead_letter_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A consumer stops when more than this share of its recent records were dead letters."""

    @field_validator("client")
    @classmethod
    def _keeps_its_promise(cls, client: Mapping[str, str]) -> Mapping[str, str]:
        if unsafe := sorted(client.keys() & UNSAFE):
            raise ValueError(f"{', '.join(unsafe)} can't be set: a record counts as written once all replicas have it")
        return client


class QdrantSettings(Section):
    """The Qdrant server. The embedded mode keeps Qdrant Edge in the data directory and ignores this section."""

    url: str = ""
    """REST address, e.g. http://qdrant:6333."""
    api_key: SecretStr | None = None
    """Sent as the `api-key` header."""
    timeout_seconds: Positive = 5.0
    """A call that takes longer counts as unavailable."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Prefix of both collections' names."""
