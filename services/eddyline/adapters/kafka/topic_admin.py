"""The topics of §2: what they must be, making them, checking them, and who they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports these without saying so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from eddyline.adapters.kafka.options import DEAD_LETTER_BYTES, LARGE_RECORD_BYTES, KafkaOptions, admin_config
from eddyline.errors import Misconfigured, Unavailable

_DAY_MS = 86_400_000
_REQUEST_SECONDS = 10.0
DEAD_LETTER_SUFFIX = ".dlq"
CHANGELOG_SUFFIX = "-changelog"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be. `retention_ms` None: kept for ever (compacted)."""

    name: str
    cleanup: Literal["compact", "delete"]
    retention_ms: int | None = None

    def config(self, options: KafkaOptions) -> dict[str, str]:
        """The topic's settings when it is created."""
        config = {"cleanup.policy": self.cleanup, "message.timestamp.type": "LogAppendTime"}
        if self.name.endswith(DEAD_LETTER_SUFFIX):
            config["max.message.bytes"] = str(DEAD_LETTER_BYTES)
        if self.name.endswith(CHANGELOG_SUFFIX):
            config["max.message.bytes"] = str(LARGE_RECORD_BYTES)
        if self.retention_ms is not None:
            config["retention.ms"] = str(self.retention_ms)
        if options.replication_factor >= 3:
            config["min.insync.replicas"] = "2"
        return config


SOURCE_TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec("content", "compact"),
    TopicSpec("availability", "compact"),
    TopicSpec("users", "compact"),
    TopicSpec("interactions", "delete", 90 * _DAY_MS),
    TopicSpec("impressions", "delete", 7 * _DAY_MS),
    TopicSpec("activity", "delete", _DAY_MS),
)
"""The topics that carry the flow. All have the same number of partitions, so that `content`, `availability`
and `users` are co-partitioned, as the embedder's `range` assignor needs."""

STATE_TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec("insights-people-changelog", "compact"),
    TopicSpec("insights-windows-changelog", "compact"),
    TopicSpec("insights-progress-changelog", "compact"),
    TopicSpec("verdicts", "compact"),
)
"""What services keep in Kafka for themselves: the tables of insights, and which variants are stopped. They have as many
partitions as the sources, since a table is partitioned as what it is made from."""

TOPIC_SPECS: Mapping[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        *SOURCE_TOPICS,
        *STATE_TOPICS,
        *(TopicSpec(source.name + DEAD_LETTER_SUFFIX, "delete", 30 * _DAY_MS) for source in SOURCE_TOPICS),
    )
}
"""Every topic by its logical name, dead letters included."""


@dataclass(frozen=True, slots=True)
class EnsuredTopic:
    """A topic that is as it must be. `topic` is its name on the cluster; `created`: it was missing before."""

    topic: str
    created: bool


def ensure_topics(options: KafkaOptions, topics: Iterable[str] | None = None) -> list[EnsuredTopic]:
    """Create the topics (logical names; all by default) that are missing and verify those that exist.

    Raises `Misconfigured` for a topic with other partitions, clean-up or timestamps than it must have, saying
    how to mend it, and `Unavailable` when the cluster doesn't answer.
    """
    specs = {options.prefix + name: TOPIC_SPECS[name] for name in (TOPIC_SPECS if topics is None else topics)}
    admin = AdminClient(admin_config(options))
    if options.in_process:
        return _ensure_in_process(admin, options, specs)
    present = set(_metadata(admin).topics)
    created = _create(admin, options, {name: spec for name, spec in specs.items() if name not in present})
    partitions = _wait_for_leaders(admin, specs)
    _verify(admin, options, {name: spec for name, spec in specs.items() if name not in created}, partitions)
    return [EnsuredTopic(name, name in created) for name in specs]


def log_identities(options: KafkaOptions, topics: Iterable[str]) -> dict[str, str]:
    """The identity of each topic's log, `<cluster id>/<topic id>`: it changes when the topic is created anew.

    `topics` are logical names, and so are the keys. Raises `Unavailable` when the cluster doesn't answer or a
    topic isn't there.
    """
    names = list(topics)
    if options.log_identity is not None:
        return {name: f"{options.log_identity}/{options.prefix}{name}" for name in names}
    admin = AdminClient(admin_config(options))
    cluster = _metadata(admin).cluster_id
    collection = TopicCollection([options.prefix + name for name in names])
    described = admin.describe_topics(collection, request_timeout=_REQUEST_SECONDS)
    return {
        name: f"{cluster}/{_result(described[options.prefix + name], options.prefix + name).topic_id}" for name in names
    }


