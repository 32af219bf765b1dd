"""Long work that may be stopped and goes on: who is told how far it is, and what is said where it stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from eddyline.errors import EddylineError, InvalidInput, Unavailable

GOES_ON: Final = "the same command goes on where this one stopped"


@contextmanager
def resumable(where: str | None = None) -> Iterator[None]:
    """Turn any error but a refusal into `Unavailable`, which says that the same command goes on. `where`: at what."""
    try:
        yield
    except InvalidInput:
        raise
    except EddylineError as error:
        at = "" if where is None else f", at {where}"
        raise Unavailable(f"{error}{at}; {GOES_ON}") from None


class ProgressListener(Protocol):
    """Listener to how far work is."""

    def start(self, what: str, total: int, done: int) -> None:
        """Begin a stage, `done` of `total` being there already."""

    def advance(self, what: str, count: int) -> None:
        """Count `count` more."""

    def say(self, line: str) -> None:
        """Say a line."""


class SilentProgress:
    """A listener that shows nothing."""

    def start(self, what: str, total: int, done: int) -> None:
        """Do nothing."""

    def advance(self, what: str, count: int) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""
