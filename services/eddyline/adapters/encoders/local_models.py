"""What loading a model of sentence-transformers takes, whichever it is."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class FairLock:
    """Threads that use one model, one after another: tokenizers are not safe to share. Whoever waits is next once, so
    a search waits for one batch, not for all of an import."""

    def __init__(self) -> None:
        self._lock, self._line = threading.Lock(), threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """While it is held, the model is this thread's."""
        with self._line:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()


def weights_checksum(model: Any) -> str:
    """SHA-256 over the names and bytes of all parameters, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        # As bytes: numpy knows no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def silence_transformers() -> None:
    """No progress bars of other people's on our standard error."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
