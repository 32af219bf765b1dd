"""Images and texts in one space: a CLIP model of sentence-transformers in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.local_models import FairLock, silence_transformers, weights_checksum
from eddyline.errors import Misconfigured
from eddyline.settings import ImageSettings

IMAGE_VERSION = 1
"""How images are made ready for the model (upright, on white, reduced): changing it changes every vector."""


class ClipEncoder:
    """Any model of sentence-transformers that takes images and texts, by name or path."""

    def __init__(self, settings: ImageSettings) -> None:
        """Load the model and try it. Raises `Misconfigured` when it can't be had, or doesn't take both."""
        try:
            from PIL import Image
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise Misconfigured("images need sentence-transformers: pip install 'eddyline[embedder]'") from None
        silence_transformers()
        try:
            self._model: Any = SentenceTransformer(settings.model, device=settings.device)
        except Exception as error:  # whatever a foreign library makes of a damaged or missing model
            raise Misconfigured(f"images.model {settings.model!r} can't be loaded: {error}") from error
        self._batch_size = settings.batch_size
        self._turns = FairLock()
        self._dimension = self._try(settings.model, Image.new("RGB", (8, 8)))
        self._space = f"{weights_checksum(self._model)[:16]}-i{IMAGE_VERSION}"

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._dimension

    @property
    def space(self) -> str:
        """`<first 16 of the weights' SHA-256>-i<version of how images are made ready>`."""
        return self._space

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(images), dimension), float32, of `PIL.Image.Image`s in RGB."""
        return self._encode(images)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(texts), dimension), float32, in the space of the images. What is longer
        than the model reads (CLIP: 77 tokens) is cut."""
        return self._encode(texts)

    def _encode(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        vectors = np.zeros((len(inputs), self._dimension), dtype=np.float32)
        for start in range(0, len(inputs), self._batch_size):
            batch = list(inputs[start : start + self._batch_size])
            with self._turns.one():
                vectors[start : start + len(batch)] = self._encode_batch(batch)
        return vectors

    def _encode_batch(self, batch: list[Any]) -> NDArray[np.float32]:
        return np.asarray(
            self._model.encode(batch, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False),
            dtype=np.float32,
        )

    def _try(self, name: str, image: Any) -> int:
        """The length of its vectors."""
        try:
            shapes = {self._encode_batch([one]).shape for one in (image, "a picture")}
        except Exception as error:  # whatever a model of another kind makes of an image
            raise Misconfigured(
                f"images.model {name!r} doesn't take images and texts ({error}): name a CLIP model, e.g. "
                "sentence-transformers/clip-ViT-B-32"
            ) from error
        if len(shapes) > 1:
            raise Misconfigured(f"images.model {name!r} has images and texts in different spaces: name a CLIP model")
        return int(shapes.pop()[1])
