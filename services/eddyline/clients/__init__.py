"""Clients of a running Eddyline's HTTP API: one client, and the import, the lists for many, the simulator and the tour
that stand on it. None of it needs a model, Kafka or Qdrant."""

from eddyline.clients.async_client import AsyncClient
from eddyline.clients.client import Client
from eddyline.clients.responses import Rejections
from eddyline.clients.retries import FOR_A_MINUTE, NO_RETRIES, WHILE_BUSY, Failure, Retries
from eddyline.model.ids import Person

__all__ = [
    "FOR_A_MINUTE",
    "NO_RETRIES",
    "WHILE_BUSY",
    "AsyncClient",
    "Client",
    "Failure",
    "Person",
    "Rejections",
    "Retries",
]
