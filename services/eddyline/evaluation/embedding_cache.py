"""Texts' vectors: each is encoded once per space, and kept in a file for the next run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders import TextEncoder, embed_items
from eddyline.clients.progress import ProgressListener
from eddyline.errors import InvalidInput
from eddyline.model.text import Parts, parts_hash

BATCH = 256
HASH_BYTES = 32
"""Length of a content hash in hexadecimal digits."""


def cache_directory() -> Path:
    """Locate the vectors: `eddyline/vectors` below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "eddyline" / "vectors"


def cached_vectors(
    texts: Sequence[Parts], encoder: TextEncoder, directory: Path, progress: ProgressListener
) -> NDArray[np.float32]:
    """Encode texts, shape (texts, dimension); what `directory` has in the encoder's space isn't encoded again.

    Raises `InvalidInput` where the kept file is damaged.
    """
    hashes = [parts_hash(parts, encoder.space) for parts in texts]
    file = directory / f"{encoder.space}.npy"
    known = _load(file, encoder.dimension)
    missing = {digest: parts for digest, parts in zip(hashes, texts, strict=True) if digest not in known}
    if missing:
        progress.start("encode", len(texts), len(texts) - len(missing))
        digests, new = list(missing), list(missing.values())
        for start in range(0, len(digests), BATCH):
            vectors = embed_items(encoder, new[start : start + BATCH])
            known.update(zip(digests[start : start + BATCH], vectors, strict=True))
            progress.advance("encode", len(vectors))
        _save(file, known, encoder.dimension)
    if not texts:
        return np.zeros((0, encoder.dimension), dtype=np.float32)
    return np.stack([known[digest] for digest in hashes]).astype(np.float32, copy=False)


def _row(dimension: int) -> np.dtype[np.void]:
    """Describe a record of a hash and its vector, so that one file, replaced in one step, holds both."""
    return np.dtype([("hash", f"S{HASH_BYTES}"), ("vector", np.float32, (dimension,))])


def _load(file: Path, dimension: int) -> dict[str, NDArray[np.float32]]:
    if not file.exists():
        return {}
    try:
        rows = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidInput(f"{file} can't be read ({error}): delete it, and the items are encoded again") from None
    if rows.dtype != _row(dimension):
        raise InvalidInput(f"{file} holds no vectors of {dimension} dimensions: delete it, and they are encoded again")
    return {digest.decode(): vector for digest, vector in zip(rows["hash"].tolist(), rows["vector"], strict=True)}


def _save(file: Path, vectors: dict[str, NDArray[np.float32]], dimension: int) -> None:
    rows = np.empty(len(vectors), dtype=_row(dimension))
    rows["hash"] = [digest.encode() for digest in vectors]
    rows["vector"] = np.stack(list(vectors.values()))
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two runs at once don't write into the same file.
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".new", delete=False) as new:
        np.save(new, rows)
    Path(new.name).replace(file)
