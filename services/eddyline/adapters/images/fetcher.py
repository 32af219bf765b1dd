"""Fetch an image from a URL that anyone may have written.

What can never become right is refused by name (`ImageRefused`); what may be right later is `ImageUnavailable`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpcore
import httpx

from eddyline.adapters.images.addresses import AddressPolicy, ResolveHost, resolve
from eddyline.adapters.images.transport import Deadline, PinnedBackend
from eddyline.errors import ImageRefused, ImageUnavailable
from eddyline.model.image_urls import MEDIA_TYPES
from eddyline.settings import ImageSettings

MAX_REDIRECTS = 3
MAX_URL_BYTES = 2048
_REDIRECT = frozenset({301, 302, 303, 307, 308})
_RETRYABLE = frozenset({408, 425, 429})
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class _FetchedImage:
    """An image's bytes, or where they are instead."""

    body: bytes = b""
    location: str | None = None


class ImageFetcher:
    """Fetches images over HTTP and HTTPS. Safe from any thread; every fetch has connections of its own."""

    def __init__(
        self, settings: ImageSettings, resolve: ResolveHost = resolve, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`resolve` finds a host's addresses; `monotonic` gives seconds."""
        self._settings, self._resolve, self._monotonic = settings, resolve, monotonic
        self._policy = AddressPolicy(settings.allowed_hosts, settings.allowed_networks)
        self._tls = ssl.create_default_context()

    def fetch(self, url: str) -> bytes:
        """Return the image's bytes, as they came: at most `images.max_bytes` of them.

        Raises `ImageRefused` for what is wrong with the URL, the address or the answer, and `ImageUnavailable` where
        another attempt may succeed.
        """
        deadline = Deadline(self._settings.total_timeout_seconds, self._settings.step_timeout_seconds, self._monotonic)
        where = _parsed(url)
        for _ in range(MAX_REDIRECTS + 1):
            fetched = self._request(where, deadline)
            if fetched.location is None:
                return fetched.body
            where = _parsed(fetched.location, base=where)
        raise ImageRefused(
            "redirects", f"{_shown(url)} redirects more than {MAX_REDIRECTS} times: give the final address"
        )

    def _request(self, where: httpx.URL, deadline: Deadline) -> _FetchedImage:
        backend = PinnedBackend(self._policy, self._resolve, deadline)
        try:
            with (
                httpcore.ConnectionPool(self._tls, http1=True, network_backend=backend) as pool,
                pool.stream("GET", _target(where), headers=_headers(where)) as response,
            ):
                return self._read(where, response)
        except httpcore.TimeoutException:
            settings = self._settings
            raise ImageUnavailable(
                "timeout",
                f"{where.host} took longer than {settings.step_timeout_seconds:g} s for a step or "
                f"{settings.total_timeout_seconds:g} s in all (images.step_timeout_seconds, .total_timeout_seconds)",
            ) from None
        except httpcore.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise ImageRefused(
                    "certificate", f"{where.host} has no valid certificate for its name: fix it, or use another host"
                ) from None
            raise ImageUnavailable("unreachable", f"{where.host} can't be connected to: {error}") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):  # its text may quote what the sender mustn't see
            raise ImageUnavailable(
                "broken_answer", f"{where.host} broke off its response, or doesn't speak HTTP"
            ) from None

    def _read(self, where: httpx.URL, response: httpcore.Response) -> _FetchedImage:
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        if response.status in _REDIRECT and "location" in headers:
            return _FetchedImage(location=headers["location"])
        _check_status(where, response.status)
        _check_type(where, headers)
        limit = self._settings.max_bytes
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._too_large(where, f"declares {int(declared):,} bytes")
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > limit:
                raise self._too_large(where, f"sends more than {limit:,} bytes")
        return _FetchedImage(bytes(body))

    def _too_large(self, where: httpx.URL, how: str) -> ImageRefused:
        return ImageRefused(
            "too_large",
            f"{where.host} {how}; at most {self._settings.max_bytes:,} are read (images.max_bytes): give a smaller "
            "image",
        )


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    if len(url.encode(errors="replace")) > MAX_URL_BYTES:
        raise ImageRefused("url", f"the address has more than {MAX_URL_BYTES} bytes: give a shorter one")
    try:
        parsed = httpx.URL(url) if base is None else base.join(url)
        host = parsed.raw_host
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise ImageRefused("url", f"{_shown(url)} is not a valid address: give an http or https URL") from None
    if parsed.scheme not in ("http", "https"):
        raise ImageRefused(
            "scheme", f"{_shown(url)} has the scheme {parsed.scheme or '(none)'!r}: give an http or https URL"
        )
    if parsed.userinfo:
        raise ImageRefused("userinfo", f"the address on {parsed.host} holds a user or a password: leave them out")
    if not host:
        raise ImageRefused("url", f"{_shown(url)} names no host: give an http or https URL")
    return parsed


def _shown(url: str) -> str:
    """Shorten a URL for a message, without what looks like a password."""
    return repr(url[:100] if "@" not in url else f"{url.split(':', 1)[0][:20]}:…")


def _target(where: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=where.raw_scheme, host=where.raw_host, port=where.port, target=where.raw_path or b"/")


def _headers(where: httpx.URL) -> Mapping[bytes | str, bytes | str]:
    return {
        b"Host": where.netloc,
        b"Accept": ", ".join(MEDIA_TYPES).encode(),
        b"Accept-Encoding": b"identity",
        b"User-Agent": b"eddyline",
        b"Connection": b"close",
    }


def _check_status(where: httpx.URL, status: int) -> None:
    if status == 200:
        return
    answer = f"{where.host} answers with status {status}"
    if status >= 500 or status in _RETRYABLE:
        raise ImageUnavailable("status", answer)
    raise ImageRefused("status", f"{answer}: give the address of an image that is there, and public")


def _check_type(where: httpx.URL, headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise ImageRefused(
            "content_type",
            f"{where.host} sends {kind[:60] or 'no content type'!r}: give one of {', '.join(MEDIA_TYPES)}",
        )
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):  # it would unpack to any size
        raise ImageRefused(
            "content_encoding", f"{where.host} sends it compressed ({coding[:20]}): send images as they are"
        )
