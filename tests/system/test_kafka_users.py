"""A Kafka with users, as compose.yaml sets it up: what each may do, and that Eddyline does all of its work as one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.support.compose import SECRETS
from tests.support.kafka import UnfitError, java_is_there
from tests.support.qdrant_rest import QdrantRest
from tests.support.secured_kafka import SecuredKafka, secured_kafka
from tests.support.system import eddyline, run, wait_until
from typer.testing import CliRunner

from eddyline.adapters.kafka import (
    WRITTEN_BY_APPS,
    KafkaOptions,
    KafkaProducer,
    KafkaUser,
    LogReader,
    Outgoing,
    cluster_admin,
    ensure_topics,
    ensure_users,
)
from eddyline.adapters.kafka.group_member import KafkaGroupMember
from eddyline.cli import app
from eddyline.errors import Misconfigured, Unavailable
from eddyline.model.events import Erased, RecordOrigin
from eddyline.topics import TOPIC_SPECS, changelog_topic, dead_letter_topic

pytestmark = [pytest.mark.system, pytest.mark.process, pytest.mark.slow(20)]

PASSWORDS = {user: SECRETS[f"KAFKA_{user.name}_PASSWORD"] for user in KafkaUser}


@dataclass(frozen=True)
class Cluster:
    """The cluster as its users reach it."""

    kafka: SecuredKafka

    @property
    def within(self) -> KafkaOptions:
        """Whoever is in its container."""
        return KafkaOptions(self.kafka.local)

    def client(self, user: str, password: str | None = None) -> dict[str, str]:
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password or f"a-password-of-{user}",
        }

    def options(self, user: str, password: str | None = None) -> KafkaOptions:
        servers = self.kafka.apps if user == KafkaUser.APPS else self.kafka.services
        return KafkaOptions(servers, client=self.client(user, password))

    def settings(self, user: str, password: str | None = None) -> dict[str, str]:
        return {
            "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": self.kafka.services,
            "EDDYLINE_KAFKA__CLIENT": json.dumps(self.client(user, password)),
        }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """With its users, and all topics."""
    try:
        java_is_there()
    except UnfitError as reason:
        pytest.skip(f"Kafka's own jars can't be run: {reason}")
    with secured_kafka() as kafka:
        it = Cluster(kafka)
        ensure_users(it.within, PASSWORDS)
        ensure_topics(it.options("admin"))
        yield it


def written(options: KafkaOptions, topic: str, key: str = "u:ada", value: bytes = b"{}") -> bool:
    """Whether a record is taken, or else refused because of who sends it."""
    producer = KafkaProducer(options)
    try:
        producer.send_all([Outgoing(topic, key.encode(), value)])
    except Misconfigured as error:
        refusal = f"topic {topic}: not allowed: Broker: Topic authorization failed; grant this client access"
        if str(error) != refusal:
            raise
        return False
    finally:
        producer.close()
    return True


def test_applications_write_what_they_send_and_nothing_else(cluster: Cluster) -> None:
    apps = cluster.options("apps")
    assert {topic for topic in TOPIC_SPECS if written(apps, topic)} == set(WRITTEN_BY_APPS)
    assert set(WRITTEN_BY_APPS) == {"content", "availability", "interactions", "impressions"}


def test_applications_read_nothing(cluster: Cluster) -> None:
    reader = LogReader(cluster.options("apps"), patience_seconds=5.0)
    try:
        with pytest.raises(Misconfigured, match=r"authorization failed.*grant this client access"):
            list(reader.read("interactions", 0, 0, 1))
    finally:
        reader.close()


def test_the_services_write_all_topics_and_change_none(cluster: Cluster) -> None:
    services = cluster.options("services")
    for topic in ("users", "activity", "verdicts", changelog_topic("people"), dead_letter_topic("content")):
        assert written(services, topic)
    assert not any(ensure_topics(services).values()), "they verify them"
    other = KafkaOptions(services.bootstrap_servers, prefix="other.", client=services.client)
    with pytest.raises(Misconfigured, match=r"can't be created: .*run `eddyline init` as a user who may"):
        ensure_topics(other, ["content"])
    with pytest.raises(Misconfigured, match=r"users can't be changed: .*a client that may alter the cluster"):
        ensure_users(services, PASSWORDS)


def test_a_wrong_password_is_named_in_one_line(cluster: Cluster) -> None:
    env = cluster.settings("services", "hunter2") | {"EDDYLINE_QDRANT__URL": "http://127.0.0.1:1"}
    tried = run("init", env=env)
    assert tried.returncode == 2
    (line,) = tried.stderr.splitlines()
    assert line == (
        "eddyline: Kafka doesn't let in the user services: Authentication failed during authentication due to invalid "
        "credentials with SASL mechanism SCRAM-SHA-512; check sasl.username, sasl.password and sasl.mechanism of "
        "kafka.client (EDDYLINE_KAFKA__CLIENT)"
    )


def test_who_is_unknown_or_names_no_user_is_told_so(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="doesn't let in the user nobody: Authentication failed"):
        ensure_topics(cluster.options("nobody"))
    monkeypatch.setattr(cluster_admin, "REQUEST_SECONDS", 1.0)
    with pytest.raises(Unavailable, match=r"where it asks for TLS or a user, kafka\.client has to say so"):
        ensure_topics(KafkaOptions(cluster.kafka.services))


def test_a_running_consumer_says_that_it_is_not_let_in_any_more(cluster: Cluster) -> None:
    problems: list[str] = []
    listener = Mock()
    listener.on_problem.side_effect = problems.append
    member = KafkaGroupMember(cluster.options("services", "changed"), "profiler", ["interactions"], listener, {})
    try:
        wait_until(lambda: member.poll(1, 0.1) or len(problems) > 2, "it is told, however often it tries")
    finally:
        member.close(10.0)
    assert all("Kafka doesn't let in the user services" in problem for problem in problems)


def test_the_command_wants_a_password_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDDYLINE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("KAFKA_ADMIN_PASSWORD", "x")
    refused = CliRunner().invoke(app, ["kafka-users"])
    assert isinstance(refused.exception, Misconfigured)
    assert str(refused.exception).startswith("KAFKA_SERVICES_PASSWORD, KAFKA_APPS_PASSWORD: ")


def test_the_command_gives_users_new_passwords_and_takes_what_they_should_not_have(cluster: Cluster) -> None:
    prefix = "renewed."
    env = {"EDDYLINE_KAFKA__BOOTSTRAP_SERVERS": cluster.kafka.local, "EDDYLINE_KAFKA__PREFIX": prefix}
    secrets = {f"KAFKA_{user.name}_PASSWORD": f"new-{user}" for user in KafkaUser}
    ensure_users(KafkaOptions(cluster.kafka.local, prefix=prefix), dict.fromkeys(KafkaUser, "old"))
    made = run("kafka-users", env=env | secrets)
    assert made.returncode == 0, made.stderr
    assert "user renewed.apps: has its password" in made.stdout

    def options(user: str, password: str) -> KafkaOptions:
        return KafkaOptions(cluster.kafka.services, prefix=prefix, client=cluster.client(f"{prefix}{user}", password))

    with pytest.raises(Misconfigured, match=r"doesn't let in the user renewed\.admin"):
        ensure_topics(options("admin", "old"))
    ensure_topics(options("admin", "new-admin"), ["content", "users"])
    assert written(options("apps", "new-apps"), "content")
    assert not written(options("apps", "new-apps"), "users")


@pytest.mark.slow(60)
def test_all_roles_do_their_work_as_that_user(
    cluster: Cluster, stand_in: dict[str, str], qdrant_rest: QdrantRest, tmp_path: Path
) -> None:
    """A click over HTTP, and one that an application writes, reach the profile, the rows and the measures; an erasure
    that it forges erases nobody, and the services' own one does."""
    qdrant_rest.api_key = SECRETS["EDDYLINE_QDRANT__API_KEY"]
    env = stand_in | {
        "EDDYLINE_QDRANT__URL": qdrant_rest.url,
        "EDDYLINE_QDRANT__API_KEY": SECRETS["EDDYLINE_QDRANT__API_KEY"],
        "EDDYLINE_KAFKA__SIGNING_SECRETS": SECRETS["EDDYLINE_KAFKA__SIGNING_SECRETS"],
    }
    made = run("init", env=env | cluster.settings("admin"))
    assert made.returncode == 0, made.stderr
    assert SECRETS["KAFKA_ADMIN_PASSWORD"] not in made.stdout + made.stderr
    folder, log = tmp_path / "data", tmp_path / "log.txt"
    with eddyline("up", "--data-dir", str(folder), log=log, env=env | cluster.settings("services")) as it:
        for item in ("ferry", "roll"):
            it.put(item, title=f"How to {item}")
            it.await_item(item)
        it.post({"type": "click", "user_id": "ada", "item_id": "ferry"})
        click = b'{"type": "click", "user_id": "ada", "item_id": "roll"}'
        assert written(cluster.options("apps"), "interactions", "u:ada", click)
        it.await_events("ada", 2)
        assert [found["item_id"] for found in it.recommend("eve", surface="home")]

        def measured() -> bool:
            total: dict[str, int] = it.client.get("/v1/insights/kpis", params={"surface": "home"}).json()["total"]
            return total["requests"] > 0

        wait_until(measured, "the list is measured", 60)
        forged = Erased(user_id="ada", timestamp=time.time(), origin=RecordOrigin(log="users", partition=0, offset=9))
        assert written(cluster.options("apps"), "interactions", "u:ada", forged.to_bytes())
        assert written(cluster.options("apps"), "interactions", "u:ada", click.replace(b"roll", b"ferry"))
        it.await_events("ada", 3)  # so it erased nobody
        it.client.delete("/v1/users/ada").raise_for_status()
        wait_until(lambda: it.person("ada").get("events", 0) == 0, "the person is erased")
        assert not {secret for secret in SECRETS.values() if secret.strip('[]"') in log.read_text()}
