"""compose.yaml: valid, pinned, healthy, confined, and running commands that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.compose import SECRETS, compose_file, mounted_secrets, started_environment
from typer.testing import CliRunner

from eddyline.cli import app
from eddyline.settings import Settings, load

ROOT = Path(__file__).parents[2]
SERVICES = {"init", "api", "embedder", "profiler", "affinity", "insights", "feeds"}
OURS = SERVICES | {"kafka-users", "secrets"}
ONE_SHOT = {"init", "kafka-users", "secrets"}
FROM_OUTSIDE = {"api", "insights"}
"""What the network `front` reaches."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return compose_file()


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def _compose_cli() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        answer = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and not answer.stdout.startswith("1."):
            return command
    return None


@pytest.mark.process
@pytest.mark.slow(10)
def test_the_compose_command_accepts_the_file(services: dict[str, Any]) -> None:
    command = _compose_cli()
    if command is None:
        pytest.skip("no Docker Compose 2 on this machine; the tests below check the structure")
    answer = subprocess.run(
        [*command, "--file", str(ROOT / "compose.yaml"), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert not answer.stderr, answer.stderr
    assert set(json.loads(answer.stdout)["services"]) == set(services)


def test_every_image_is_pinned_to_a_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?(@sha256:[0-9a-f]{64})?$", service["image"]), (
            f"{name}: {service['image']}"
        )


def test_our_images_carry_the_projects_version_and_name_their_target(services: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in OURS:
        service = services[name]
        assert service["image"] == f"eddyline:{project['version']}-{service['build']['target']}"
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_every_service_has_a_health_check_unless_it_ends_by_itself(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["healthcheck"] == {"disable": True}
            assert service["restart"].startswith("on-failure")
        else:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert service["restart"] == "unless-stopped", name
            assert service["stop_grace_period"], name


def test_services_wait_for_what_they_need(services: dict[str, Any]) -> None:
    healthy = {name: {"condition": "service_healthy"} for name in ("kafka", "qdrant")}
    done = {"condition": "service_completed_successfully"}
    assert "depends_on" not in services["secrets"]
    assert services["qdrant"]["depends_on"] == {"secrets": done}
    assert services["kafka-users"]["depends_on"] == {"kafka": healthy["kafka"], "secrets": done}
    assert services["init"]["depends_on"] == {**healthy, "kafka-users": done}
    for name in OURS - ONE_SHOT:
        assert services[name]["depends_on"] == {**healthy, "init": done}


def test_ports_are_open_to_this_host_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_state_is_kept_in_named_volumes(compose: dict[str, Any], services: dict[str, Any]) -> None:
    kafka = services["kafka"]
    data, *others = kafka["volumes"]
    assert data == f"kafka-data:{kafka['environment']['KAFKA_LOG_DIRS']}"
    assert others == ["/opt/kafka/config", kafka["environment"]["LOG_DIR"]]
    assert services["qdrant"]["volumes"][0] == "qdrant-data:/qdrant/storage"
    secrets = {name for name, _, _ in mounted_secrets(services["secrets"])}
    assert set(compose["volumes"]) == {"kafka-data", "qdrant-data"} | secrets


def test_containers_can_write_nothing_but_their_tmp_and_volumes(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["tmpfs"] == (["/tmp:exec"] if name == "kafka" else ["/tmp"])
        assert service["cap_drop"] == ["ALL"]
    for name in OURS - {"secrets"}:
        assert all(volume.endswith(":ro") for volume in services[name].get("volumes", [])), name


def test_no_container_gains_privileges_or_takes_processes_and_memory_without_end(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert 0 < service["pids_limit"] <= 2000, name
        assert re.fullmatch("[1-9]g", service["mem_limit"]), name


def test_kafka_and_qdrant_are_on_a_network_without_a_way_out_and_only_what_answers_is_on_another(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    networks = {name: set(service.get("networks", [])) for name, service in services.items()}
    assert networks.pop("kafka-users") == networks.pop("secrets") == set()
    assert services["kafka-users"]["network_mode"] == "service:kafka"
    assert networks == {
        **{name: {"data"} for name in ("qdrant", "init", "embedder", "profiler", "affinity")},
        **{name: {"data", "front"} for name in FROM_OUTSIDE},
        "feeds": {"data", "out"},
        "kafka": {"data", "apps"},
    }
    assert compose["networks"] == {"data": {"internal": True}, "front": None, "out": None, "apps": None}
    assert {name for name, service in services.items() if "ports" in service} == {*FROM_OUTSIDE, "kafka"}


def test_metrics_are_on_the_network_of_the_services_alone(
    services: dict[str, Any], compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SERVICES:
        settings = _load(ROOT / compose["configs"]["eddyline"]["file"], services[name]["environment"], monkeypatch)
        assert settings.server.operations_port == 9000
        assert not any(":9000" in port for port in services[name].get("ports", []))
        if name in {*FROM_OUTSIDE, "feeds"}:
            data, other = services[name]["networks"].values()
            assert (data, other) == ({"aliases": [settings.server.operations_host]}, None)


def test_pages_in_a_browser_on_this_host_can_not_read_qdrant(services: dict[str, Any]) -> None:
    assert services["qdrant"]["environment"]["QDRANT__SERVICE__ENABLE_CORS"] == "false"


def test_the_listeners_of_kafka_that_others_reach_ask_for_a_password(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    listeners = dict(one.split("://") for one in environment["KAFKA_LISTENERS"].split(","))
    protocols = dict(one.split(":") for one in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(listeners) == set(protocols)
    for name, address in listeners.items():
        assert protocols[name] == ("PLAINTEXT" if address.startswith("localhost:") else "SASL_PLAINTEXT")


def test_our_containers_answer_anyone_only_while_nobody_else_reaches_them(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment["EDDYLINE_SERVER__INSECURE"] == "true"
        source, target, _ = services[name]["volumes"][0].split(":")
        assert environment["EDDYLINE_KEYS_FILE"] == f"{target}/keys.toml"
        assert (ROOT / source).is_dir()
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", [])), (
        "a port for everyone needs keys"
    )


def test_settings_of_the_containers_are_settings_that_exist(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = compose_file(SECRETS)["services"]
    file = ROOT / compose["configs"]["eddyline"]["file"]
    for name in SERVICES:
        environment = started_environment(services[name], tmp_path / name, tmp_path / "volumes")
        assert environment["EDDYLINE_CONFIG"] == services[name]["configs"][0]["target"]
        settings = _load(file, environment, monkeypatch)
        assert settings.kafka.bootstrap_servers == "kafka:9092"
        assert settings.kafka.replication_factor == 1, "one broker can't hold more replicas"
        assert settings.qdrant.url == "http://qdrant:6333"
        assert settings.qdrant.api_key is not None
        assert settings.qdrant.api_key.get_secret_value() == SECRETS["EDDYLINE_QDRANT__API_KEY"]
        user = "admin" if name == "init" else "services"
        assert settings.kafka.client == {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": f"a-password-of-{user}",
        }
        assert [secret.get_secret_value() for secret in settings.kafka.signing_secrets] == json.loads(
            SECRETS["EDDYLINE_KAFKA__SIGNING_SECRETS"]
        )
        assert settings.server.host == "0.0.0.0"
        assert str(settings.server.port) in " ".join(services["api"]["healthcheck"]["test"])
        assert all(port.endswith(f":{settings.server.port}") for port in services[name].get("ports", []))


def test_the_example_settings_are_for_three_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {"EDDYLINE_KAFKA__CLIENT": '{"sasl.password": "s3cret"}'}
    settings = _load(ROOT / "deploy" / "eddyline.toml", secret, monkeypatch)
    assert settings.kafka.replication_factor == 3
    assert settings.kafka.client == {"sasl.password": "s3cret"}


def _load(file: Path, environment: Mapping[str, str | None], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.upper().startswith("EDDYLINE_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    return load(file)


@pytest.mark.parametrize("name", sorted(OURS - {"secrets"}))
def test_every_command_exists(name: str, services: dict[str, Any]) -> None:
    command, *options = services[name]["command"]
    answer = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    assert answer.exit_code == 0, answer.output
    for option in options:
        if option.startswith("--"):
            assert option in answer.stdout


@contextmanager
def _answering(status: int) -> Iterator[int]:
    """An HTTP server that answers /readyz with `status`, and anything else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("name", "port"), [("qdrant", 6333), ("api", 8000)])
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_a_health_check_passes_only_on_a_ready_service(
    name: str, port: int, status: int, healthy: bool, services: dict[str, Any]
) -> None:
    how, program, *arguments = services[name]["healthcheck"]["test"]
    assert how == "CMD"
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    with _answering(status) as free:
        local = [argument.replace(str(port), str(free)).replace("$$", "$") for argument in arguments]
        program = sys.executable if program == "python" else program
        answer = subprocess.run([program, *local], capture_output=True, timeout=10, check=False)
    assert (answer.returncode == 0) is healthy
