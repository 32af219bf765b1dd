"""When a feed is read next."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SLOWEST = 8.0
"""How many times as long as `every` is waited at most, where nothing changes or the feed asks for it."""
MAX_BACKOFF_SECONDS = 86_400.0
JITTER = 0.1


def next_interval(every: float, last: float, changed: bool, ttl: float | None) -> float:
    """Return the seconds until the next reading: `every` after a change, half as long again after none, and what the
    feed asks for (`ttl`), but eight times `every` at most.

    >>> next_interval(60, 60, False, None), next_interval(60, 400, False, None), next_interval(60, 300, True, 120)
    (90.0, 480.0, 120.0)
    """
    longest = SLOWEST * every
    least = min(longest, max(every, ttl or 0.0))
    return least if changed else min(longest, max(least, 1.5 * last))


def backoff(every: float, failures: int, retry_after: float | None) -> float:
    """Return the seconds until the next attempt after so many failures in a row; never before the host asks for it."""
    doubled = min(MAX_BACKOFF_SECONDS, every * 2.0 ** min(failures - 1, 20))
    return max(doubled, min(retry_after or 0.0, MAX_BACKOFF_SECONDS))


def jittered(seconds: float, chance: float) -> float:
    """Return an interval up to a tenth shorter or longer, by a number in [0, 1): not all feeds at once."""
    return seconds * (1 + JITTER * (2 * chance - 1))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a host asks to be left alone; None where it doesn't. `now` in epoch seconds."""
    given = headers.get("retry-after", "").strip()
    if given.isdecimal():
        return float(given[:9])
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
