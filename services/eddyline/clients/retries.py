"""Which failures of a request are worth another attempt, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Final, TypeAlias

import httpx

Failure: TypeAlias = httpx.Response | httpx.HTTPError

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each retry: about a minute in all."""
AWAY: Final = frozenset({502, 503, 504})
BUSY: Final = frozenset({429, 503})
"""Statuses that may come with a Retry-After."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Which failures are retried: responses with one of `statuses` and, with `unreachable`, no response at all.

    `pauses`: seconds before each retry, longer where a Retry-After asks for it; at their end the error is raised.
    """

    statuses: frozenset[int] = frozenset()
    unreachable: bool = False
    pauses: Iterable[float] = ()

    def pause(self, failure: Failure, pauses: Iterator[float]) -> float | None:
        """Return the seconds until the next attempt, from the remaining `pauses`; None where there is none."""
        if isinstance(failure, httpx.Response):
            if failure.status_code not in self.statuses:
                return None
        elif not self.unreachable:
            return None
        pause = next(pauses, None)
        return pause if pause is None else max(pause, _retry_after(failure))


NO_RETRIES: Final = Retries()
WHILE_BUSY: Final = Retries(BUSY, pauses=repeat(0.1))
FOR_A_MINUTE: Final = Retries(AWAY | BUSY, unreachable=True, pauses=PAUSES)


def _retry_after(failure: Failure) -> float:
    """Return the seconds that a busy Eddyline asks for; 1 where there are none: a proxy may send a date, or nothing."""
    if not isinstance(failure, httpx.Response) or failure.status_code not in BUSY:
        return 0.0
    try:
        return float(failure.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