def _metadata(admin: AdminClient) -> Any:
    try:
        return admin.list_topics(timeout=_REQUEST_SECONDS)
    except KafkaException as error:
        raise Unavailable(f"Kafka doesn't answer: {error.args[0].str()}") from error


def _result(future: Future[Any], topic: str) -> Any:
    try:
        return future.result(timeout=_REQUEST_SECONDS + 1)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if "AUTHORIZATION" in cause.name():
            raise Misconfigured(f"topic {topic}: {cause.str()}; grant this client access") from error
        raise Unavailable(f"topic {topic}: {cause.str()}") from error
    except TimeoutError as error:
        raise Unavailable(f"topic {topic}: Kafka doesn't answer") from error


def _create(admin: AdminClient, options: KafkaOptions, missing: Mapping[str, TopicSpec]) -> set[str]:
    if not missing:
        return set()
    requests = [
        NewTopic(name, options.partitions, options.replication_factor, config=spec.config(options))
        for name, spec in missing.items()
    ]
    created = set()
    for name, future in admin.create_topics(requests, request_timeout=_REQUEST_SECONDS).items():
        try:
            future.result(timeout=_REQUEST_SECONDS + 1)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # somebody else was quicker: theirs is verified below
            if cause.retriable() or cause.code() < 0:
                raise Unavailable(f"topic {name} can't be created now: {cause.str()}") from error
            raise Misconfigured(f"topic {name} can't be created: {cause.str()}") from error
        except TimeoutError as error:
            raise Unavailable(f"topic {name} can't be created now: Kafka doesn't answer") from error
        created.add(name)
    return created


def _wait_for_leaders(admin: AdminClient, names: Iterable[str]) -> dict[str, int]:
    """Wait until every topic is known with a leader for each partition; the number of partitions of each."""
    wanted = list(names)
    deadline = time.monotonic() + _REQUEST_SECONDS
    while True:
        topics = _metadata(admin).topics
        ready = {
            name: len(topics[name].partitions)
            for name in wanted
            if name in topics
            and topics[name].partitions
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
        }
        waiting = [name for name in wanted if name not in ready]
        if not waiting:
            return ready
        if time.monotonic() > deadline:
            raise Unavailable(f"no leader for every partition of {', '.join(waiting)}: is a broker down?")
        time.sleep(0.05)


def _verify(
    admin: AdminClient, options: KafkaOptions, specs: Mapping[str, TopicSpec], partitions: Mapping[str, int]
) -> None:
    if not specs:
        return
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in specs}
    described = admin.describe_configs(list(resources.values()), request_timeout=_REQUEST_SECONDS)
    for name, spec in specs.items():
        config = _result(described[resources[name]], name)
        _check(name, "partitions", str(partitions[name]), str(options.partitions))
        for setting in ("cleanup.policy", "message.timestamp.type"):
            _check(name, setting, config[setting].value, spec.config(options)[setting])


def _check(topic: str, what: str, found: str, wanted: str) -> None:
    if found == wanted:
        return
    if what == "partitions":
        mend = (
            "set Eddyline's number of partitions to what the topic has, or: drain the services, stop them, "
            "alter the topic and its .dlq, start again"
        )
    else:
        mend = (
            "drain the services, stop them, "
            f"`kafka-configs.sh --alter --topic {topic} --add-config {what}={wanted}`, start"
        )
    raise Misconfigured(f"topic {topic}: {what} is {found}, must be {wanted}; {mend}")


def _ensure_in_process(admin: AdminClient, options: KafkaOptions, specs: Mapping[str, TopicSpec]) -> list[EnsuredTopic]:
    """On the in-process broker a topic appears when it is asked for."""
    ensured = []
    present = set(_metadata(admin).topics)
    for name in specs:
        try:
            partitions = len(admin.list_topics(name, timeout=_REQUEST_SECONDS).topics[name].partitions)
        except KafkaException as error:
            raise Unavailable(f"the in-process broker doesn't answer: {error.args[0].str()}") from error
        _check(name, "partitions", str(partitions), str(options.partitions))
        ensured.append(EnsuredTopic(name, name not in present))
    return ensured
