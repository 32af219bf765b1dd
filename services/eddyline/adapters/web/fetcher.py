"""Fetch from a URL that anyone may have written, so that it can do no harm.

What can never become right is refused by name (`FetchRefused`); what may be right later is `FetchUnavailable`.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpcore
import httpx

from eddyline.adapters.web.addresses import AddressPolicy, ResolveHost, resolve
from eddyline.adapters.web.transport import Deadline, PinnedBackend
from eddyline.errors import FetchRefused, FetchUnavailable

MAX_REDIRECTS = 3
MAX_URL_BYTES = 2048
USER_AGENT = "eddyline"
_PERMANENT = frozenset({301, 308})
_REDIRECT = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a fetch may take, and where it may go. `section`: of the settings, where these are set."""

    section: str
    max_bytes: int
    step_timeout_seconds: float
    total_timeout_seconds: float
    allowed_hosts: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response. `url`: where it came from; `moved_to`: where it is to be asked for from now on, if elsewhere."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    moved_to: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Admit = Callable[[str, int, Mapping[str, str]], bool]
"""Decide by (host, status, headers by lower-case name) whether a body is read; raises `FetchRefused` and
`FetchUnavailable`."""


class GuardedFetcher:
    """Fetches over HTTP and HTTPS. Safe from any thread; every fetch has connections of its own."""

    def __init__(
        self, limits: FetchLimits, resolve: ResolveHost = resolve, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`resolve` finds a host's addresses; `monotonic` gives seconds."""
        self._limits, self._resolve, self._monotonic = limits, resolve, monotonic
        self._policy = AddressPolicy(limits.allowed_hosts, limits.allowed_networks, limits.section)
        self._tls = ssl.create_default_context()

    def get(self, url: str, headers: Mapping[str, str], admit: Admit) -> Fetched:
        """Return the response, its body unpacked where it comes as gzip: at most `max_bytes` of it.

        Raises `FetchRefused` for what is wrong with the URL, the address or the answer, and `FetchUnavailable` where
        another attempt may succeed.
        """
        limits = self._limits
        deadline = Deadline(limits.total_timeout_seconds, limits.step_timeout_seconds, self._monotonic)
        where, is_permanent, moved_to = _parsed(url), True, None
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._request(where, headers, admit, deadline)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECT or location is None:
                return Fetched(answer.status, answer.headers, answer.body, str(where), moved_to)
            where = _parsed(location, base=where)
            is_permanent = is_permanent and answer.status in _PERMANENT
            moved_to = str(where) if is_permanent else moved_to
        raise FetchRefused(
            "redirects", f"{_shown(url)} redirects more than {MAX_REDIRECTS} times: give the final address"
        )

    def _request(self, where: httpx.URL, headers: Mapping[str, str], admit: Admit, deadline: Deadline) -> _Answer:
        backend = PinnedBackend(self._policy, self._resolve, deadline)
        try:
            with (
                httpcore.ConnectionPool(self._tls, http1=True, network_backend=backend) as pool,
                pool.stream("GET", _target(where), headers=_headers(where, headers)) as response,
            ):
                return self._read(where, response, admit)
        except httpcore.TimeoutException:
            limits = self._limits
            raise FetchUnavailable(
                "timeout",
                f"{where.host} took longer than {limits.step_timeout_seconds:g} s for a step or "
                f"{limits.total_timeout_seconds:g} s in all ({limits.section}.step_timeout_seconds, "
                ".total_timeout_seconds)",
            ) from None
        except httpcore.ConnectError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise FetchRefused(
                    "certificate", f"{where.host} has no valid certificate for its name: fix it, or use another host"
                ) from None
            raise FetchUnavailable("unreachable", f"{where.host} can't be connected to: {error}") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):  # its text may quote what the sender mustn't see
            raise FetchUnavailable(
                "broken_answer", f"{where.host} broke off its response, or doesn't speak HTTP"
            ) from None

    def _read(self, where: httpx.URL, response: httpcore.Response, admit: Admit) -> _Answer:
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        if response.status in _REDIRECT and "location" in headers:
            return _Answer(response.status, headers)
        if not admit(where.host, response.status, headers):
            return _Answer(response.status, headers)
        limit, declared = self._limits.max_bytes, headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._too_large(where, f"declares {int(declared):,} bytes")
        body, unpack = bytearray(), _unpacker(headers)
        for chunk in response.iter_stream():
            try:
                body += unpack(chunk, limit + 1 - len(body))
            except zlib.error:
                raise FetchUnavailable("broken_answer", f"{where.host} sends broken gzip") from None
            if len(body) > limit:
                raise self._too_large(where, f"sends more than {limit:,} bytes")
        return _Answer(response.status, headers, bytes(body))

    def _too_large(self, where: httpx.URL, how: str) -> FetchRefused:
        limits = self._limits
        return FetchRefused(
            "too_large",
            f"{where.host} {how}; at most {limits.max_bytes:,} are read ({limits.section}.max_bytes): give a smaller "
            "one",
        )


def _unpacker(headers: Mapping[str, str]) -> Callable[[bytes, int], bytes]:
    """Return what unpacks chunks as the headers say, to so many bytes at most, so that a small body stays small."""
    if headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip"):
        return lambda chunk, _: chunk
    return zlib.decompressobj(wbits=31).decompress


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    if len(url.encode(errors="replace")) > MAX_URL_BYTES:
        raise FetchRefused("url", f"the address has more than {MAX_URL_BYTES} bytes: give a shorter one")
    try:
        parsed = httpx.URL(url) if base is None else base.join(url)
        host = parsed.raw_host
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise FetchRefused("url", f"{_shown(url)} is not a valid address: give an http or https URL") from None
    if parsed.scheme not in ("http", "https"):
        raise FetchRefused(
            "scheme", f"{_shown(url)} has the scheme {parsed.scheme or '(none)'!r}: give an http or https URL"
        )
    if parsed.userinfo:
        raise FetchRefused("userinfo", f"the address on {parsed.host} holds a user or a password: leave them out")
    if not host:
        raise FetchRefused("url", f"{_shown(url)} names no host: give an http or https URL")
    return parsed


def _shown(url: str) -> str:
    """Shorten a URL for a message, without what looks like a password."""
    return repr(url[:100] if "@" not in url else f"{url.split(':', 1)[0][:20]}:…")


def _target(where: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=where.raw_scheme, host=where.raw_host, port=where.port, target=where.raw_path or b"/")


def _headers(where: httpx.URL, headers: Mapping[str, str]) -> Mapping[bytes | str, bytes | str]:
    fixed: dict[bytes | str, bytes | str] = {
        b"Host": where.netloc,
        b"User-Agent": USER_AGENT.encode(),
        b"Connection": b"close",
    }
    return {**fixed, **{name.encode(): value.encode() for name, value in headers.items()}}
