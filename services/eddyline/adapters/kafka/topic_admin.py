"""Creating and checking the topics of `eddyline.topics`, and the identity of their logs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports these without saying so
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.cluster_admin import REQUEST_SECONDS, ClusterAdmin
from eddyline.errors import Misconfigured, Unavailable
from eddyline.topics import TOPIC_SPECS, TopicSpec

_TIMESTAMPS, _BY_BROKER, _AS_SENT = "message.timestamp.type", "LogAppendTime", "CreateTime"
_ALL_FENCED = "All brokers are currently fenced"
"""What Kafka says of a replication factor while no broker has joined its cluster: it passes."""


def ensure_topics(options: KafkaOptions, topics: Iterable[str] | None = None) -> dict[str, bool]:
    """Create the topics (logical names; all by default) that are missing and verify those that exist.

    Returns whether each was missing, by its name on the cluster.

    Raises `Misconfigured` for a topic with other partitions, clean-up or timestamps than it must have, saying
    how to fix it, and `Unavailable` when the cluster doesn't answer.
    """
    specs = {options.prefix + name: TOPIC_SPECS[name] for name in (TOPIC_SPECS if topics is None else topics)}
    admin = ClusterAdmin(options)
    present = set(admin.metadata().topics)
    created = _create(admin, options, {name: spec for name, spec in specs.items() if name not in present})
    partitions = _wait_for_leaders(admin, specs)
    _verify(admin, options, {name: spec for name, spec in specs.items() if name not in created}, partitions)
    return {name: name in created for name in specs}


def create_topics_to_fill(options: KafkaOptions) -> None:
    """Create all topics so that records keep the times that they are sent with; no service starts on such topics.

    `finish_topics` makes them what they must be. Raises `Misconfigured` where there is one already, and `Unavailable`.
    """
    specs = {options.prefix + name: spec for name, spec in TOPIC_SPECS.items()}
    admin = ClusterAdmin(options)
    if present := sorted(specs.keys() & admin.metadata().topics.keys()):
        raise Misconfigured(
            f"there is a topic {present[0]} already: choose a prefix that has none (EDDYLINE_KAFKA__PREFIX), or delete "
            "what a run that failed has left"
        )
    _create(admin, options, specs, _AS_SENT)
    _wait_for_leaders(admin, specs)


def finish_topics(options: KafkaOptions) -> None:
    """Have the broker say the times of records from now on. Raises `Misconfigured` and `Unavailable`."""
    change = ConfigEntry(_TIMESTAMPS, _BY_BROKER, incremental_operation=AlterConfigOpType.SET)
    resources = [
        ConfigResource(ResourceType.TOPIC, options.prefix + name, incremental_configs=[change]) for name in TOPIC_SPECS
    ]
    admin = ClusterAdmin(options)
    for resource, future in admin.incremental_alter_configs(resources, request_timeout=REQUEST_SECONDS).items():
        _result(future, resource.name)
    deadline = time.monotonic() + REQUEST_SECONDS
    while True:  # brokers hear of it from the controller
        try:
            ensure_topics(options)
        except Misconfigured:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def log_identities(options: KafkaOptions, topics: Iterable[str]) -> dict[str, str]:
    """Return the identity of each topic's log, `<cluster id>/<topic id>`: it changes when the topic is recreated.

    `topics` are logical names, and so are the keys. Raises `Unavailable` when the cluster doesn't answer or a
    topic isn't there.
    """
    names = list(topics)
    admin = ClusterAdmin(options)
    cluster = admin.metadata().cluster_id
    collection = TopicCollection([options.prefix + name for name in names])
    described = admin.describe_topics(collection, request_timeout=REQUEST_SECONDS)
    return {
        name: f"{cluster}/{_result(described[options.prefix + name], options.prefix + name).topic_id}" for name in names
    }


def _config(spec: TopicSpec, options: KafkaOptions, timestamps: str = _BY_BROKER) -> dict[str, str]:
    config = {"cleanup.policy": spec.cleanup, _TIMESTAMPS: timestamps}
    if spec.max_record_bytes is not None:
        config["max.message.bytes"] = str(spec.max_record_bytes)
    if spec.retention_ms is not None:
        config["retention.ms"] = str(spec.retention_ms)
    if options.replication_factor >= 3:
        config["min.insync.replicas"] = "2"
    return config


def _result(future: Future[Any], topic: str) -> Any:
    try:
        return future.result(timeout=REQUEST_SECONDS + 1)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if "AUTHORIZATION" in cause.name():
            raise Misconfigured(f"topic {topic}: {cause.str()}; grant this client access") from error
        raise Unavailable(f"topic {topic}: {cause.str()}") from error
    except TimeoutError as error:
        raise Unavailable(f"topic {topic}: Kafka doesn't answer") from error


def _create(
    admin: ClusterAdmin, options: KafkaOptions, missing: Mapping[str, TopicSpec], timestamps: str = _BY_BROKER
) -> set[str]:
    if not missing:
        return set()
    requests = [
        NewTopic(name, options.partitions, options.replication_factor, config=_config(spec, options, timestamps))
        for name, spec in missing.items()
    ]
    created = set()
    for name, future in admin.create_topics(requests, request_timeout=REQUEST_SECONDS).items():
        try:
            future.result(timeout=REQUEST_SECONDS + 1)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # another process was quicker: its topic is verified below
            if cause.retriable() or cause.code() < 0 or _ALL_FENCED in cause.str():
                raise Unavailable(f"topic {name} can't be created now: {cause.str()}") from error
            if "AUTHORIZATION" in cause.name():
                raise Misconfigured(
                    f"topic {name} isn't there, or may not be seen, and can't be created: {cause.str()}; run "
                    "`eddyline init` as a user who may, or grant this one access"
                ) from error
            raise Misconfigured(f"topic {name} can't be created: {cause.str()}") from error
        except TimeoutError as error:
            raise Unavailable(f"topic {name} can't be created now: Kafka doesn't answer") from error
        created.add(name)
    return created


def _wait_for_leaders(admin: ClusterAdmin, names: Iterable[str]) -> dict[str, int]:
    """Wait until every partition has a leader; return the number of partitions of each topic."""
    expected = list(names)
    deadline = time.monotonic() + REQUEST_SECONDS
    while True:
        topics = admin.metadata().topics
        ready = {
            name: len(topics[name].partitions)
            for name in expected
            if name in topics
            and topics[name].partitions
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
        }
        missing = [name for name in expected if name not in ready]
        if not missing:
            return ready
        if time.monotonic() > deadline:
            raise Unavailable(f"no leader for every partition of {', '.join(missing)}: is a broker down?")
        time.sleep(0.05)


def _verify(
    admin: ClusterAdmin, options: KafkaOptions, specs: Mapping[str, TopicSpec], partitions: Mapping[str, int]
) -> None:
    if not specs:
        return
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in specs}
    described = admin.describe_configs(list(resources.values()), request_timeout=REQUEST_SECONDS)
    for name, spec in specs.items():
        config = _result(described[resources[name]], name)
        _check(name, "partitions", str(partitions[name]), str(options.partitions))
        for setting in ("cleanup.policy", _TIMESTAMPS):
            _check(name, setting, config[setting].value, _config(spec, options)[setting])


def _check(topic: str, what: str, found: str, expected: str) -> None:
    if found == expected:
        return
    if what == "partitions":
        remedy = (
            "set Eddyline's number of partitions to what the topic has, or: drain the services, stop them, "
            "alter the topic and its .dlq, start again"
        )
    else:
        remedy = (
            "drain the services, stop them, "
            f"`kafka-configs.sh --alter --topic {topic} --add-config {what}={expected}`, start"
        )
    raise Misconfigured(f"topic {topic}: {what} is {found}, must be {expected}; {remedy}")
