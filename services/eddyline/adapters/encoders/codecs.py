"""What remote encoders are sent and what they answer: OpenAI's embeddings API, and `eddyline encoder`'s own.

- `OpenAICodec`: OpenAI, Azure, vLLM, Ollama, llama.cpp, … Source:
  https://platform.openai.com/docs/api-reference/embeddings
- `EddylineCodec`: `eddyline encoder`, or a process of your own that answers the same two requests.
  `GET /v1/encoder` answers `{"model": …, "dimension": …}`, and perhaps the `distance` that its vectors are for:
  `cosine`, `dot` or `euclid`. `POST /v1/encoder/encode` with `{"texts": […]}` answers
  `{"model": …, "vectors": [[…], …]}`, and perhaps its distance as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Protocol

from eddyline.adapters.encoders.endpoint import EncoderEndpoint
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.settings import EncoderSettings

EMBEDDINGS = "/embeddings"
DESCRIPTION, ENCODE = "/v1/encoder", "/v1/encoder/encode"
_MODEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Codec(Protocol):
    """One API of encoders. Every call may raise `EncoderRefused`, `Misconfigured` and `Unavailable`."""

    path: str
    """Where texts are sent, for messages."""
    hint: str
    """What to do where it refuses the first request."""

    def describe(self) -> tuple[str, int]:
        """Return which model it has, and the length of its vectors; 0 where only a vector tells."""

    def encode(self, texts: Sequence[str]) -> Any:
        """Return what should be a vector for each text, in their order: lists of numbers, not checked yet."""


class OpenAICodec:
    """An endpoint that speaks OpenAI's embeddings API. Counts the tokens that it reports."""

    path, hint = EMBEDDINGS, "check encoder.model and encoder.dimensions"

    def __init__(self, endpoint: EncoderEndpoint, settings: EncoderSettings, metrics: Metrics) -> None:
        self._endpoint, self._settings, self._metrics = endpoint, settings, metrics

    def describe(self) -> tuple[str, int]:
        """Return the first 16 hex digits of the SHA-256 of the model's name and the dimensions asked for, and 0.

        The address isn't in it: another one may serve the same model.
        """
        asked_for = f"openai\0{self._settings.model}\0{self._settings.dimensions}"
        return hashlib.sha256(asked_for.encode()).hexdigest()[:16], 0

    def encode(self, texts: Sequence[str]) -> Any:
        """Embed the texts; the endpoint may answer in any order."""
        body: dict[str, Any] = {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        if self._settings.dimensions is not None:
            body["dimensions"] = self._settings.dimensions
        answer, where = self._endpoint.call("POST", EMBEDDINGS, body), self._endpoint.url + EMBEDDINGS
        try:
            data = sorted(answer["data"], key=lambda one: one["index"])
            rows = [one["embedding"] for one in data]
            indices = [one["index"] for one in data]
        except (KeyError, TypeError) as error:
            raise Misconfigured(f"{where} doesn't answer as OpenAI's API does: check encoder.url") from error
        if indices != list(range(len(texts))):
            raise Misconfigured(f"{where} gives {len(rows)} vectors for {len(texts)} texts")
        usage = answer.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        if isinstance(tokens, int) and tokens > 0:
            self._metrics.encoder_tokens.inc(tokens)
        return rows


class EddylineCodec:
    """`eddyline encoder`, or what answers as it does. Refuses another model, or distance, than it had at the start."""

    path, hint = ENCODE, "check encoder.url"

    def __init__(self, endpoint: EncoderEndpoint, settings: EncoderSettings) -> None:
        self._endpoint, self._distance, self._model = endpoint, settings.distance, ""

    def describe(self) -> tuple[str, int]:
        """Ask for its model and dimension."""
        description, where = self._call("GET", DESCRIPTION), self._endpoint.url + DESCRIPTION
        model, dimension = description.get("model"), description.get("dimension")
        if not isinstance(model, str) or not _MODEL.fullmatch(model):
            raise Misconfigured(f"{where} says model {model!r}: needs up to 64 letters, digits, '.', '_', '-'")
        if not isinstance(dimension, int) or dimension < 1:
            raise Misconfigured(f"{where} says dimension {dimension!r}: needs a whole number")
        if (distance := description.get("distance", self._distance)) != self._distance:
            raise Misconfigured(
                f"{where} makes vectors for the distance {distance!r}, encoder.distance is {self._distance!r}: set the "
                "same for both"
            )
        self._model = model
        return model, dimension

    def encode(self, texts: Sequence[str]) -> Any:
        """Encode the texts, by the model that it had at the start."""
        answer = self._call("POST", ENCODE, {"texts": list(texts)})
        if (distance := answer.get("distance", self._distance)) != self._distance:
            raise Misconfigured(
                f"{self._endpoint.url} makes vectors for the distance {distance!r} by now: set encoder.distance the "
                "same for both"
            )
        if (model := answer.get("model")) != self._model:
            raise Misconfigured(
                f"{self._endpoint.url} has model {model!r} by now, at the start it was {self._model!r}: re-embed "
                "everything (`eddyline reembed`)"
            )
        return answer.get("vectors")

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._endpoint.call(method, path, body)
        if not isinstance(answer, dict):
            raise Misconfigured(f"{self._endpoint.url}{path} doesn't answer with an object: check encoder.url")
        return answer
