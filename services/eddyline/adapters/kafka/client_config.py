"""Where the cluster is, and the settings of librdkafka's clients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException

from eddyline.adapters.kafka.contract import Headers
from eddyline.errors import Misconfigured
from eddyline.model.signatures import RecordSigner
from eddyline.topics import DEAD_LETTER_BYTES

Client = TypeVar("Client")

UNKNOWN_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
"""Codes of a topic, or partition, that doesn't exist (yet)."""

LIBRARY_LOG = logging.getLogger("eddyline.kafka.librdkafka")
"""Where librdkafka's own lines go, so that they never reach stderr past the application's logging."""

QUEUE_BYTES = 64 * 1024 * 1024
"""Bytes that a producer may have in flight by default."""
_MIN_RECORD_BYTES = 64  # `Outgoing.size` of any record is larger


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """A cluster, and our part of it.

    `prefix` goes before every topic and group, so that deployments can share a cluster. `client` holds extra
    librdkafka settings (`security.protocol`, …), which win over ours; `producer` those of producers alone.
    """

    bootstrap_servers: str
    prefix: str = ""
    partitions: int = 4
    replication_factor: int = 1
    group_protocol: Literal["classic", "consumer"] = "classic"
    client: Mapping[str, str] = field(default_factory=dict)
    producer: Mapping[str, float] = field(default_factory=dict)
    signer: RecordSigner | None = None
    """Signs what only services write to `interactions`, and checks it; None where nothing is signed."""

    def unsigned(self) -> KafkaOptions:
        """Return the options of who sends dead letters again: what was forged must stay unsigned."""
        return replace(self, signer=None)

    def trusts(self, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Tell whether a record is signed, where signatures are needed."""
        return self.signer is None or self.signer.trusts(key, value, headers)


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
    """The settings of an idempotent producer with Java's partitioner, which doesn't linger unless `options` say so.

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
        "queue.buffering.max.messages": queue_bytes // _MIN_RECORD_BYTES,
        "error_cb": on_error,
        **options.producer,
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
        config["heartbeat.interval.ms"] = 1000  # how soon a member learns of a rebalance
    else:
        config["group.remote.assignor"] = "range" if assignor == "range" else "uniform"
    return config | dict(options.client)


def refused_login(error: KafkaError, options: KafkaOptions) -> str:
    """Say that the cluster doesn't let this client in, as whom, and which settings say so."""
    user = options.client.get("sasl.username")
    who = "this client, which names no user" if user is None else f"the user {user}"
    reason = error.str().partition(": ")[2].partition(" (after ")[0] or error.str()
    return (
        f"Kafka doesn't let in {who}: {reason.rpartition(': ')[2]}; check sasl.username, sasl.password and "
        "sasl.mechanism of kafka.client (EDDYLINE_KAFKA__CLIENT)"
    )


def create_client(kind: Callable[[dict[str, Any]], Client], config: dict[str, Any]) -> Client:
    """Create a consumer, producer or admin client. Raises `Misconfigured` for settings that librdkafka refuses."""
    try:
        return kind(config)
    except KafkaException as error:
        raise Misconfigured(f"Kafka's client settings: {error.args[0].str()}") from error


def create_log_consumer(options: KafkaOptions, group: str = "log-reader") -> Consumer:
    """Create a consumer that reads what it is assigned, and reports the end of each partition.

    The library wants the name of a group; nobody joins it. Brokers that come and go are no error: the library
    reconnects.
    """
    config = consumer_config(options, group, "range", lambda _error: None)
    return create_client(Consumer, config | {"enable.partition.eof": True, "queued.max.messages.kbytes": 16_384})
