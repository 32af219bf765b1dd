"""`eddyline encoder`: a process that only encodes, for others that have no encoder of their own."""

from __future__ import annotations

import signal
from types import FrameType

from eddyline.adapters.encoders import create_text_encoder
from eddyline.adapters.http import HttpServer, create_app
from eddyline.adapters.telemetry import Metrics, configure_logging
from eddyline.encoder.api import BODIES, router
from eddyline.errors import Misconfigured
from eddyline.settings import Settings


def serve_encoder(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `Misconfigured`, and `Unavailable`."""
    configure_logging(settings.log_level, settings.log_format)
    if settings.encoder.kind == "http":
        raise Misconfigured("encoder.kind is http: this process would only ask another one; set it to local or openai")
    metrics = Metrics()
    encoder = create_text_encoder(settings, metrics)
    routes = router(encoder, settings.encoder.serving_key, settings.server.max_body_bytes)
    server = HttpServer(create_app([routes], {}, metrics, BODIES), settings.server.host, settings.server.port)

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"Listening on {server.url} (encoder {encoder.model}, {encoder.dimension} dimensions)", flush=True)
    server.run()
