"""librdkafka's in-process broker: the real protocol, in memory, for the embedded size and for tests."""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Producer, cimpl

from eddyline.adapters.kafka.client_config import LIBRARY_LOG, KafkaOptions
from eddyline.adapters.kafka.retention import RetentionGuard
from eddyline.adapters.kafka.topic_admin import ensure_topics
from eddyline.errors import Misconfigured
from eddyline.topics import SOURCE_TOPICS, STATE_TOPICS

_OWN_PARTITIONS = 4
_CONFIG_OK = 0
_CREATED = 0
_PRODUCER = 0


class EmbeddedBroker:
    """A broker in this process. Its log ends with it, so each has an identity of its own.

    `options` say how to reach it, `guard` must be given to every producer and loop that uses it. The caller
    must `close` it after them. Raises `Misconfigured` for a number of partitions that it can't make.
    """

    def __init__(
        self, partitions: int = _OWN_PARTITIONS, prefix: str = "", topics: Iterable[str] | None = None
    ) -> None:
        names = [topic.name for topic in (*SOURCE_TOPICS, *STATE_TOPICS)] if topics is None else list(topics)
        self.log_identity = str(uuid.uuid4())
        self.guard = RetentionGuard()
        self._cluster: _TunedCluster | _PlainCluster
        try:
            self._cluster = _TunedCluster([prefix + name for name in names], partitions)
        except AttributeError:  # a build of librdkafka that keeps its mock API to itself
            self._cluster = _PlainCluster(partitions)
        self.options = KafkaOptions(
            self._cluster.bootstrap_servers,
            prefix=prefix,
            partitions=partitions,
            log_identity=self.log_identity,
        )
        ensure_topics(self.options, names)

    def close(self) -> None:
        """Stop it; everything it held is gone."""
        self._cluster.close()


class _PlainCluster:
    """Started by configuration alone: topics always have four partitions, and a group's first join takes 3
    s."""

    def __init__(self, partitions: int) -> None:
        if partitions != _OWN_PARTITIONS:
            raise Misconfigured(f"the in-process broker makes {_OWN_PARTITIONS} partitions here, not {partitions}")
        self._host: Producer | None = Producer(
            {
                "bootstrap.servers": "in-process",
                "test.mock.num.brokers": 1,
                "logger": LIBRARY_LOG,
                "log_level": 0,
            }
        )
        brokers = self._host.list_topics(timeout=10).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def close(self) -> None:
        self._host = None


class _TunedCluster:
    """Started through librdkafka's mock API (rdkafka_mock.h), which can also make topics and skip the 3 s."""

    def __init__(self, topics: Iterable[str], partitions: int) -> None:
        library = ctypes.CDLL(cimpl.__file__)  # its symbols include those of the librdkafka it is linked with
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        size = ctypes.c_size_t
        self._destroy_cluster = _function(library, "rd_kafka_mock_cluster_destroy", None, pointer)
        self._destroy_host = _function(library, "rd_kafka_destroy", None, pointer)
        set_config = _function(library, "rd_kafka_conf_set", number, pointer, text, text, pointer, size)
        new_host = _function(library, "rd_kafka_new", pointer, number, pointer, pointer, size)
        new_cluster = _function(library, "rd_kafka_mock_cluster_new", pointer, pointer, number)
        bootstraps = _function(library, "rd_kafka_mock_cluster_bootstraps", text, pointer)
        join_delay = _function(library, "rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32)
        create_topic = _function(library, "rd_kafka_mock_topic_create", number, pointer, text, number, number)

        reason = ctypes.create_string_buffer(512)
        config = _function(library, "rd_kafka_conf_new", pointer)()
        if set_config(config, b"log_level", b"0", reason, len(reason)) != _CONFIG_OK:
            raise Misconfigured(f"the in-process broker: {reason.value.decode()}")
        self._host = new_host(_PRODUCER, config, reason, len(reason))
        if not self._host:
            raise Misconfigured(f"the in-process broker: {reason.value.decode()}")
        self._cluster = new_cluster(self._host, 1)
        self.bootstrap_servers: str = bootstraps(self._cluster).decode()
        join_delay(self._cluster, 0)
        for topic in topics:
            code = create_topic(self._cluster, topic.encode(), partitions, 1)
            # It listens already, and a topic appears when a client asks for it: one left over from an earlier process
            # may do so, where this broker got that one's port. How many partitions it has is checked afterwards.
            if code not in (_CREATED, KafkaError.TOPIC_ALREADY_EXISTS):
                raise Misconfigured(
                    f"the in-process broker can't make {topic} with {partitions} partitions: {KafkaError(code).str()}"
                )

    def close(self) -> None:
        if self._cluster:
            self._destroy_cluster(self._cluster)
            self._destroy_host(self._host)
            self._cluster = self._host = None


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function
