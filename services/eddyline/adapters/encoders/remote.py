"""An encoder in another process: one path of batches, cache, cuts and checks, whatever API it speaks (`codecs`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.codecs import Codec, EddylineCodec, OpenAICodec
from eddyline.adapters.encoders.contract import NamedSpace
from eddyline.adapters.encoders.endpoint import EncoderEndpoint, EncoderRefused, EncoderTimeout
from eddyline.adapters.encoders.vector_cache import VectorCache
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance, cosine_similarity, normalise_rows, space_of
from eddyline.model.text import DEFAULT_VERSION
from eddyline.settings import EncoderSettings

CACHE_FILE = "vectors.sqlite"
PROBE = "eddyline"
"""Embedded at the start of an `openai` encoder, to learn the dimensions."""
ALIKE = 0.99
"""Least cosine of the probe with what it was before: below, it is another model."""
BLANK = "."
"""What stands for a text with nothing in it, which endpoints refuse."""
MIN_CUT_LENGTH = 64
"""Characters below which a text that is still refused isn't cut any further."""

EncodeBatch: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → their vectors. Raises `EncoderRefused`, and `Unavailable`."""


class RemoteEncoder(NamedSpace):
    """A `TextEncoder` at `encoder.url`: sends what it hasn't embedded before, a batch a request.

    Threads don't wait for each other. What an `openai` endpoint returned, which is paid for, is kept on disk.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        metrics: Metrics,
        template_version: str = DEFAULT_VERSION,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Ask what it is. Raises `Misconfigured` for what is no such encoder, refuses, or has another model than
        before, and `Unavailable`. `sleep` takes seconds."""
        self._settings, self._metrics, self._template_version = settings, metrics, template_version
        self._endpoint = EncoderEndpoint(settings, metrics, sleep)
        self._codec: Codec
        self._cache: VectorCache | None = None
        if settings.kind == "openai":
            self._codec = OpenAICodec(self._endpoint, settings, metrics)
            if settings.cache_entries:
                self._cache = VectorCache(settings.cache_dir.expanduser() / CACHE_FILE, settings.cache_entries)
        else:
            self._codec = EddylineCodec(self._endpoint, settings)
        self._distance = Distance.named(settings.distance)
        try:
            self._model_id, self._dimension = self._codec.describe()
            self._dimension = self._dimension or self._probed()
        except EncoderRefused as error:
            self.close()
            raise Misconfigured(f"{error}; {self._codec.hint}") from error
        except BaseException:
            self.close()
            raise

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode the texts: vectors in their order, float32, of unit length for the cosine.

        A text that is too long is cut in half until it is taken, and counted. Raises `Unavailable`, and `Misconfigured`
        for an answer that can't be right, or where it has another model by now.
        """
        keys = {text: self._key(text) for text in texts}
        found = {} if self._cache is None else self._cache.get(list(keys.values()))
        known = {key: row for key, row in found.items() if len(row) == self._dimension}
        self._metrics.encoder_cached.inc(len(known))
        unknown = [text for text in keys if keys[text] not in known]
        for start in range(0, len(unknown), self._settings.batch_size):
            batch = unknown[start : start + self._settings.batch_size]
            vectors = encode_in_parts(self._encode_batch, batch, self._metrics.truncated.inc)
            rows = dict(zip((keys[text] for text in batch), vectors, strict=True))
            if self._cache is not None:
                self._cache.put(rows)
            known |= rows
        if not texts:
            return np.zeros((0, self._dimension), dtype=np.float32)
        return np.stack([known[keys[text]] for text in texts])

    def close(self) -> None:
        """Release the connections and the cache."""
        self._endpoint.close()
        if self._cache is not None:
            self._cache.close()

    def _probed(self) -> int:
        """The dimensions. Raises `Misconfigured` where the endpoint has another model by now than the cache knows."""
        row = self._encode_batch([PROBE])[0]
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
        """The cache's key of a text: its vector is kept at unit length, or not, by the distance."""
        return VectorCache.key(space_of(self._distance, self._model_id), text)

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = self._codec.encode(texts)
        dimension = self._dimension or self._settings.dimensions
        return checked_vectors(rows, len(texts), dimension, self._distance, self._endpoint.url + self._codec.path)


def encode_in_parts(encode: EncodeBatch, texts: Sequence[str], cut: Callable[[], None]) -> NDArray[np.float32]:
    """Encode these texts, in halves where they are refused, or not done in time, since they may be too much together.

    A single text that is refused is cut in half until it is taken, and then `cut` is called. Raises `Misconfigured` for
    one that is refused even when it is short, and `Unavailable`.
    """
    texts = [text if text.strip() else BLANK for text in texts]
    try:
        return encode(texts)
    except EncoderRefused as refusal:
        if len(texts) == 1:
            return _shortened(encode, texts[0], refusal, cut)
    except EncoderTimeout:
        if len(texts) == 1:
            raise
    half = len(texts) // 2
    return np.concatenate([encode_in_parts(encode, texts[:half], cut), encode_in_parts(encode, texts[half:], cut)])


def _shortened(encode: EncodeBatch, text: str, refusal: EncoderRefused, cut: Callable[[], None]) -> NDArray[np.float32]:
    while len(text) > MIN_CUT_LENGTH:
        text = text[: len(text) // 2]
        try:
            row = encode([text])
        except EncoderRefused as error:
            refusal = error
        else:
            cut()
            return row
    raise Misconfigured(f"a text is refused, even cut to {len(text)} characters: {refusal}") from refusal


def checked_vectors(
    given: Any, count: int, dimension: int | None, distance: Distance, where: str
) -> NDArray[np.float32]:
    """Return the `count` vectors that were given, float32, of unit length for the cosine. `dimension` None: any length.

    Raises `Misconfigured` for anything else: it isn't the endpoint that it should be.
    """
    try:
        rows = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Misconfigured(
            f"{where} doesn't return vectors of numbers, all of one length: check encoder.url"
        ) from error
    if rows.ndim != 2 or rows.shape[0] != count or rows.shape[1] == 0 or not np.isfinite(rows).all():
        raise Misconfigured(
            f"{where} returned an array of shape {rows.shape} for {count} texts, or numbers that aren't finite: "
            "check encoder.url"
        )
    if dimension is not None and rows.shape[1] != dimension:
        raise Misconfigured(
            f"{where} gives vectors of {rows.shape[1]} dimensions, at the start it was {dimension}: "
            "its model has changed; re-embed everything (`eddyline reembed`)"
        )
    return np.asarray(normalise_rows(rows) if distance is Distance.COSINE else rows, dtype=np.float32)
