"""Items to vectors: each of their texts encoded once, then averaged by weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.model.distance import Distance, distance_of
from eddyline.model.text import Parts


def embed_items(encoder: TextEncoder, items: Sequence[Parts]) -> NDArray[np.float32]:
    """Embed items: vectors, shape (len(items), dimension), each the weighted mean of the vectors of an item's texts.

    They are of unit length where the encoder's are. A text that several items share (a category, say) is encoded once.
    An item of one text has that text's vector, to the last bit. Texts whose vectors cancel out leave the heaviest's.
    """
    texts = list(dict.fromkeys(text for parts in items for text, _ in parts))
    rows = dict(zip(texts, encoder.encode(texts), strict=True))
    vectors = np.zeros((len(items), encoder.dimension), dtype=np.float32)
    distance = distance_of(encoder.space)
    for index, parts in enumerate(items):
        if len(parts) == 1:
            vectors[index] = rows[parts[0][0]]
        else:
            vectors[index] = weighted_mean(
                np.stack([rows[text] for text, _ in parts]), [by for _, by in parts], distance
            )
    return vectors


def weighted_mean(rows: NDArray[np.float32], weights: Sequence[float], distance: Distance) -> NDArray[np.float32]:
    """Return the weighted mean of the rows, at unit length for the cosine. Rows that cancel out leave the heaviest."""
    total = np.asarray(weights, dtype=np.float64) @ rows.astype(np.float64)
    if distance is not Distance.COSINE:
        return np.asarray(total / sum(weights), dtype=np.float32)
    length = float(np.linalg.norm(total))
    return rows[int(np.argmax(weights))] if length < 1e-6 else np.asarray(total / length, dtype=np.float32)
