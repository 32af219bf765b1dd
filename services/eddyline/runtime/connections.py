"""Opening what the settings name: the vector store, the directories, the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eddyline.adapters.kafka import KafkaOptions, open_embedded_log
from eddyline.adapters.vectors import VectorStore
from eddyline.errors import Misconfigured
from eddyline.maintenance.data_directory import JOURNAL, VECTORS, check_restored
from eddyline.model.signatures import RecordSigner
from eddyline.settings import KafkaSettings, Settings


def open_store(settings: Settings) -> VectorStore:
    """Open the Qdrant server of the settings, or Qdrant Edge in the data directory.

    Raises `AlreadyRunning` where another process holds the directory.
    """
    if settings.qdrant.url:
        from eddyline.adapters.vectors import ServerStore

        key = settings.qdrant.api_key
        return ServerStore(
            settings.qdrant.url,
            key.get_secret_value() if key else None,
            settings.qdrant.timeout_seconds,
            settings.qdrant.prefix,
        )
    try:
        from eddyline.adapters.vectors import EdgeStore
    except ImportError:
        raise Misconfigured(
            "no Qdrant server is set (EDDYLINE_QDRANT__URL), and the embedded one needs: pip install 'eddyline[edge]'"
        ) from None
    check_restored(settings.data_dir)
    os.umask(0o077)  # of what this process writes from here on, others read nothing
    return EdgeStore(vectors_directory(settings))


def vectors_directory(settings: Settings) -> Path:
    """Locate the shards of Qdrant Edge."""
    return settings.data_dir / VECTORS


def journal_directory(settings: Settings) -> Path:
    """Locate the log of the embedded mode."""
    return settings.data_dir / JOURNAL


@contextmanager
def open_log(settings: Settings) -> Iterator[KafkaOptions]:
    """Reach the cluster of the settings, or else the log in the data directory. Raises `Misconfigured`."""
    if settings.kafka.bootstrap_servers:
        yield kafka_options(settings)
        return
    with open_embedded_log(journal_directory(settings), rewinds=not settings.qdrant.url) as options:
        yield options


def kafka_options(settings: Settings) -> KafkaOptions:
    """Describe the cluster of the settings."""
    kafka = settings.kafka
    return KafkaOptions(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=kafka.prefix,
        partitions=kafka.partitions,
        replication_factor=kafka.replication_factor,
        group_protocol=kafka.group_protocol,
        client=dict(kafka.client),
        signer=_signer(kafka),
    )


def _signer(kafka: KafkaSettings) -> RecordSigner | None:
    secrets = tuple(secret.get_secret_value() for secret in kafka.signing_secrets)
    return RecordSigner(secrets, kafka.accept_unsigned) if secrets else None
