"""Decode images from anyone, of the `FORMATS` below: the size is checked before a pixel is unpacked."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from typing import Any

from eddyline.errors import ImageRefused, Misconfigured

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MIN_REDUCED_SIDE = 448
"""Pixels that the shorter side keeps when an image is reduced: twice what models look at."""
MAX_ASPECT_RATIO = 4
"""Largest ratio of the sides; of a longer image the middle is used. Models bring the shorter
side to their own length, which makes a strip enormous."""
MIN_SIDE = 8
"""Fewest pixels of the shorter side: models take less for something else than a picture, or fail."""
CONCURRENT_DECODES = 2
"""Images that are decoded at a time, however many threads fetch: each takes up to nine bytes a pixel."""
_DAMAGED = (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise where the bytes aren't what they should be."""


class ImageDecoder:
    """Bytes → a `PIL.Image.Image` in RGB, upright, of an animation the first frame. Safe from any thread."""

    def __init__(self, max_pixels: int) -> None:
        """Raises `Misconfigured` where Pillow isn't installed."""
        try:
            from PIL import Image, ImageOps
        except ImportError:
            raise Misconfigured("images need Pillow: pip install 'eddyline[embedder]'") from None
        self._images: Any = Image
        self._operations: Any = ImageOps
        self._max_pixels = max_pixels
        self._room = threading.BoundedSemaphore(CONCURRENT_DECODES)

    def decode(self, body: bytes) -> Any:
        """Decode an image. A large one is reduced by a whole factor, the shorter side to no less than 448 pixels.

        Raises `ImageRefused` for too many pixels or too few, or bytes that aren't a whole JPEG, PNG, WebP or GIF.
        """
        bombs = (self._images.DecompressionBombError, self._images.DecompressionBombWarning)
        try:
            with self._room, self._images.open(io.BytesIO(body), formats=FORMATS) as image:
                self._check_pixels(*image.size)
                image.draft("RGB", (MIN_REDUCED_SIDE, MIN_REDUCED_SIDE))  # a JPEG is then unpacked small
                image.load()
                return self._upright(image)
        except bombs:
            raise self._bomb("far too many") from None
        except self._images.UnidentifiedImageError:
            raise ImageRefused(
                "damaged", f"its bytes are none of {', '.join(FORMATS)}, whatever its content type: give an image"
            ) from None
        except _DAMAGED as error:
            raise ImageRefused(
                "damaged", f"it can't be decoded ({str(error)[:100]}): give an undamaged image"
            ) from None

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise self._bomb(f"{width:,} × {height:,}")
        if min(width, height) < MIN_SIDE:
            raise ImageRefused(
                "too_small", f"it has {width:,} × {height:,} pixels: give a picture of at least {MIN_SIDE} a side"
            )

    def _bomb(self, pixels: str) -> ImageRefused:
        return ImageRefused(
            "too_many_pixels",
            f"it has {pixels} pixels; at most {self._max_pixels:,} are decoded (images.max_pixels): give a smaller "
            "image",
        )

    def _upright(self, image: Any) -> Any:
        image = _not_a_strip(image)
        factor = min(image.size) // MIN_REDUCED_SIDE
        plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if factor > 1:  # before anything else is made of it, which takes as much memory again
            plain = plain.reduce(factor)
        plain = self._operations.exif_transpose(plain)
        if plain.mode == "RGBA":
            ground = self._images.new("RGBA", plain.size, "white")
            plain = self._images.alpha_composite(ground, plain).convert("RGB")
        return plain


def _not_a_strip(image: Any) -> Any:
    width, height = image.size
    longest = MAX_ASPECT_RATIO * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, width - longest) // 2, max(0, height - longest) // 2
    return image.crop((left, top, width - left, height - top))
