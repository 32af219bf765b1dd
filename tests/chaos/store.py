"""The stand-in for a Qdrant server, in a process of its own: several workers share it, and it can be killed."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

from tests.support.qdrant_rest import QdrantRest, Seen


class _Unseen(list[Seen]):
    """Keeps no request: there are too many."""

    def append(self, request: Seen) -> None:
        """Nothing."""


def main(config: dict[str, Any]) -> None:
    """Serve until a signal. `port`, and the `directory` where what is written outlives a kill (None: memory)."""
    directory = config["directory"]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    kept = None if directory is None else Path(directory)
    server = QdrantRest(directory=kept, port=config["port"], seen=_Unseen())
    ended.wait()
    server.close()
