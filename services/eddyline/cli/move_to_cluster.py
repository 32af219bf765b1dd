"""`eddyline move-to-cluster`: from the embedded mode to a Kafka cluster and a Qdrant server."""

from __future__ import annotations

import time
from contextlib import closing

from eddyline.cli.shared_options import ConfigFile, DataDir, load_settings
from eddyline.errors import AlreadyRunning, Misconfigured


def move_to_cluster(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Copy an embedded installation to the Kafka cluster and the Qdrant server of the settings, where it goes on.

    Stop Eddyline first, and don't start it on the data directory again: nothing is deleted there. (Files of items and
    events come in by `eddyline import`; a copy of the data directory is made by `eddyline backup`.)
    """
    from eddyline.adapters.kafka import open_embedded_log
    from eddyline.adapters.vectors import EdgeStore
    from eddyline.maintenance import cluster_move
    from eddyline.maintenance.data_directory import JOURNAL, VECTORS, check_restored
    from eddyline.runtime.connections import kafka_options, open_store

    settings = load_settings(config, data_dir)
    directory = settings.data_dir
    if not settings.kafka.bootstrap_servers or not settings.qdrant.url:
        raise Misconfigured(
            "say where to: set EDDYLINE_KAFKA__BOOTSTRAP_SERVERS and EDDYLINE_QDRANT__URL (the data directory is "
            f"{directory}; --data-dir names another)"
        )
    for needed in (VECTORS, JOURNAL):
        if not (directory / needed).is_dir():
            raise Misconfigured(f"{directory} is no data directory of an embedded Eddyline: it has no {needed}/")
    check_restored(directory)
    began = time.monotonic()
    try:
        store = EdgeStore(directory / VECTORS)
    except AlreadyRunning as error:
        raise AlreadyRunning(f"{error}; Eddyline must not run while it is moved") from None
    with (
        closing(store),
        open_embedded_log(directory / JOURNAL, rewinds=True) as log,
        closing(open_store(settings)) as there,
    ):
        cluster_move.move_to_cluster(
            cluster_move.Origin(log, store), cluster_move.Destination(kafka_options(settings), there), print
        )
    print(
        f"All of {directory} is on the cluster, in {time.monotonic() - began:.1f} s: start the services there, and "
        "this directory no more"
    )
