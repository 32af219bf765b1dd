"""Who may call which route.

With keys, a request needs one that has the scope of its route. Without, only this machine reaches the port
(`runtime.startup_checks`), and what is left to fear is a browser on it: pages of other sites, which may send what needs
no preflight, and pages that have their own name point here (DNS rebinding).
"""

from __future__ import annotations

import time
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Scope as HttpScope

from eddyline.adapters.http.keys import ApiKey, Caller, KeyRing
from eddyline.errors import Forbidden, RateLimited, Unauthenticated, WrongHost
from eddyline.settings import Scope

BEARER, PARAMETER = "bearer", "parameter"
"""Names of the security schemes: the header, and the query parameter of what `sendBeacon` sends."""
SECURITY_SCHEMES: Mapping[str, Mapping[str, str]] = {
    BEARER: {"type": "http", "scheme": "bearer", "description": "A key with one of the scopes that the route names"},
    PARAMETER: {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "For `sendBeacon`, which sends no headers: a key with the scope `events` alone",
    },
    "proof": {
        "type": "apiKey",
        "in": "header",
        "name": "Eddyline-Proof",
        "description": "With `identity.secret`, beside a key without the scope `people`: of whom the request is for",
    },
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


ANYONE, NOBODY = Caller(None, frozenset(Scope)), Caller(None, frozenset())
"""Where there are no keys; and who sends none, or a wrong one, to a route that is open to everyone."""


@dataclass(frozen=True, slots=True)
class RouteAccess:
    """The keys that may call a route: those with any of `scopes`; where there are none, everyone may."""

    scopes: frozenset[Scope]
    in_query: bool = False
    """Whether the key may be a query parameter."""

    @classmethod
    def from_security(cls, security: Sequence[Mapping[str, Sequence[str]]]) -> RouteAccess:
        """Read what `open_to` has declared."""
        named = frozenset(Scope(scope) for one in security for scopes in one.values() for scope in scopes)
        return cls(named, any(PARAMETER in one for one in security))


OPERATE = RouteAccess(frozenset({Scope.OPERATE}))


def open_to(*scopes: Scope, in_query: bool = False) -> dict[str, Any]:
    """Declare who may call a route, for its `openapi_extra`; without scopes: everyone, without a key."""
    schemes = (BEARER, PARAMETER) if in_query else (BEARER,)
    return {"security": [{scheme: [scope.value]} for scope in scopes for scheme in schemes]}


def caller_of(scope: HttpScope) -> Caller:
    """Return who sent an admitted request."""
    caller: Caller = scope["caller"]
    return caller


class AccessControl:
    """Admits requests. Without a `ring`, or while it has no keys, anyone on this machine. `clock` in epoch seconds."""

    def __init__(
        self,
        ring: KeyRing | None,
        allowed_hosts: Sequence[str] = (),
        cors_origins: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring, self._clock = ring, clock
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._origins = frozenset(cors_origins)
        self._is_own_host = lru_cache(maxsize=1024)(self._names_this_host)

    def admit(self, request: HttpScope, access: RouteAccess) -> Caller:
        """Return who sends the request; note the name of their key, as `key`, even where it is refused.

        Raises `Unauthenticated`, `Forbidden`, `RateLimited` and `WrongHost`, saying what is needed.
        """
        headers = dict(request["headers"])
        has_keys = self._ring is not None and self._ring.by_digest is not None
        if access.scopes and (self._hosts or not has_keys):
            self._check_host(headers.get(b"host", b""))
        if not has_keys:
            if request["method"] not in SAFE:
                self._check_origin(headers)
            return ANYONE
        key = self._key(request, headers, access)
        if not access.scopes:
            return NOBODY if key is None or self._is_expired(key) else key.caller
        if key is None:
            raise Unauthenticated(f"needs a key with the scope {_either(access)}, as Authorization: Bearer <key>")
        request["key"] = key.name
        self._check(key, access)
        return key.caller

    def _key(self, request: HttpScope, headers: Mapping[bytes, bytes], access: RouteAccess) -> ApiKey | None:
        assert self._ring is not None
        given = headers.get(b"authorization", b"")
        if given[:7].lower() == b"bearer ":
            return self._ring.find(given[7:].strip())
        if given[:6].lower() == b"basic ":  # as Segment's libraries send their write key: the user, without a password
            return self._ring.find(_basic_user(given[6:].strip()))
        if access.in_query and b"key=" in request["query_string"]:
            key = self._ring.find(query_parameter(request, "key").encode())
            if key is not None and key.scopes != {Scope.EVENTS}:
                raise Forbidden(
                    f"the key {key.name} may do more than send events: addresses end up in logs, so send it as "
                    "Authorization: Bearer, or make one with the scope events alone"
                )
            return key
        return None

    def _check(self, key: ApiKey, access: RouteAccess) -> None:
        if self._is_expired(key):
            raise Unauthenticated(f"the key {key.name} has expired")
        if key.scopes.isdisjoint(access.scopes):
            raise Forbidden(f"the key {key.name} doesn't have the scope {_either(access)}")
        if wait := key.spend():
            raise RateLimited(f"the key {key.name} may not send so many requests a second", wait)

    def _is_expired(self, key: ApiKey) -> bool:
        return key.expires is not None and key.expires <= self._clock()

    def _check_host(self, host: bytes) -> None:
        if not self._is_own_host(host):
            raise WrongHost(
                f"{_quoted(host)} is not a name of this host: add it to server.allowed_hosts "
                "(EDDYLINE_SERVER__ALLOWED_HOSTS) if it is"
            )

    def _names_this_host(self, host: bytes) -> bool:
        """An address, or a name without a dot, can't be the name of somebody's page."""
        text = host.decode("latin-1").lower()
        name = text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0] or text
        if name in self._hosts:
            return True
        if self._ring is not None and self._ring.by_digest is not None:
            return False
        try:
            ip_address(name)
        except ValueError:
            return "." not in name
        return True

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise `Forbidden` for what a page of another site may send unasked; JSON it may not."""
        origin = headers.get(b"origin")
        if origin is None or origin.partition(b"://")[2] == headers.get(b"host"):
            return
        if origin.decode("latin-1") in self._origins or "*" in self._origins:
            return
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Forbidden(
                f"{_quoted(origin)} is another site: add it to server.cors_origins, or send JSON "
                "(Content-Type: application/json), which browsers ask about first"
            )


def _basic_user(credentials: bytes) -> bytes:
    try:
        return b64decode(credentials, validate=True).partition(b":")[0]
    except ValueError:
        return b""


def query_parameter(request: HttpScope, name: str) -> str:
    """Return the last parameter of that name; empty where there is none."""
    query: bytes = request["query_string"]
    return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get(name, "")


def _either(access: RouteAccess) -> str:
    return " or ".join(scope.value for scope in Scope if scope in access.scopes)


def _quoted(given: bytes) -> str:
    return repr(given[:100].decode("latin-1"))
