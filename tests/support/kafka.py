"""A Kafka for every test that wants one: the most real that this machine can give, and a word on which it is.

In this order: `KAFKA_BOOTSTRAP` (an address, or `in-process`), an `apache/kafka` container, Apache's own jars
with Java (fetched once by Maven into `.cache/`), the embedded broker.
"""

from __future__ import annotations

import base64
import gc
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tests.support.shared import shared, started

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    KafkaOptions,
    KafkaProducer,
    ensure_topics,
    log_identities,
)

KAFKA_VERSION = "4.1.0"
CACHE = Path(__file__).parents[2] / ".cache" / f"kafka-{KAFKA_VERSION}"
_LIBRARIES = CACHE / "lib"
START_SECONDS = 60.0

Kind = Literal["KAFKA_BOOTSTRAP", "container", "jars", "in-process"]


@dataclass
class Cluster:
    """A running Kafka, and how to end it.

    `kill` and `start`, where it can be done: end the broker's process at once; start it again, at the same address and
    on the same data, and wait until it answers.
    """

    kind: Kind
    bootstrap_servers: str
    close: Callable[[], None]
    fell_back: tuple[str, ...] = ()
    kill: Callable[[], None] | None = None
    start: Callable[[], None] | None = None
    leave: Callable[[], None] = lambda: None
    """Have it outlive this process: others use it, and `ending` says how they end it."""
    ending: Mapping[str, Any] = field(default_factory=dict)
    """How another process ends it; see `shared`."""


@dataclass
class KafkaForTest:
    """A corner of a Kafka that no other test sees."""

    kind: Kind
    options: KafkaOptions
    producers: list[KafkaProducer] = field(default_factory=list)

    def log_identity(self, topic: str) -> str:
        """The identity of a topic's log, by its logical name."""
        return log_identities(self.options, [topic])[topic]

    def producer(self) -> KafkaProducer:
        """A producer that is closed after the test."""
        self.producers.append(KafkaProducer(self.options))
        return self.producers[-1]


class UnfitError(Exception):
    """This kind of Kafka can't be had here."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return as soon as `condition` holds; fail the test when it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)


@dataclass(frozen=True)
class Choice:
    """A kind of Kafka that seems possible here, the better ones that aren't, and why."""

    kind: Kind
    start: Callable[[], Cluster]
    fell_back: tuple[str, ...]


def choose(skipped: tuple[str, ...] = ()) -> Choice:
    """The most real Kafka that seems possible, without starting it, leaving out as many kinds as `skipped`
    has."""
    fell_back = list(skipped)
    kinds: list[tuple[Kind, Callable[[], None], Callable[[], Cluster]]] = [
        ("KAFKA_BOOTSTRAP", _given_is_set, _given),
        ("container", _docker_answers, _container),
        ("jars", java_is_there, _jars),
    ]
    for kind, check, start in kinds[len(skipped) :]:
        try:
            check()
        except UnfitError as reason:
            fell_back.append(str(reason))
        else:
            return Choice(kind, start, tuple(fell_back))
    return Choice("in-process", _in_process, tuple(fell_back))


def start_cluster() -> Cluster:
    """The most real Kafka that can be had."""
    choice = choose()
    while True:
        try:
            return replace(choice.start(), fell_back=choice.fell_back)
        except UnfitError as reason:
            choice = choose((*choice.fell_back, str(reason)))


def _given_is_set() -> None:
    if not os.environ.get("KAFKA_BOOTSTRAP"):
        raise UnfitError("KAFKA_BOOTSTRAP isn't set")


def _docker_answers() -> None:
    try:
        import docker  # type: ignore[import-untyped]
        import testcontainers  # noqa: F401
    except ImportError as error:
        raise UnfitError(f"no Docker client ({error})") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker forgets its socket when nobody answers
        answers = _pinged(docker)
        gc.collect()
    if not answers:
        raise UnfitError("no Docker engine answers")


def _pinged(docker: Any) -> bool:
    try:
        docker.from_env(timeout=5).close()
    except Exception:
        return False
    return True


def java_is_there() -> None:
    if shutil.which("java") is None:
        raise UnfitError("no Java")
    if not _LIBRARIES.is_dir() and shutil.which("mvn") is None:
        raise UnfitError("no Maven to fetch Kafka's jars")


def _given() -> Cluster:
    servers = os.environ["KAFKA_BOOTSTRAP"]
    if servers == "in-process":
        return _in_process()
    _wait_for(servers, lambda: True)
    return Cluster("KAFKA_BOOTSTRAP", servers, lambda: None)


def _container() -> Cluster:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    testcontainers_config.ryuk_disabled = True  # it would end the container with the worker that started it
    port = free_port()
    container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(9092, port)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "500",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }.items():
        container = container.with_env(name, value)
    try:
        container.start()
    except Exception as error:
        raise UnfitError(f"Docker can't start apache/kafka:{KAFKA_VERSION} ({type(error).__name__})") from error
    servers = f"127.0.0.1:{port}"
    _wait_for(servers, lambda: True)
    ending = {"container": container.get_wrapped_container().id}
    return Cluster("container", servers, container.stop, ending=ending)


