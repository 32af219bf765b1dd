"""Encoders: what turns text into vectors, behind one port."""

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.adapters.encoders.embedding import embed
from eddyline.adapters.encoders.local import SentenceTransformerEncoder
from eddyline.adapters.telemetry import Metrics
from eddyline.model.text import Template
from eddyline.settings import Encoder as EncoderSettings

__all__ = ["SentenceTransformerEncoder", "TextEncoder", "embed", "text_encoder"]


def text_encoder(settings: EncoderSettings, metrics: Metrics) -> TextEncoder:
    """The encoder that the settings name. Raises `Misconfigured` where it can't be had."""
    return SentenceTransformerEncoder(settings, metrics, Template.of(settings.template).version)
