"""An encoder behind an endpoint that speaks OpenAI's embeddings API: OpenAI, Azure, vLLM, Ollama, llama.cpp, …

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.endpoint import EncoderEndpoint, EncoderRefused
from eddyline.adapters.encoders.response_vectors import checked_vectors, encode_in_parts
from eddyline.adapters.encoders.vector_cache import VectorCache
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance, cosine_similarity, space_of
from eddyline.model.text import DEFAULT_VERSION
from eddyline.settings import EncoderSettings

CACHE_FILE = "vectors.sqlite"
PROBE = "eddyline"
"""Embedded at the start, to learn the dimensions."""
ALIKE = 0.99
"""Least cosine of the probe with what it was before: below, it is another model."""


class OpenAIEncoder:
    """Sends what it hasn't embedded before, in batches. Threads don't wait for each other."""

    def __init__(
        self,
        settings: EncoderSettings,
        metrics: Metrics,
        template_version: str = DEFAULT_VERSION,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Asks for one vector. Raises `Misconfigured` for an endpoint that isn't one, won't, or has another model than
        before, and `Unavailable`."""
        self._endpoint = EncoderEndpoint(settings, metrics, sleep)
        self._settings, self._metrics, self._template_version = settings, metrics, template_version
        entries = settings.cache_entries
        self._cache = VectorCache(settings.cache_dir.expanduser() / CACHE_FILE, entries) if entries else None
        self._model = hashlib.sha256(f"openai\0{settings.model}\0{settings.dimensions}".encode()).hexdigest()[:16]
        self._distance = Distance.named(settings.distance)
        self._dimension: int | None = None
        try:
            self._dimension = self._probed()
        except EncoderRefused as error:
            self.close()
            raise Misconfigured(f"{error}; check encoder.model and encoder.dimensions") from error
        except BaseException:
            self.close()
            raise

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        assert self._dimension is not None
        return self._dimension

    @property
    def model(self) -> str:
        """The first 16 hex digits of the SHA-256 of the model's name and the dimensions asked for. The address isn't in
        it: another one may serve the same model."""
        return self._model

    @property
    def space(self) -> str:
        """`<model>-<template version>`, after its distance where that isn't the cosine."""
        return space_of(self._distance, f"{self._model}-{self._template_version}")

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors, float32, in the order of the texts, of unit length for the cosine. A text that the endpoint finds
        too long is cut in half until it takes it, and counted. Raises `Unavailable`, and `Misconfigured` for answers
        that can't be."""
        keys = {text: self._key(text) for text in texts}
        found = {} if self._cache is None else self._cache.get(list(keys.values()))
        known = {key: row for key, row in found.items() if len(row) == self._dimension}
        self._metrics.encoder_cached.inc(len(known))
        unknown = [text for text in keys if keys[text] not in known]
        for start in range(0, len(unknown), self._settings.batch_size):
            batch = unknown[start : start + self._settings.batch_size]
            vectors = encode_in_parts(self._ask, batch, self._metrics.truncated.inc)
            rows = dict(zip((keys[text] for text in batch), vectors, strict=True))
            if self._cache is not None:
                self._cache.put(rows)
            known |= rows
        if not texts:
            return np.zeros((0, self._dimension or 0), dtype=np.float32)
        return np.stack([known[keys[text]] for text in texts])

    def close(self) -> None:
        """Release the connections and the cache."""
        self._endpoint.close()
        if self._cache is not None:
            self._cache.close()

    def _probed(self) -> int:
        """The dimensions. Raises `Misconfigured` where the endpoint has another model by now than the cache knows."""
        row = self._ask([PROBE])[0]
        if self._cache is not None:
            key = self._key(PROBE)
            known = self._cache.get([key]).get(key)
            if known is not None and (len(known) != len(row) or cosine_similarity(known, row) < ALIKE):
                raise Misconfigured(
                    f"{self._endpoint.url} returns other vectors for {self._settings.model!r} than before: it has "
                    f"another model. Delete {self._settings.cache_dir / CACHE_FILE} and re-embed everything "
                    "(`eddyline reembed --force`), or have it serve the previous model"
                )
            self._cache.put({key: row})
        return len(row)

    def _key(self, text: str) -> bytes:
        """Of a text's vector as it is kept: of unit length, or not."""
        return VectorCache.key(space_of(self._distance, self._model), text)

    def _ask(self, texts: Sequence[str]) -> NDArray[np.float32]:
        body: dict[str, Any] = {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        if self._settings.dimensions is not None:
            body["dimensions"] = self._settings.dimensions
        answer = self._endpoint.call("POST", "/embeddings", body)
        try:
            data = sorted(answer["data"], key=lambda one: one["index"])
            rows = [one["embedding"] for one in data]
            indices = [one["index"] for one in data]
        except (KeyError, TypeError) as error:
            raise Misconfigured(
                f"{self._endpoint.url}/embeddings doesn't answer as OpenAI's API does: check encoder.url"
            ) from error
        if indices != list(range(len(texts))):
            raise Misconfigured(f"{self._endpoint.url}/embeddings gives {len(rows)} vectors for {len(texts)} texts")
        self._count_tokens(answer)
        wanted = self._dimension or self._settings.dimensions
        return checked_vectors(rows, len(texts), wanted, self._distance, f"{self._endpoint.url}/embeddings")

    def _count_tokens(self, answer: Any) -> None:
        usage = answer.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and tokens > 0:
            self._metrics.encoder_tokens.inc(tokens)
