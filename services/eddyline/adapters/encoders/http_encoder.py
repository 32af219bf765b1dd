"""An encoder in another process, over HTTP: `eddyline encoder`, or one of your own that answers the same two requests.

`GET /v1/encoder` says `{"model": …, "dimension": …}`, and may say which `distance` its vectors are for: `cosine`, `dot`
or `euclid`. `POST /v1/encoder/encode` with `{"texts": […]}` answers `{"model": …, "vectors": [[…], …]}`, and
may say its distance as well.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.endpoint import EncoderEndpoint, EncoderRefused
from eddyline.adapters.encoders.response_vectors import checked_vectors, encode_in_parts
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance, space_of
from eddyline.model.text import DEFAULT_VERSION
from eddyline.settings import EncoderSettings

DESCRIPTION, ENCODE = "/v1/encoder", "/v1/encoder/encode"
_MODEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


class HttpEncoder:
    """Asks another process, a batch a request. Threads don't wait for each other."""

    def __init__(
        self,
        settings: EncoderSettings,
        metrics: Metrics,
        template_version: str = DEFAULT_VERSION,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Asks what it is. Raises `Misconfigured` for a process that isn't an encoder, and `Unavailable`."""
        self._endpoint = EncoderEndpoint(settings, metrics, sleep)
        self._batch_size, self._template_version = settings.batch_size, template_version
        self._distance = Distance.named(settings.distance)
        self._metrics = metrics
        try:
            self._model, self._dimension = self._described()
        except BaseException:
            self.close()
            raise

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._dimension

    @property
    def model(self) -> str:
        """What the other process calls its model."""
        return self._model

    @property
    def space(self) -> str:
        """`<model>-<template version>`, after its distance where that isn't the cosine."""
        return space_of(self._distance, f"{self._model}-{self._template_version}")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors, float32, in the order of the texts, of unit length for the cosine. Raises `Unavailable`, and
        `Misconfigured` where the other process has another model by now."""
        starts = range(0, len(texts), self._batch_size)
        batches = [
            encode_in_parts(self._encode_batch, texts[start : start + self._batch_size], self._metrics.truncated.inc)
            for start in starts
        ]
        return np.concatenate([np.zeros((0, self._dimension), dtype=np.float32), *batches])

    def close(self) -> None:
        """Release the connections."""
        self._endpoint.close()

    def _described(self) -> tuple[str, int]:
        try:
            said = self._call("GET", DESCRIPTION)
        except EncoderRefused as error:
            raise Misconfigured(f"{error}; check encoder.url") from error
        model, dimension = said.get("model"), said.get("dimension")
        if not isinstance(model, str) or not _MODEL.fullmatch(model):
            raise Misconfigured(
                f"{self._endpoint.url}{DESCRIPTION} says model {model!r}: needs up to 64 letters, digits, '.', '_', '-'"
            )
        if not isinstance(dimension, int) or dimension < 1:
            raise Misconfigured(f"{self._endpoint.url}{DESCRIPTION} says dimension {dimension!r}: needs a whole number")
        if (distance := said.get("distance", self._distance.lower())) != self._distance.lower():
            raise Misconfigured(
                f"{self._endpoint.url}{DESCRIPTION} makes vectors for the distance {distance!r}, encoder.distance is "
                f"{self._distance.lower()!r}: set the same for both"
            )
        return model, dimension

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        answer = self._call("POST", ENCODE, {"texts": list(texts)})
        if answer.get("distance", self._distance.lower()) != self._distance.lower():
            raise Misconfigured(
                f"{self._endpoint.url} makes vectors for the distance {answer['distance']!r} by now: set "
                "encoder.distance the same for both"
            )
        if answer.get("model") != self._model:
            raise Misconfigured(
                f"{self._endpoint.url} has model {answer.get('model')!r} by now, at the start it was {self._model!r}: "
                "re-embed everything (`eddyline reembed`)"
            )
        where = f"{self._endpoint.url}{ENCODE}"
        return checked_vectors(answer.get("vectors"), len(texts), self._dimension, self._distance, where)

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Raises `EncoderRefused` too."""
        answer = self._endpoint.call(method, path, body)
        if not isinstance(answer, dict):
            raise Misconfigured(f"{self._endpoint.url}{path} doesn't answer with an object: check encoder.url")
        return answer
