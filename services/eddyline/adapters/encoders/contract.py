"""The ports of encoders: text, and images with text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eddyline.model.distance import Distance, space_of


class TextEncoder(Protocol):
    """Turns texts into vectors of one space. Every call is safe from any thread."""

    @property
    def dimension(self) -> int:
        """Length of its vectors, from the model."""

    @property
    def model(self) -> str:
        """Which model, whatever the template."""

    @property
    def space(self) -> str:
        """Which distance (`model.distance.distance_of`), which model, and which text template: vectors of different
        spaces are never compared."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors, shape (len(texts), dimension), in the order of the texts; of unit length where the distance is the
        cosine. What is past the model's limit is counted where it isn't read. Raises `Unavailable` where the model is
        in another process."""


class NamedSpace:
    """The three properties of a text encoder, for encoders to inherit: they must set the attributes."""

    _dimension: int
    _model_id: str
    _distance: Distance
    _template_version: str

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._dimension

    @property
    def model(self) -> str:
        """Which model, whatever the template."""
        return self._model_id

    @property
    def space(self) -> str:
        """`<model>-<template version>`, after its distance where that isn't the cosine."""
        return space_of(self._distance, f"{self._model_id}-{self._template_version}")


class ImageEncoder(Protocol):
    """Turns images and texts into vectors of one space, so that a text finds a picture. Safe from any thread."""

    @property
    def dimension(self) -> int:
        """Length of its vectors, from the model."""

    @property
    def space(self) -> str:
        """Which model, and which preparation of images: vectors of different spaces are never compared."""

    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(images), dimension), of `PIL.Image.Image`s in RGB, in their order."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(texts), dimension), in the order of the texts."""
