"""Topics are made as §2 says, and what isn't so refuses to start."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import ensure_topics, log_identities
from eddyline.adapters.kafka.cluster_admin import ClusterAdmin
from eddyline.errors import Misconfigured, Unavailable
from eddyline.topics import TOPIC_SPECS

pytestmark = pytest.mark.topics()  # all of them


def test_every_topic_and_its_dead_letters_exist(kafka: KafkaForTest) -> None:
    sources = {"content", "availability", "users", "interactions", "impressions", "activity"}
    of_services = {*(f"insights-{table}-changelog" for table in ("people", "windows", "progress")), "verdicts", "feeds"}
    names = sources | {f"{name}.dlq" for name in sources} | of_services
    assert set(TOPIC_SPECS) == names
    again = ensure_topics(kafka.options)
    assert set(again) == {kafka.options.prefix + name for name in names}
    assert not any(again.values())


def test_topics_are_created_with_their_settings(kafka: KafkaForTest) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.options.bootstrap_servers})

    def config(topic: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, kafka.options.prefix + topic)
        (future,) = admin.describe_configs([resource]).values()
        return {name: entry.value for name, entry in future.result().items()}

    day = 86_400_000
    for topic, cleanup, retention in [
        ("content", "compact", None),
        ("availability", "compact", None),
        ("users", "compact", None),
        ("interactions", "delete", 90 * day),
        ("impressions", "delete", 7 * day),
        ("activity", "delete", day),
        ("insights-windows-changelog", "compact", None),
        ("verdicts", "compact", None),
        ("users.dlq", "delete", 30 * day),
    ]:
        found = config(topic)
        assert found["cleanup.policy"] == cleanup
        assert found["message.timestamp.type"] == "LogAppendTime"
        assert retention is None or found["retention.ms"] == str(retention)


def test_another_number_of_partitions_refuses_to_start_and_says_how_to_mend_it(kafka: KafkaForTest) -> None:
    with pytest.raises(Misconfigured, match=r"content: partitions is 4, must be 8; .*drain.*stop.*alter.*start"):
        ensure_topics(replace(kafka.options, partitions=8))


def test_another_cleanup_policy_refuses_to_start(real_kafka: KafkaForTest) -> None:
    topic = real_kafka.options.prefix + "users"
    admin = AdminClient({"bootstrap.servers": real_kafka.options.bootstrap_servers})
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(timeout=10)

    def altered() -> bool:
        (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return bool(future.result(timeout=10)["cleanup.policy"].value == "delete")

    wait_until(altered, "the broker has the new policy")
    with pytest.raises(Misconfigured, match=f"{topic}: cleanup.policy is delete, must be compact"):
        ensure_topics(real_kafka.options)


def test_a_log_keeps_its_identity_until_it_is_made_anew(real_kafka: KafkaForTest) -> None:
    options = real_kafka.options
    before = log_identities(options, ["users", "activity"])
    assert before == log_identities(options, ["users", "activity"])
    assert before["users"] != before["activity"]
    admin = AdminClient({"bootstrap.servers": options.bootstrap_servers})
    name = options.prefix + "activity"
    for future in admin.delete_topics([name]).values():
        future.result(timeout=10)
    wait_until(lambda: name not in admin.list_topics(timeout=5).topics, "the topic is gone")
    ensure_topics(options)
    described = admin.describe_topics(TopicCollection([name]))[name].result(timeout=10)
    after = log_identities(options, ["users", "activity"])
    assert after["users"] == before["users"]
    assert after["activity"] != before["activity"]
    assert after["activity"].endswith(f"/{described.topic_id}")


def test_a_cluster_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch, kafka: KafkaForTest) -> None:
    monkeypatch.setattr("eddyline.adapters.kafka.cluster_admin.REQUEST_SECONDS", 0.5)
    with pytest.raises(Unavailable):
        ensure_topics(replace(kafka.options, bootstrap_servers="127.0.0.1:1"))


def test_no_broker_that_has_joined_yet_is_unavailable(monkeypatch: pytest.MonkeyPatch, kafka: KafkaForTest) -> None:
    said = "Unable to replicate the partition 1 time(s): All brokers are currently fenced."

    def refuse(_: ClusterAdmin, topics: list[Any], **__: Any) -> dict[str, Future[None]]:
        refused: Future[None] = Future()
        refused.set_exception(KafkaException(KafkaError(KafkaError.INVALID_REPLICATION_FACTOR, said)))
        return {topic.topic: refused for topic in topics}

    monkeypatch.setattr(ClusterAdmin, "create_topics", refuse)
    with pytest.raises(Unavailable, match="All brokers are currently fenced"):
        ensure_topics(replace(kafka.options, prefix="never-made."))
