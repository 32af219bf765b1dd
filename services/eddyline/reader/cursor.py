"""Cursors: where a list goes on, as an opaque string, so that no state is kept here.

A cursor names what was served by a 32-bit fingerprint each, so that a page never repeats an item, however the ranking
has changed in between (in return, an item may be passed over for looking like a served one: one in some ten million).
It also names the request it belongs to, so that it can't be used with another, and is signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
from pydantic import SecretStr

from eddyline.errors import InvalidInput
from eddyline.model.ids import item_dimension
from eddyline.model.ranking import RankedItem

MAX_DEPTH = 500
_VERSION = 2
_HEAD = 9
_SIGNATURE = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a request stands: its own fingerprint, its limit, and what was served before, as fingerprints; `key` signs
    what comes after it."""

    request: bytes
    limit: int
    key: bytes
    served: frozenset[int] = frozenset()

    @property
    def depth(self) -> int:
        """How many items were served before."""
        return len(self.served)

    def has_served(self, item_id: str) -> bool:
        """Whether the item was on an earlier page."""
        return bool(self.served) and item_dimension(item_id) in self.served

    def after(self, items: Iterable[RankedItem]) -> str | None:
        """Encode the cursor for the page after these items; None where the list ends here: the page isn't full, or
        another one as long would go too deep."""
        page = [item_dimension(item.item_id) for item in items]
        served = self.served.union(page)
        if len(page) < self.limit or len(served) + self.limit > MAX_DEPTH:
            return None
        numbers = np.fromiter(sorted(served), dtype=">u4", count=len(served))
        raw = bytes([_VERSION]) + self.request + numbers.tobytes()
        return base64.urlsafe_b64encode(raw + _sign(raw, self.key)).rstrip(b"=").decode()


@lru_cache(maxsize=8)
def cursor_key(secret: SecretStr | None) -> bytes:
    """Derive the key that cursors are signed with from `identity.secret`, which all readers share.

    Without one it is the same everywhere, since readers share nothing else: that finds accidents, not forgeries, which
    bring nobody more than `exclude` does.
    """
    given = b"" if secret is None else secret.get_secret_value().encode()
    return hashlib.blake2b(given, person=b"eddyline cursor").digest()


def request_fingerprint(*parts: object) -> bytes:
    """Hash a request, without its cursor and limit, to eight bytes."""
    return hashlib.blake2b(orjson.dumps(parts, default=str), digest_size=_HEAD - 1).digest()


def parse_cursor(cursor: str | None, request: bytes, limit: int, key: bytes) -> Cursor:
    """Decode a cursor (None: the first page). Raises `InvalidInput` when it is malformed, signed with another `key`, or
    of another request."""
    if cursor is None:
        return Cursor(request, limit, key)
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (binascii.Error, UnicodeEncodeError, ValueError):
        raw = b""
    raw, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
    is_ours = secrets.compare_digest(signature, _sign(raw, key))
    if not is_ours or len(raw) < _HEAD or raw[0] != _VERSION or (len(raw) - _HEAD) % 4:
        raise InvalidInput("is not a cursor of this API; ask for the first page without one", "next")
    if raw[1:_HEAD] != request:
        raise InvalidInput("belongs to a request with other parameters; ask for the first page without one", "next")
    served = frozenset(int(number) for number in np.frombuffer(raw[_HEAD:], dtype=">u4"))
    if len(served) + limit > MAX_DEPTH:
        raise InvalidInput(f"lists end after {MAX_DEPTH} items", "next")
    return Cursor(request, limit, key, served)


def _sign(raw: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(raw, key=key, digest_size=_SIGNATURE).digest()
