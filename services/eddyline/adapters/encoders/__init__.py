"""Encoders: what turns text into vectors, behind one port."""

from eddyline.adapters.encoders.clip import ClipEncoder
from eddyline.adapters.encoders.contract import ImageEncoder, TextEncoder
from eddyline.adapters.encoders.http_encoder import DESCRIPTION, ENCODE, HttpEncoder
from eddyline.adapters.encoders.item_vectors import embed_items
from eddyline.adapters.encoders.local import SentenceTransformerEncoder
from eddyline.adapters.encoders.openai import OpenAIEncoder
from eddyline.adapters.encoders.retry import RetryingEncoder
from eddyline.adapters.telemetry import Metrics
from eddyline.model.text import Template
from eddyline.settings import Settings

__all__ = [
    "DESCRIPTION",
    "ENCODE",
    "ClipEncoder",
    "HttpEncoder",
    "ImageEncoder",
    "OpenAIEncoder",
    "RetryingEncoder",
    "SentenceTransformerEncoder",
    "TextEncoder",
    "create_text_encoder",
    "embed_items",
]


def create_text_encoder(settings: Settings, metrics: Metrics) -> TextEncoder:
    """The encoder that the settings name. Raises `Misconfigured` where it can't be had, and `Unavailable`."""
    wanted, template_version = settings.encoder, Template.of(settings.encoder.template).version
    if wanted.kind == "openai":
        return OpenAIEncoder(wanted, metrics, template_version)
    if wanted.kind == "http":
        return HttpEncoder(wanted, metrics, template_version)
    return SentenceTransformerEncoder(wanted, metrics, template_version)
