"""Items to vectors: each of their texts encoded once, then averaged by weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.model.text import Parts


def embed(encoder: TextEncoder, items: Sequence[Parts]) -> NDArray[np.float32]:
    """Vectors of unit length, shape (len(items), dimension): the weighted mean of the vectors of an item's texts.

    A text that several items share (a category, say) is encoded once. An item of one text has that text's vector,
    to the last bit. Texts whose vectors cancel out leave the heaviest one's.
    """
    texts = list(dict.fromkeys(text for parts in items for text, _ in parts))
    rows = dict(zip(texts, encoder.encode(texts), strict=True))
    vectors = np.zeros((len(items), encoder.dimension), dtype=np.float32)
    for index, parts in enumerate(items):
        vectors[index] = rows[parts[0][0]] if len(parts) == 1 else _mean([(rows[text], by) for text, by in parts])
    return vectors


def _mean(rows: Sequence[tuple[NDArray[np.float32], float]]) -> NDArray[np.float64]:
    total = np.sum([by * row.astype(np.float64) for row, by in rows], axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        return max(rows, key=lambda row: row[1])[0].astype(np.float64)
    return np.asarray(total / length, dtype=np.float64)
