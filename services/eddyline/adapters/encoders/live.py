"""The encoding in force, which another may replace while threads use it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from eddyline.adapters.encoders.contract import TextEncoder
from eddyline.model.language import Detect, undetected
from eddyline.model.text import DEFAULT, Template


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an item becomes a vector: by which encoder, of which text; and how its language is detected."""

    encoder: TextEncoder
    template: Template = DEFAULT
    detect: Detect = undetected


class LiveEncoding:
    """Holds the encoding in force. Every call is safe from any thread."""

    def __init__(self, encoding: Encoding) -> None:
        self._now, self._lock = encoding, threading.Lock()

    def now(self) -> Encoding:
        """The one in force; while it is being replaced, the one that follows."""
        with self._lock:
            return self._now

    def encoder(self) -> TextEncoder:
        """The encoder in force."""
        return self.now().encoder

    @contextmanager
    def replacing(self, encoding: Encoding) -> Iterator[None]:
        """Put `encoding` in force when the block ends, unless it raises; whoever asks meanwhile waits."""
        with self._lock:
            yield
            self._now = encoding
