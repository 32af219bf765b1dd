"""The Kafka cluster and its consumers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from eddyline.settings.section import Count, Secret, Section

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
    signing_secrets: tuple[Secret, ...] = ()
    """Secrets of the services alone. The first signs what only they may write to `interactions` (erasures, transfers,
    forwarded events, …), and what none of them has signed is a dead letter. At least 32 characters each."""
    accept_unsigned: bool = False
    """Take such records without a signature, too: while signing is introduced, or to read a log from before it."""
    batch_size: Count = 500
    """Most records that a consumer handles in one batch. Affinity, which gets several for each event, has as many times
    more."""
    dead_letter_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A consumer stops when more than this share of its recent records were dead letters."""

    @field_validator("client")
    @classmethod
    def _keeps_its_promise(cls, client: Mapping[str, str]) -> Mapping[str, str]:
        if unsafe := sorted(client.keys() & UNSAFE):
            raise ValueError(f"{', '.join(unsafe)} can't be set: a record counts as written once all replicas have it")
        return client
