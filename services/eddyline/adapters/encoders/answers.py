"""Vectors as another process gives them: checked, and of unit length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.endpoint import Refused
from eddyline.errors import Misconfigured


def in_parts(ask: Callable[[Sequence[str]], NDArray[np.float32]], texts: Sequence[str]) -> NDArray[np.float32]:
    """What `ask` gives for these texts; in halves where it won't take them at once, since they may be too much
    together, or one of them too long. Raises `Refused` for a single one."""
    try:
        return ask(texts)
    except Refused:
        if len(texts) < 2:
            raise
    half = len(texts) // 2
    return np.concatenate([in_parts(ask, texts[:half]), in_parts(ask, texts[half:])])


def as_rows(given: Any, count: int, dimension: int | None, where: str) -> NDArray[np.float32]:
    """`count` vectors, float32, of unit length (a zero stays zero). `dimension`: None takes any, but one for all.

    Raises `Misconfigured` for anything else: it isn't the endpoint that it should be.
    """
    try:
        rows = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Misconfigured(f"{where} gives no vectors of numbers, all of one length: check encoder.url") from error
    if rows.ndim != 2 or rows.shape[0] != count or rows.shape[1] == 0 or not np.isfinite(rows).all():
        raise Misconfigured(
            f"{where} gives an array of shape {rows.shape} for {count} texts, or numbers that aren't finite: "
            "check encoder.url"
        )
    if dimension is not None and rows.shape[1] != dimension:
        raise Misconfigured(
            f"{where} gives vectors of {rows.shape[1]} dimensions, at the start it was {dimension}: "
            "its model has changed; embed everything anew (`eddyline reembed`)"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0), dtype=np.float32)
