"""Encoders: what turns text into vectors, behind one port."""

from eddyline.adapters.encoders.clip import ClipEncoder
from eddyline.adapters.encoders.contract import ImageEncoder, TextEncoder
from eddyline.adapters.encoders.local import SentenceTransformerEncoder
from eddyline.adapters.telemetry import Metrics
from eddyline.settings import Encoder as EncoderSettings

__all__ = ["ClipEncoder", "ImageEncoder", "SentenceTransformerEncoder", "TextEncoder", "text_encoder"]


def text_encoder(settings: EncoderSettings, metrics: Metrics) -> TextEncoder:
    """The encoder that the settings name. Raises `Misconfigured` where it can't be had."""
    return SentenceTransformerEncoder(settings, metrics)
