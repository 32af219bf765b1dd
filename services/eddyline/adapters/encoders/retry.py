"""An encoder that waits for one in another process, for work that is too long to begin anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.errors import Unavailable

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
PATIENCE_SECONDS = 900.0
"""How long it waits in a row."""


class RetryingEncoder:
    """As the encoder that it is given. `say` is told of each wait; `sleep` takes seconds."""

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
        """Which model."""
        return self._encoder.model

    @property
    def space(self) -> str:
        """As the encoder's own."""
        return self._encoder.space

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the encoder's own. Raises `Unavailable` once it has waited for a quarter of an hour in a row."""
        pause, waited = FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                return self._encoder.encode(texts)
            except Unavailable as error:
                if waited >= PATIENCE_SECONDS:
                    raise
                self._say(f"waiting for the encoder: {error}")
            self._sleep(pause)
            waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
