"""Long work that may be stopped and resumed: progress, and the error where it stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eddyline.errors import EddylineError, InvalidInput, Unavailable

GOES_ON: Final = "the same command goes on where this one stopped"


@contextmanager
def resumable(where: str | None = None) -> Iterator[None]:
    """Turn any error but a refusal into `Unavailable`, which says how to resume. `where`: the place in the work."""
    try:
        yield
    except InvalidInput:
        raise
    except EddylineError as error:
        at = "" if where is None else f", at {where}"
        raise Unavailable(f"{error}{at}; {GOES_ON}") from None


class ProgressListener:
    """A listener to the progress of some work. This one shows nothing; others show what they override."""

    def start(self, what: str, total: int, done: int) -> None:
        """Begin a stage, `done` of `total` being there already."""

    def advance(self, what: str, count: int) -> None:
        """Count `count` more."""

    def report(self, line: str) -> None:
        """Show a line."""
