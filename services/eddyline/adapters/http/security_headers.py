"""The headers that keep an answer from being stored, framed, or taken for something else."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]

SECURITY_HEADERS: Headers = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]
"""Of every response that says nothing else: most are about someone, and none is a page to be framed. What HTTPS alone
may promise (`Strict-Transport-Security`) is said by who has the certificate: the proxy."""


def protected(headers: Headers) -> Headers:
    """Add them to those of a response, which may say otherwise, as pages do."""
    given = dict(headers)
    return [*headers, *(header for header in SECURITY_HEADERS if header[0] not in given)]


def header_lines() -> bytes:
    """Return the headers as they go over the wire."""
    return b"".join(b"%b: %b\r\n" % header for header in SECURITY_HEADERS)
