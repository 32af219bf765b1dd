"""Encoders: what turns text into vectors, behind one port."""

from eddyline.adapters.encoders.clip import ClipEncoder
from eddyline.adapters.encoders.codecs import DESCRIPTION, ENCODE
from eddyline.adapters.encoders.contract import ImageEncoder, TextEncoder
from eddyline.adapters.encoders.item_vectors import embed_items
from eddyline.adapters.encoders.local import SentenceTransformerEncoder
from eddyline.adapters.encoders.remote import RemoteEncoder
from eddyline.adapters.encoders.retry import RetryingEncoder
from eddyline.adapters.telemetry import Metrics
from eddyline.model.text import Template
from eddyline.settings import Settings

__all__ = [
    "DESCRIPTION",
    "ENCODE",
    "ClipEncoder",
    "ImageEncoder",
    "RemoteEncoder",
    "RetryingEncoder",
    "SentenceTransformerEncoder",
    "TextEncoder",
    "create_text_encoder",
    "embed_items",
]


def create_text_encoder(settings: Settings, metrics: Metrics) -> TextEncoder:
    """Return the encoder that the settings name. Raises `Misconfigured` where it can't be had, and `Unavailable`."""
    kind = SentenceTransformerEncoder if settings.encoder.kind == "local" else RemoteEncoder
    return kind(settings.encoder, metrics, Template.from_settings(settings.encoder.template).version)
