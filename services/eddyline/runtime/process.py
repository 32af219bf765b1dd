"""A process that runs some of the roles: built, run until a signal or a failure, stopped in order.

The main thread serves HTTP (`HttpServer.run`), another one operators where they have a port of their own. Each
consumer's loop has a thread, and one more watches for generations (`consumers`); the reader's senders, insights'
readers and the images' fetchers have theirs. Signal handlers only ask for a stop. A loop that fails, or a generation
that a service can't work on, ends the whole process: the next start goes on from the last commit. A crash loses nothing
that was acknowledged, and a stop has nothing to wait for: the rest is in the log.
"""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Sequence
from functools import partial
from types import FrameType

import structlog

from eddyline import reader
from eddyline.adapters.http import (
    HttpServer,
    ReadinessCheck,
    create_app,
    create_operations_app,
    listen,
    operations_routes,
    pages,
    probe_routes,
)
from eddyline.adapters.telemetry import Metrics
from eddyline.collector import schemas as collector
from eddyline.encoder import api as encoder
from eddyline.feeds import api as feeds
from eddyline.runtime.access import access_control, check_address, open_keys
from eddyline.runtime.collection_setup import check_collections
from eddyline.runtime.console_setup import console_routes
from eddyline.runtime.consumers import ConsumerThreads
from eddyline.runtime.installation import installation_id
from eddyline.runtime.resources import Resources
from eddyline.runtime.roles import BUILDERS
from eddyline.runtime.startup_checks import API_ROLES, check_roles, offers_playground
from eddyline.settings import Settings

log = structlog.get_logger("eddyline")


class Runtime:
    """One process with some of the roles. Without a Kafka cluster or a Qdrant server in the settings it brings the
    embedded broker or Qdrant Edge, which only a process with all roles can."""

    def __init__(
        self,
        settings: Settings,
        roles: Sequence[str],
        listeners: Sequence[socket.socket] = (),
        operations_listener: socket.socket | None = None,
    ) -> None:
        """Open what the roles need, and build them. Raises `Misconfigured` for settings that can't work.

        `listeners`, `operations_listener`: where to answer, instead of the settings' addresses; it closes them.
        """
        self.roles = check_roles(settings, roles)
        check_address(settings, self.roles)
        self._stopping = threading.Event()
        self.metrics = Metrics()
        self.resources = Resources(settings, self.roles, self.metrics)
        try:
            self._build(settings, listeners, operations_listener)
        except BaseException:
            self.resources.stack.close()
            raise

    def _build(
        self, settings: Settings, listeners: Sequence[socket.socket], operations_listener: socket.socket | None
    ) -> None:
        built = [BUILDERS[name](self.resources) for name in self.roles]
        consumers = [role.consumer for role in built if role.consumer is not None]
        self._insights = next((role.insights for role in built if role.insights is not None), None)
        checks: dict[str, ReadinessCheck] = {}
        if self.resources.has_store:
            checks["vectors"] = lambda: check_collections(self.resources.store)
        if self.resources.has_broker:
            checks["broker"] = self.resources.intake.check
        checks |= {consumer.name: consumer.check for consumer in consumers}
        if self._insights is not None and len(built) == 1:  # beside others it isn't needed to answer
            checks["insights"] = self._insights.check
        routers = [role.routes for role in built if role.routes is not None]
        is_api = self.resources.has_store
        self.has_playground = offers_playground(settings, self.roles)
        if set(API_ROLES) & set(self.roles):
            has_console = "reader" in self.roles
            routers.append(pages.router(self.has_playground, has_console))
            if has_console:
                routers.append(console_routes(self.resources, self._stopping.is_set))
        bodies = (*collector.BODIES, *reader.BODIES, *feeds.BODIES) if is_api else encoder.BODIES
        keys = open_keys(settings, self.roles, self.metrics)
        self.resources.stack.callback(keys.close)
        keys.start()
        server, access = settings.server, access_control(settings, keys)
        installation = installation_id(settings, self.resources.options) if self.resources.has_broker else None
        operations = operations_routes if server.operations_port is None else probe_routes
        app = create_app(
            routers,
            checks,
            self.metrics,
            bodies,
            server.cors_origins if is_api else (),
            access,
            partial(operations, installation=installation),
        )
        self._server = HttpServer(
            app, *(listeners or [listen(server.host, server.port)]), settings=server, metrics=self.metrics
        )
        self._operations_server: HttpServer | None = None
        if server.operations_port is not None:
            listener = operations_listener or listen(server.operations_host or server.host, server.operations_port)
            # What it refuses isn't counted among what people are refused.
            operations_app = create_operations_app(checks, self.metrics, access)
            self._operations_server = HttpServer(operations_app, listener, settings=server)
        self._consumers = ConsumerThreads(consumers, self.resources.read_generations, self._server.stop)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    @property
    def operations_url(self) -> str:
        """Where it answers operators."""
        return (self._operations_server or self._server).url

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or a failure; then stop intake, finish the batches in hand, commit, leave.

        Raises what made a service stop.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        gc.collect()
        gc.freeze()  # the model's objects live as long as the process: the collector need not walk them again
        with self.resources.stack:
            if self._operations_server is not None:
                self._operations_server.start()
                self.resources.stack.callback(self._operations_server.join)
                self.resources.stack.callback(self._operations_server.stop)
            try:
                self._consumers.start()
                if self._insights is not None:
                    self._insights.start()
                self._server.run()
            finally:
                self.resources.close_senders()  # what they send is still to be handled
                self._stop_consumers()
        if self._consumers.failure is not None:
            raise self._consumers.failure

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping.is_set():
            self._consumers.halt()
            return
        log.info("stopping", signal=signal.Signals(number).name)
        self._stopping.set()
        self._server.stop()

    def _stop_consumers(self) -> None:
        """End the consumers, each after the batch in hand."""
        self._stopping.set()
        self._consumers.stop()
        if self._insights is not None:
            self._insights.close()
