"""The Kafka of compose.yaml, with its users and its authorizer, from Kafka's own jars."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.compose import compose_file
from tests.support.kafka import START_SECONDS, Broker, fetched_jars, free_port

LOCAL, CONTROLLER, SERVICES, APPS = "9094", "9093", "9092", "29092"
"""The ports in compose.yaml."""


@dataclass(frozen=True)
class SecuredKafka:
    """Where its listeners are: the one for its own container, for the services, for applications."""

    local: str
    services: str
    apps: str


@contextmanager
def secured_kafka() -> Iterator[SecuredKafka]:
    """Start it with the variables that compose.yaml sets, on ports of its own. The image's own program turns them into
    properties, and formats the disk."""
    libraries = fetched_jars()
    with tempfile.TemporaryDirectory(prefix="eddyline-secured-kafka-") as folder:
        directory = Path(folder)
        ports = {port: str(free_port()) for port in (LOCAL, CONTROLLER, SERVICES, APPS)}
        env = _environment(ports) | {"KAFKA_LOG_DIRS": str(directory / "data")}
        for name in ("default", "mounted", "final"):
            (directory / name).mkdir()
        for name in ("log4j2.yaml", "tools-log4j2.yaml"):
            (directory / "default" / name).touch()
        java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*"]
        folders = [f"--{name}-configs-dir={directory / name}" for name in ("default", "mounted", "final")]
        subprocess.run(
            [*java, "kafka.docker.KafkaDockerWrapper", "setup", *folders],
            env={"PATH": os.environ["PATH"], **env},
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        properties = directory / "final" / "server.properties"
        local = f"localhost:{ports[LOCAL]}"
        broker = Broker([*java, "kafka.Kafka", str(properties)], directory / "server.log", local)
        try:
            broker.start()
            yield SecuredKafka(local, f"127.0.0.1:{ports[SERVICES]}", f"127.0.0.1:{ports[APPS]}")
        finally:
            broker.kill()


def _environment(ports: dict[str, str]) -> dict[str, str]:
    """What compose.yaml sets, with other ports, and this host's address instead of the container's."""
    given: dict[str, str] = compose_file()["services"]["kafka"]["environment"]
    found = {}
    for name, value in given.items():
        if "LISTENERS" in name or "VOTERS" in name:
            value = value.replace("//kafka:", "//127.0.0.1:").replace("//:", "//127.0.0.1:")
            for port in sorted(ports, key=len, reverse=True):
                value = value.replace(f":{port}", f":{ports[port]}")
        found[name] = value
    return found
