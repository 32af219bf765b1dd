"""A process that answers as a Qdrant server would, and keeps nothing: what a store's client costs, without the store.

Every write is acknowledged. Every item and row that is looked up is there, with a made vector, and no profile is.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import orjson

from eddyline.adapters.vectors import ServerStore

DIMENSION = 384
CONTENT = np.random.default_rng(1).normal(size=DIMENSION).astype(np.float32).tolist()
COMPLETED = {"operation_id": 0, "status": "completed"}


@contextmanager
def answering_store() -> Iterator[ServerStore]:
    """Yield a store of it; its processor time isn't this process's."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        store = ServerStore(process.stdout.readline().strip(), timeout_seconds=60.0)
        try:
            yield store
        finally:
            store.close()
            process.terminate()


class Answering(BaseHTTPRequestHandler):
    """Answers writes and look-ups."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        """Acknowledge a write."""
        self._read()
        self._answer(COMPLETED)

    def do_POST(self) -> None:
        """Answer a look-up, or with no more pages."""
        asked = orjson.loads(self._read())
        if self.path.endswith("/scroll"):
            self._answer({"points": [], "next_page_offset": None})
            return
        ids = asked["ids"]
        known = [] if "/profiles/" in self.path else ids
        payload = {"space": "s", "meta": {}}
        self._answer(
            [{"id": id, "payload": {"item_id": id, **payload}, "vector": {"content": CONTENT}} for id in known]
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, result: object) -> None:
        body = orjson.dumps({"result": result, "status": "ok", "time": 0.0})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
