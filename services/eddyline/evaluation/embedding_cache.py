"""The items' content vectors: each text is encoded once per space, and kept in a file for the next run."""

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
from eddyline.model.events import Content
from eddyline.model.text import DEFAULT, Parts, Template, parts_hash, single_parts

BATCH = 256
HASH_BYTES = 32
"""Length of a content hash in hexadecimal digits."""


def cache_directory() -> Path:
    """Where the vectors are kept: `eddyline/vectors` below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "eddyline" / "vectors"


def encode_items(
    items: Sequence[Content],
    encoder: TextEncoder,
    directory: Path,
    progress: ProgressListener,
    template: Template = DEFAULT,
) -> NDArray[np.float32]:
    """Vectors, shape (items, dimension); what `directory` has in the encoder's space isn't encoded again.

    Raises `InvalidInput` where the kept file is damaged.
    """
    return _encode([template.parts(item.model_dump()) for item in items], encoder, directory, progress)


def encode_texts(
    texts: Sequence[str], encoder: TextEncoder, directory: Path, progress: ProgressListener
) -> NDArray[np.float32]:
    """Vectors, shape (texts, dimension), by way of the file."""
    return _encode(single_parts(texts), encoder, directory, progress)


def _encode(
    wanted: Sequence[Parts], encoder: TextEncoder, directory: Path, progress: ProgressListener
) -> NDArray[np.float32]:
    hashes = [parts_hash(parts, encoder.space) for parts in wanted]
    file = directory / f"{encoder.space}.npy"
    known = _load(file, encoder.dimension)
    missing = {mark: parts for mark, parts in zip(hashes, wanted, strict=True) if mark not in known}
    if missing:
        progress.start("encode", len(wanted), len(wanted) - len(missing))
        marks, new = list(missing), list(missing.values())
        for start in range(0, len(marks), BATCH):
            vectors = embed_items(encoder, new[start : start + BATCH])
            known.update(zip(marks[start : start + BATCH], vectors, strict=True))
            progress.advance("encode", len(vectors))
        _save(file, known, encoder.dimension)
    if not wanted:
        return np.zeros((0, encoder.dimension), dtype=np.float32)
    return np.stack([known[mark] for mark in hashes]).astype(np.float32, copy=False)


def _row(dimension: int) -> np.dtype[np.void]:
    """A hash and its vector in one record, so that one file, replaced in one step, holds both."""
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
    return {mark.decode(): vector for mark, vector in zip(rows["hash"].tolist(), rows["vector"], strict=True)}


def _save(file: Path, vectors: dict[str, NDArray[np.float32]], dimension: int) -> None:
    rows = np.empty(len(vectors), dtype=_row(dimension))
    rows["hash"] = [mark.encode() for mark in vectors]
    rows["vector"] = np.stack(list(vectors.values()))
    file.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two runs at once don't write into the same file.
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".new", delete=False) as new:
        np.save(new, rows)
    Path(new.name).replace(file)
