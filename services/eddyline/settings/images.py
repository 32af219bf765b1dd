"""How items' images are fetched, decoded and embedded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eddyline.settings.section import Count, Networks, Positive, Section


class ImageSettings(Section):
    """How items' images are fetched, and turned into vectors."""

    enabled: bool = False
    """Whether items' images are fetched and searched by; it needs `eddyline[embedder]`."""
    model: str = "sentence-transformers/clip-ViT-B-32"
    """Any CLIP model of sentence-transformers, by name or path."""
    device: str = "cpu"
    """Torch device of that model."""
    batch_size: Count = 16
    """Images encoded at once."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """Images fetched at once by each imager."""
    attempts: Count = 10
    """Attempts at an image whose host doesn't answer properly; after that it has failed, until its item is sent
    again."""
    max_bytes: Count = 10_485_760
    """Largest image that is fetched from a URL."""
    max_upload_bytes: Annotated[int, Field(ge=1, le=600_000)] = 262_144
    """Largest image that is taken with its item (`data:image/jpeg;base64,…`). In base64 it is a third larger, and
    must fit, with the rest of the item, into a record of 1 MB and into `server.max_body_bytes`."""
    max_pixels: Annotated[int, Field(ge=1, le=80_000_000)] = 25_000_000
    """Most pixels (width times height) of an image that is decoded; each takes up to nine bytes for a moment, of
    two images at a time."""
    step_timeout_seconds: Positive = 5.0
    """Longest that a look-up, a connection or a read of an image host may take."""
    total_timeout_seconds: Positive = 20.0
    """Longest that one image may take, redirects included."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that images are fetched from whatever their address, e.g. ["images.internal"]. Others need a public
    address."""
    allowed_networks: Networks = ()
    """Internal networks that images are fetched from whatever the host's name, e.g. ["10.3.0.0/16"]."""
