"""The worker's process: what it is told, how it is watched, and what it makes of a secured cluster's settings."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest
from faust.auth import SASLCredentials, SSLCredentials
from tests.support.kafka import wait_until

from eddyline.adapters.kafka import KafkaOptions
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured, Unavailable
from eddyline.insights import supervisor as supervising
from eddyline.insights.faust.security import credentials
from eddyline.insights.supervisor import Supervisor
from eddyline.insights.worker_config import WorkerConfig
from eddyline.settings import InsightsSettings


def a_job(directory: Path) -> WorkerConfig:
    options = KafkaOptions("a:9092,b:9092", prefix="p.", client={"sasl.password": "secret"})
    return WorkerConfig(
        cluster=options,
        settings=InsightsSettings(clicks=("open",)),
        directory=directory,
        is_embedded=False,
        log_level="info",
        log_format="json",
    )


def test_a_job_says_all_that_the_worker_must_know(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    read = WorkerConfig.model_validate_json(job.model_dump_json())
    assert read == job
    assert read.cluster == KafkaOptions("a:9092,b:9092", prefix="p.", client={"sasl.password": "secret"})


def a_worker(tmp_path: Path, program: str) -> tuple[Supervisor, Metrics]:
    metrics = Metrics()
    return Supervisor(a_job(tmp_path), metrics, [sys.executable, "-c", program]), metrics


def test_a_worker_gets_its_job_and_ends_with_its_supervisor(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = f"import sys; open({str(told)!r}, 'w').write(sys.stdin.readline()); sys.stdin.read()"
    supervisor, metrics = a_worker(tmp_path, program)
    supervisor.start()
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"), "it was told")
    supervisor.check()
    assert WorkerConfig.model_validate_json(told.read_text()) == a_job(tmp_path)
    supervisor.stop()
    assert supervisor.pid is None
    assert b"eddyline_insights_restarts_total 0.0" in metrics.render()


def test_a_worker_that_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    lives = tmp_path / "lives"
    program = f"import sys; sys.stdin.readline(); open({str(lives)!r}, 'a').write('x'); sys.exit(70)"
    supervisor, metrics = a_worker(tmp_path, program)
    with pytest.raises(Unavailable, match="restarted soon"):
        supervisor.check()
    supervisor.start()
    wait_until(lambda: lives.exists() and len(lives.read_text()) >= 3, "it lives for the third time")
    supervisor.stop()
    assert b"eddyline_insights_restarts_total 0.0" not in metrics.render()


def test_a_worker_that_was_just_being_started_is_ended_too(tmp_path: Path) -> None:
    for _ in range(5):
        supervisor, _ = a_worker(tmp_path, "import sys; sys.stdin.read()")
        supervisor.start()
        supervisor.stop()
        assert supervisor.pid is None


def test_where_no_process_can_be_had_it_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    told = tmp_path / "told"
    program = tmp_path / "worker"
    supervisor = Supervisor(a_job(tmp_path), Metrics(), [str(program)])
    supervisor.start()
    program.write_text(f"#!/bin/sh\nread line; echo told > {told}; cat\n")
    program.chmod(0o755)
    wait_until(told.exists, "it was started in the end")
    supervisor.stop()


def test_an_open_cluster_needs_no_credentials() -> None:
    assert credentials({}) is None
    assert credentials({"linger.ms": "5", "security.protocol": "PLAINTEXT"}) is None


def test_sasl_becomes_fausts() -> None:
    found = credentials(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "eddy",
            "sasl.password": "secret",
        }
    )
    assert isinstance(found, SASLCredentials)
    assert (found.username, found.password, found.mechanism.value) == ("eddy", "secret", "SCRAM-SHA-512")
    assert found.ssl_context is not None
    assert found.ssl_context.verify_mode is ssl.CERT_REQUIRED
    assert found.ssl_context.check_hostname


def test_tls_alone_becomes_fausts() -> None:
    found = credentials({"security.protocol": "ssl", "ssl.endpoint.identification.algorithm": "none"})
    assert isinstance(found, SSLCredentials)
    assert not found.context.check_hostname


@pytest.mark.parametrize(
    ("client", "complaint"),
    [
        ({"sasl.oauthbearer.config": "x"}, r"can't use sasl\.oauthbearer\.config"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, r"can't use sasl\.mechanism GSSAPI"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem"}, "certificates can't be read"),
    ],
)
def test_what_faust_cannot_follow_is_refused_by_name(client: dict[str, str], complaint: str) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        credentials(client)
