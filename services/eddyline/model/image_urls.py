"""Where an item's picture is: at an address, or in a `data:` address (RFC 2397), which has a short name where it is
stored."""

from __future__ import annotations

import binascii
import hashlib
import re
from dataclasses import dataclass

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")
ADDRESS_CHARACTERS = 2048
SCHEME = "data:"
_NAME = re.compile(rf"data:({'|'.join(MEDIA_TYPES)});sha256=[0-9a-f]{{64}}")
_FORM = "data:image/jpeg;base64,…"


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """A picture that came with its item: the media type that its sender gives, and its bytes."""

    media_type: str
    body: bytes

    @property
    def name(self) -> str:
        """Return what stands for it wherever it is stored or shown: `data:image/jpeg;sha256=<hex>`, the same for the
        same picture."""
        return f"{SCHEME}{self.media_type};sha256={hashlib.sha256(self.body).hexdigest()}"


def is_uploaded_image_name(address: str) -> bool:
    """Return whether it is the name of a picture that was uploaded before.

    >>> is_uploaded_image_name("https://pictures.example/red")
    False
    """
    return _NAME.fullmatch(address) is not None


def parse_data_url(address: str | None) -> UploadedImage | None:
    """Return the picture that a `data:` address holds; None for another address, or a picture's name.

    Raises ValueError saying what is wrong with it.
    """
    if address is None or address[: len(SCHEME)].lower() != SCHEME or is_uploaded_image_name(address):
        return None
    head, comma, encoded = address[len(SCHEME) :].partition(",")
    media_type, *parameters = head.split(";")
    if not comma or [parameter.lower() for parameter in parameters] != ["base64"]:
        raise ValueError(f"is not a base64 picture: write {_FORM}")
    if media_type.lower() not in MEDIA_TYPES:
        raise ValueError(
            f"{media_type[:60] or 'no media type'!r} is not a supported picture type: "
            f"give one of {', '.join(MEDIA_TYPES)}"
        )
    try:
        body = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as error:  # binascii's own, and for what isn't ASCII
        raise ValueError(
            f"its picture is not valid base64 ({str(error)[:80]}): use the standard alphabet with padding, and nothing "
            "between"
        ) from None
    if not body:
        raise ValueError(f"its picture is empty: write {_FORM}")
    return UploadedImage(media_type.lower(), body)


def stored_image_url(address: str | None) -> str | None:
    """Return what is stored of the address of an item's picture: an uploaded picture's name, any other as it is."""
    try:
        upload = parse_data_url(address)
    except ValueError:  # no picture: the image embedder reports it
        return address
    return address if upload is None else upload.name


def check_image_url(address: str) -> str:
    """Return the address itself. Raises ValueError for a long one that is no uploaded picture, saying why it isn't."""
    if len(address) > ADDRESS_CHARACTERS and parse_data_url(address) is None:
        raise ValueError(
            f"has {len(address):,} characters, an address at most {ADDRESS_CHARACTERS:,}: give a shorter one, or the "
            f"picture itself ({_FORM})"
        )
    return address
