"""Which installation it is: the same after a restart, another after a new beginning."""

from __future__ import annotations

from pathlib import Path

import pytest

from eddyline.adapters.kafka import KafkaOptions
from eddyline.runtime import installation
from eddyline.runtime.installation import installation_id
from eddyline.settings import KafkaSettings, QdrantSettings, Settings


def test_a_data_directory_is_one_installation_until_it_is_made_anew(tmp_path: Path) -> None:
    options = KafkaOptions("127.0.0.1:1")
    first = installation_id(Settings(data_dir=tmp_path / "data"), options)
    assert installation_id(Settings(data_dir=tmp_path / "data"), options) == first
    (tmp_path / "data" / "installation").unlink()
    assert installation_id(Settings(data_dir=tmp_path / "data"), options) != first


def test_all_processes_of_a_cluster_are_one_until_its_topics_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ["cluster/topic"]
    monkeypatch.setattr(installation, "log_identities", lambda options, topics: dict.fromkeys(topics, log[0]))

    def on_host(name: str) -> str:
        settings = Settings(
            data_dir=tmp_path / name,
            kafka=KafkaSettings(bootstrap_servers="kafka:9092"),
            qdrant=QdrantSettings(url="http://qdrant:6333"),
        )
        return installation_id(settings, KafkaOptions("kafka:9092"))

    first = on_host("a")
    assert on_host("b") == first
    assert not list(tmp_path.iterdir()), "a cluster's process needs no directory"
    log[0] = "cluster/another"
    assert on_host("a") != first
