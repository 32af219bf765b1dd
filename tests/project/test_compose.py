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
import yaml
from typer.testing import CliRunner

from eddyline.cli import app
from eddyline.settings import Settings, load

ROOT = Path(__file__).parents[2]
OURS = {"init", "api", "embedder", "profiler", "affinity", "insights"}
ONE_SHOT = {"init"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


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
        assert re.search(r":v?\d+\.\d+\.\d+(-[a-z]+)?$", service["image"]), f"{name}: {service['image']}"


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
    assert services["init"]["depends_on"] == healthy
    for name in OURS - ONE_SHOT:
        assert services[name]["depends_on"] == {
            **healthy,
            "init": {"condition": "service_completed_successfully"},
        }


def test_ports_are_open_to_this_host_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_state_is_kept_in_named_volumes(compose: dict[str, Any], services: dict[str, Any]) -> None:
    assert services["kafka"]["volumes"] == [f"kafka-data:{services['kafka']['environment']['KAFKA_LOG_DIRS']}"]
    assert services["qdrant"]["volumes"] == ["qdrant-data:/qdrant/storage"]
    assert set(compose["volumes"]) == {"kafka-data", "qdrant-data"}


def test_our_containers_can_write_nothing_but_their_tmp(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert service["read_only"], name
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert all(volume.endswith(":ro") for volume in service["volumes"]), name


def test_no_container_gains_privileges_or_processes_without_end(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert 0 < service["pids_limit"] <= 2000, name


def test_pages_in_a_browser_on_this_host_can_not_read_qdrant(services: dict[str, Any]) -> None:
    assert services["qdrant"]["environment"]["QDRANT__SERVICE__ENABLE_CORS"] == "false"


def test_our_containers_answer_anyone_only_while_nobody_else_reaches_them(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    for name in OURS:
        environment = services[name]["environment"]
        assert environment["EDDYLINE_SERVER__INSECURE"] == "true"
        source, target, _ = services[name]["volumes"][0].split(":")
        assert environment["EDDYLINE_KEYS_FILE"] == f"{target}/keys.toml"
        assert (ROOT / source).is_dir()
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", [])), (
        "a port for everyone needs keys"
    )


def test_settings_of_the_containers_are_settings_that_exist(
    compose: dict[str, Any], services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ROOT / compose["configs"]["eddyline"]["file"]
    for name in OURS:
        environment = services[name]["environment"]
        assert environment["EDDYLINE_CONFIG"] == services[name]["configs"][0]["target"]
        settings = _load(file, environment, monkeypatch)
        assert settings.kafka.bootstrap_servers == "kafka:9092"
        assert settings.kafka.replication_factor == 1, "one broker can't hold more replicas"
        assert settings.qdrant.url == "http://qdrant:6333"
        assert settings.qdrant.api_key is None
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


@pytest.mark.parametrize("name", sorted(OURS))
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
