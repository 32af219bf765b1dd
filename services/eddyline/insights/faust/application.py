"""The Faust application: its consumer group, its tables, and the end of a rebalance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust

from eddyline.adapters.kafka import KafkaOptions
from eddyline.insights.faust.security import credentials
from eddyline.topics import INSIGHTS, LARGE_RECORD_BYTES

SESSION_SECONDS, HEARTBEAT_SECONDS, REBALANCE_SECONDS = 10.0, 1.0, 15.0


class FaustApplication(faust.App):
    """Calls `resumed` when a rebalance is over: the tables are recovered, and the streams flow again."""

    def __init__(self, *args: Any, resumed: Callable[[], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._resumed = resumed

    def on_rebalance_end(self) -> None:
        """Handle the end, which Faust calls; none of its signals comes as late."""
        super().on_rebalance_end()
        self._resumed()


def build_application(directory: Path, options: KafkaOptions, resumed: Callable[[], None]) -> FaustApplication:
    """Build the application, whose tables are kept in `directory`. Raises `Misconfigured`."""
    servers = [f"kafka://{server.strip()}" for server in options.bootstrap_servers.split(",")]
    return FaustApplication(
        options.prefix + INSIGHTS,
        resumed=resumed,
        broker=servers,
        broker_credentials=credentials(options.client),
        store="rocksdb://",
        datadir=str(directory),
        web_enabled=False,
        topic_partitions=options.partitions,
        topic_replication_factor=options.replication_factor,
        topic_allow_declare=False,
        topic_disable_leader=True,
        broker_commit_interval=1.0,
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_rebalance_timeout=REBALANCE_SECONDS,
        producer_acks=-1,
        producer_max_request_size=LARGE_RECORD_BYTES,
        consumer_max_fetch_size=LARGE_RECORD_BYTES,
        stream_wait_empty=False,
    )
