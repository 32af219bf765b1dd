"""An encoder that waits while a remote one is unavailable, for work that is too long to start over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.errors import Unavailable

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0
PATIENCE_SECONDS = 900.0
"""Longest that it waits without a success."""


class RetryingEncoder:
    """The given encoder, with waits. `say` gets a line for each; `sleep` takes seconds."""

    def __init__(
        self, encoder: TextEncoder, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._encoder, self._say, self._sleep = encoder, say, sleep

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self._encoder.dimension

    @property
    def model(self) -> str:
        """Which model, whatever the template."""
        return self._encoder.model

    @property
    def space(self) -> str:
        """Which distance, model and template."""
        return self._encoder.space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode as the given one does. Raises `Unavailable` once it has waited for `PATIENCE_SECONDS` in a row."""
        pause, waited = FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                return self._encoder.encode(texts)
            except Unavailable as error:
                if waited >= PATIENCE_SECONDS:
                    raise
                self._say(f"waiting for the encoder: {error}")
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, MAX_PAUSE_SECONDS)
