"""Vectors as another process gives them: checked, and of unit length for the cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.endpoint import EncoderRefused, EncoderTimeout
from eddyline.errors import Misconfigured
from eddyline.model.distance import Distance, normalise_rows

EncodeRemote: TypeAlias = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts → their vectors. Raises `EncoderRefused`, and `Unavailable`."""

BLANK = "."
"""What stands for a text with nothing in it, which endpoints refuse."""
MIN_CUT_LENGTH = 64
"""Characters to which a text is cut at most before it is taken for refused."""


def encode_in_parts(ask: EncodeRemote, texts: Sequence[str], cut: Callable[[], None]) -> NDArray[np.float32]:
    """What `ask` gives for these texts; in halves where it won't take them at once, or isn't done with them in time,
    since they may be too much together. A single one that it won't take is cut in half until it does: `cut` is told.

    Raises `Misconfigured` for one that is refused even when it is short, and `Unavailable`.
    """
    texts = [text if text.strip() else BLANK for text in texts]
    try:
        return ask(texts)
    except EncoderRefused as refusal:
        if len(texts) == 1:
            return _shortened(ask, texts[0], refusal, cut)
    except EncoderTimeout:
        if len(texts) == 1:
            raise
    half = len(texts) // 2
    return np.concatenate([encode_in_parts(ask, texts[:half], cut), encode_in_parts(ask, texts[half:], cut)])


def _shortened(ask: EncodeRemote, text: str, refusal: EncoderRefused, cut: Callable[[], None]) -> NDArray[np.float32]:
    while len(text) > MIN_CUT_LENGTH:
        text = text[: len(text) // 2]
        try:
            row = ask([text])
        except EncoderRefused as error:
            refusal = error
        else:
            cut()
            return row
    raise Misconfigured(f"a text is refused, even cut to {len(text)} characters: {refusal}") from refusal


def checked_vectors(
    given: Any, count: int, dimension: int | None, distance: Distance, where: str
) -> NDArray[np.float32]:
    """`count` vectors, float32, of unit length for the cosine. `dimension`: None takes any, but one for all.

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