def _jars() -> Cluster:
    libraries = fetched_jars()
    directory = Path(tempfile.mkdtemp(prefix="eddyline-kafka-"))
    port, controller = free_port(), free_port()
    properties = directory / "server.properties"
    properties.write_text(
        f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
log.dirs={directory / "data"}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
auto.create.topics.enable=false
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
"""
    )
    command = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*"]
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    broker = Broker([*command, "kafka.Kafka", str(properties)], directory / "server.log", f"127.0.0.1:{port}")
    with broker.log.open("ab") as log:
        subprocess.run(
            [*command, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(properties)],
            check=True,
            stdout=log,
            stderr=log,
            timeout=START_SECONDS,
        )

    def close() -> None:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)

    try:
        broker.start()
    except AssertionError:
        close()
        raise
    ending = {"pid": broker.pid, "directory": str(directory)}
    return Cluster(
        "jars", broker.address, close, kill=broker.kill, start=broker.start, leave=broker.leave, ending=ending
    )


class Broker:
    """The process of a Kafka broker."""

    def __init__(self, command: list[str], log: Path, address: str) -> None:
        self._command = command
        self.log, self.address = log, address
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the tests, which may still need it.
            process = self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_for(self.address, lambda: process.poll() is None)
        except AssertionError as error:
            text = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"Apache Kafka didn't start:\n{text}") from error

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def leave(self) -> None:
        if self._process is not None:
            self._process.returncode = 0  # else a warning that it still runs when this process ends

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)


def fetched_jars() -> Path:
    """Apache Kafka's jars, fetched on the first use."""
    if _LIBRARIES.is_dir():
        return _LIBRARIES
    CACHE.mkdir(parents=True, exist_ok=True)
    pom = CACHE / "pom.xml"
    pom.write_text(
        f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>eddyline</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
</dependencies></project>
"""
    )
    fetched = Path(tempfile.mkdtemp(dir=CACHE, prefix="fetching-"))
    done = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(fetched, ignore_errors=True)
        raise UnfitError(f"Maven can't fetch Kafka's jars ({done.stdout[-200:].strip()})")
    try:
        fetched.rename(_LIBRARIES)
    except OSError:  # another run was quicker
        shutil.rmtree(fetched, ignore_errors=True)
    return _LIBRARIES


def _in_process() -> Cluster:
    return Cluster("in-process", "", lambda: None)


def free_port() -> int:
    """A port that nobody listens on, below those that systems give to clients: while a server is down, a client that
    tries to reach it must not be given its port."""
    for port in random.sample(range(15_000, 32_000), 100):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _wait_for(servers: str, alive: Callable[[], bool]) -> None:
    """Wait until the broker answers, and has joined its cluster: before that it is fenced, and holds no topic."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if admin.list_topics(timeout=1).brokers:
                return
        except KafkaException:
            assert alive(), "the broker ended"
        assert time.monotonic() < deadline, f"no Kafka at {servers} within {START_SECONDS} s"
        time.sleep(0.05)


def pytest_report_header(config: pytest.Config) -> str:
    """Say which Kafka the tests will run on, and why it isn't a better one."""
    choice = choose()
    return _line(choice.kind, choice.fell_back)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it again when the chosen one couldn't be started."""
    found = started(config, "kafka")
    if found is not None and found["kind"] != choose().kind:
        terminalreporter.write_line(_line(found["kind"], found["fell_back"]))


def _line(kind: str, fell_back: Sequence[str]) -> str:
    return f"kafka: {kind}" + (f" ({'; '.join(fell_back)})" if fell_back else "")


@pytest.fixture(scope="session")
def kafka_cluster(pytestconfig: pytest.Config) -> Cluster:
    """The Kafka of this run: one for all workers, started by whoever needs it first, ended with the last."""

    def start() -> dict[str, Any]:
        cluster = start_cluster()
        cluster.leave()
        seen: dict[str, Any] = {
            "kind": cluster.kind,
            "bootstrap_servers": cluster.bootstrap_servers,
            "fell_back": cluster.fell_back,
        }
        return {**seen, **cluster.ending}

    found = shared(pytestconfig, "kafka", start)
    return Cluster(found["kind"], found["bootstrap_servers"], lambda: None, tuple(found["fell_back"]))


DEFAULT_TOPICS = ("interactions", "interactions.dlq")


@pytest.fixture
def kafka(kafka_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[KafkaForTest]:
    """Topics under a prefix of the test's own, those that `@pytest.mark.topics(…)` names; in-process, a broker of its
    own. They end with the cluster: deleting them would take longer than all else."""
    if kafka_cluster.kind == "in-process":
        broker = EmbeddedBroker()
        corner = KafkaForTest("in-process", broker.options)
        yield corner
        _close_producers(corner)
        broker.close()
        return
    mark = request.node.get_closest_marker("topics")
    options = KafkaOptions(kafka_cluster.bootstrap_servers, prefix=f"test-{uuid.uuid4().hex[:8]}.")
    ensure_topics(options, DEFAULT_TOPICS if mark is None else mark.args or None)
    corner = KafkaForTest(kafka_cluster.kind, options)
    yield corner
    _close_producers(corner)


@pytest.fixture
def real_kafka(kafka_cluster: Cluster, request: pytest.FixtureRequest) -> KafkaForTest:
    """As `kafka`, for what the embedded broker doesn't have."""
    if kafka_cluster.kind == "in-process":
        pytest.skip(
            "the embedded broker has no transactions, deletes no topics and alters none, and knows one protocol"
        )
    found: KafkaForTest = request.getfixturevalue("kafka")
    return found


def _close_producers(corner: KafkaForTest) -> None:
    for producer in corner.producers:
        producer.close()
