"""Fetch an image from a URL that anyone may have written.

What can never become right is refused by name (`ImageRefused`); what may be right later is `ImageUnavailable`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from eddyline.adapters.web import FetchLimits, GuardedFetcher, ResolveHost, resolve
from eddyline.errors import FetchRefused, FetchUnavailable, ImageRefused, ImageUnavailable
from eddyline.model.image_urls import MEDIA_TYPES
from eddyline.settings import ImageSettings

_RETRYABLE = frozenset({408, 425, 429})
_HEADERS = {"Accept": ", ".join(MEDIA_TYPES), "Accept-Encoding": "identity"}


class ImageFetcher:
    """Fetches images over HTTP and HTTPS. Safe from any thread; every fetch has connections of its own."""

    def __init__(
        self, settings: ImageSettings, resolve: ResolveHost = resolve, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`resolve` finds a host's addresses; `monotonic` gives seconds."""
        limits = FetchLimits(
            "images",
            settings.max_bytes,
            settings.step_timeout_seconds,
            settings.total_timeout_seconds,
            settings.allowed_hosts,
            settings.allowed_networks,
        )
        self._fetcher = GuardedFetcher(limits, resolve, monotonic)

    def fetch(self, url: str) -> bytes:
        """Return the image's bytes, as they came: at most `images.max_bytes` of them.

        Raises `ImageRefused` for what is wrong with the URL, the address or the answer, and `ImageUnavailable` where
        another attempt may succeed.
        """
        try:
            return self._fetcher.get(url, _HEADERS, _admit).body
        except FetchRefused as error:
            raise ImageRefused(error.reason, str(error)) from None
        except FetchUnavailable as error:
            raise ImageUnavailable(error.reason, str(error)) from None


def _admit(host: str, status: int, headers: Mapping[str, str]) -> bool:
    _check_status(host, status)
    _check_type(host, headers)
    return True


def _check_status(host: str, status: int) -> None:
    if status == 200:
        return
    answer = f"{host} answers with status {status}"
    if status >= 500 or status in _RETRYABLE:
        raise FetchUnavailable("status", answer)
    raise FetchRefused("status", f"{answer}: give the address of an image that is there, and public")


def _check_type(host: str, headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise FetchRefused(
            "content_type",
            f"{host} sends {kind[:60] or 'no content type'!r}: give one of {', '.join(MEDIA_TYPES)}",
        )
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):  # it would unpack to any size
        raise FetchRefused("content_encoding", f"{host} sends it compressed ({coding[:20]}): send images as they are")
