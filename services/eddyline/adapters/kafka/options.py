"""What the adapter can be told: where the cluster is, and how a consume loop behaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import KafkaError

LIBRARY_LOG = logging.getLogger("eddyline.kafka.librdkafka")
"""Where librdkafka's own lines go, so that they never reach stderr past the application's logging."""

QUEUE_BYTES = 64 * 1024 * 1024
"""What a producer may have on its way where nobody says otherwise."""
_LEAST_RECORD_BYTES = 64  # `framed_size` of any record is larger

RECORD_BYTES = 1_000_000
"""Largest record that is produced: Kafka's default is a little more."""
LARGE_RECORD_BYTES = 4_000_000
"""Largest record of a changelog."""
DEAD_LETTER_BYTES = 1_200_000
"""Largest dead letter: whatever a topic holds, and why it is dead."""

# The in-process broker answers an idle fetch only when its wait is over. It may hold a group's first join for
# 3 s, so sessions must last longer; it holds later ones for the session time-out less a second, so not much
# longer.
_IN_PROCESS_CONSUMER = {
    "fetch.wait.max.ms": "20",
    "session.timeout.ms": "4000",
    "heartbeat.interval.ms": "300",
}


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """A cluster, and our corner of it.

    `prefix` goes before every topic and group, so that deployments can share a cluster. `client` holds extra
    librdkafka settings (`security.protocol`, …), which win over ours. `log_identity` is set for the
    in-process broker alone, which can't be asked who it is.
    """

    bootstrap_servers: str
    prefix: str = ""
    partitions: int = 4
    replication_factor: int = 1
    group_protocol: Literal["classic", "consumer"] = "classic"
    client: Mapping[str, str] = field(default_factory=dict)
    log_identity: str | None = None

    @property
    def in_process(self) -> bool:
        """Whether this is librdkafka's in-process broker."""
        return self.log_identity is not None


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How a consume loop behaves. Times are in seconds.

    A retry waits `backoff_initial`, then twice as long each time up to `backoff_cap`, each drawn between half
    and the whole. The loop stops when more than `dead_letter_share` of the newest `dead_letter_window`
    records were dead letters, once it has seen `dead_letter_minimum`. A rebalance that refuses commits
    for longer than `rebalance_seconds` makes it join anew. A handler that is fenced more than `fenced_limit`
    times in a row stops it.
    """

    batch_size: int = 500
    poll_seconds: float = 0.05
    backoff_initial: float = 0.1
    backoff_cap: float = 10.0
    dead_letter_share: float = 0.5
    dead_letter_minimum: int = 100
    dead_letter_window: int = 1000
    tick_seconds: float = 1.0
    request_seconds: float = 5.0
    rebalance_seconds: float = 30.0
    drain_seconds: float = 30.0
    fenced_limit: int = 5

    def backoff(self, failures: int, jitter: float) -> float:
        """Seconds to wait after so many failures in a row (from 1 on); `jitter` in [0, 1)."""
        doublings = min(failures - 1, 30)
        return min(self.backoff_cap, self.backoff_initial * 2.0**doublings) * (1 + jitter) / 2


def client_config(options: KafkaOptions) -> dict[str, Any]:
    """The settings that producers, consumers and admin clients share, before `options.client`."""
    return {
        "bootstrap.servers": options.bootstrap_servers,
        "logger": LIBRARY_LOG,
        "reconnect.backoff.max.ms": 1000,
        "socket.nagle.disable": True,
        "socket.keepalive.enable": True,
    }


def admin_config(options: KafkaOptions) -> dict[str, Any]:
    """The settings of an admin client."""
    return {**client_config(options), **options.client}


def producer_config(
    options: KafkaOptions, delivery_seconds: float, queue_bytes: int, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """The settings of an idempotent producer with Java's partitioner, sending without lingering.

    Its queue is bounded by `queue_bytes` alone: no number of records is reached before that.
    """
    return {
        **client_config(options),
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "delivery.timeout.ms": int(delivery_seconds * 1000),
        "topic.metadata.propagation.max.ms": 5000,
        "message.max.bytes": DEAD_LETTER_BYTES,
        "queue.buffering.max.kbytes": queue_bytes // 1024,
        "queue.buffering.max.messages": queue_bytes // _LEAST_RECORD_BYTES,
        "error_cb": on_error,
        **options.client,
    }


def consumer_config(
    options: KafkaOptions, group: str, assignor: str, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """The settings of a consumer that commits by hand, in `group` (which gets the prefix)."""
    config: dict[str, Any] = {
        **client_config(options),
        "group.id": options.prefix + group,
        "group.protocol": options.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "topic.metadata.refresh.interval.ms": 10_000,
        "error_cb": on_error,
    }
    if options.group_protocol == "classic":
        config["partition.assignment.strategy"] = assignor
        config["session.timeout.ms"] = 10_000
        config["heartbeat.interval.ms"] = 1000  # how soon a member hears of a rebalance
    else:
        config["group.remote.assignor"] = "range" if assignor == "range" else "uniform"
    if options.in_process:
        config |= _IN_PROCESS_CONSUMER
    return config | dict(options.client)
