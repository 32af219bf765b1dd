"""Clients of a running Eddyline's HTTP API: one client, and the import, the lists for many, the simulator and the tour
that stand on it. None of it needs a model, Kafka or Qdrant."""

from eddyline.clients.client import (
    FOR_A_MINUTE,
    NO_RETRIES,
    WHILE_BUSY,
    AsyncClient,
    Client,
    Failure,
    Rejections,
    Retries,
)

__all__ = ["FOR_A_MINUTE", "NO_RETRIES", "WHILE_BUSY", "AsyncClient", "Client", "Failure", "Rejections", "Retries"]
