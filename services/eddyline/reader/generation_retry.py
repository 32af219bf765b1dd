"""What is asked once more, where a generation went live while it was being answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from eddyline.errors import GenerationChanged

Answer = TypeVar("Answer")


def retry_on_generation_change(ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives; asked a second time where it read of two generations. Raises what it raises."""
    try:
        return ask()
    except GenerationChanged:
        return ask()
