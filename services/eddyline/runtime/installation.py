"""Which installation a process belongs to: what was sent to one must be sent again to another."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from eddyline.adapters.kafka import KafkaOptions, log_identities
from eddyline.adapters.private_files import make_private
from eddyline.settings import Settings
from eddyline.topics import CONTENT


def installation_id(settings: Settings, options: KafkaOptions) -> str:
    """Return a name that tells nothing: of the cluster's log of items, and of the data directory where there is no
    cluster, or no Qdrant server. It changes when either is made anew.

    Raises `Unavailable` where the cluster doesn't answer.
    """
    parts = []
    if settings.kafka.bootstrap_servers:
        parts.append(log_identities(options, [CONTENT])[CONTENT])
    if not settings.kafka.bootstrap_servers or not settings.qdrant.url:
        parts.append(_directory_id(settings.data_dir))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _directory_id(data_dir: Path) -> str:
    """Return the id in the directory's file `installation`, which is made where there is none."""
    file = data_dir / "installation"
    make_private(data_dir)
    try:
        with file.open("x", encoding="ascii") as made:
            made.write(str(uuid.uuid4()))
    except FileExistsError:
        pass
    return file.read_text(encoding="ascii")
