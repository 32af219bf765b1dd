"""The pages for people: a welcome at `/`, the playground at `/play`, the console at `/console`; and the tracker for
pages of other sites.

They are files that hold nothing of anybody, so everyone may have them; what they show, their scripts ask of the API, as
any caller does. Their policy lets them load and call nothing but this server, and forbids making markup of text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from eddyline.adapters.http.access import open_to
from eddyline.errors import NotEnabled, NotFound

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NO_PLAYGROUND = (
    "the playground is off in this process: set server.playground = true (EDDYLINE_SERVER__PLAYGROUND=true) where both "
    "collector and reader run"
)
_FOR_OTHER_SITES = {
    "Cache-Control": "public, max-age=3600, stale-while-revalidate=86400",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
"""Of the tracker, which the pages of shops load: each browser asks for it at most once an hour."""
NO_CONSOLE = "the console is in processes with the role reader, and this one has none"


@dataclass(frozen=True, slots=True)
class _Asset:
    """A file as it is sent."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def from_file(cls, name: str, body: bytes) -> _Asset:
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Content-Type": MEDIA_TYPES[name[name.rindex(".") :]],
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        }
        return cls(body, headers)

    def answer(self, request: Request) -> Response:
        """Send it, or, to who has it already, that it is still the same."""
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self.headers["ETag"] in known:
            return Response(status_code=304, headers=dict(self.headers))
        return Response(self.body, headers=dict(self.headers))


def router(playground: bool, console: bool = False) -> APIRouter:
    """Build the routes of the pages. Without the `playground`, or the `console`, its route answers where it is."""
    found = {one.name: one.read_bytes() for one in (files("eddyline.adapters.http") / "assets").iterdir()}
    for name, is_here in {b"playground": playground, b"console": console}.items():
        if not is_here:
            part = re.compile(rb"\s*<!-- %b -->.*?<!-- /%b -->" % (name, name), re.DOTALL)
            found["home.html"] = part.sub(b"", found["home.html"])
    assets = {name: _Asset.from_file(name, body) for name, body in found.items()}
    routes = APIRouter(include_in_schema=False)

    @routes.get("/", openapi_extra=open_to())
    async def home(request: Request) -> Response:
        return assets["home.html"].answer(request)

    @routes.get("/play", openapi_extra=open_to())
    async def play(request: Request) -> Response:
        if not playground:
            raise NotEnabled(NO_PLAYGROUND)
        return assets["play.html"].answer(request)

    @routes.get("/console", openapi_extra=open_to())
    async def show_console(request: Request) -> Response:
        if not console:
            raise NotEnabled(NO_CONSOLE)
        return assets["console.html"].answer(request)

    @routes.get("/eddyline.js", openapi_extra=open_to())
    async def tracker(request: Request) -> Response:
        return _Asset(assets["eddyline.js"].body, assets["eddyline.js"].headers | _FOR_OTHER_SITES).answer(request)

    @routes.get("/assets/{name}", openapi_extra=open_to())
    async def asset(request: Request, name: str) -> Response:
        if name not in assets:
            raise NotFound("there is no such asset")
        return assets[name].answer(request)

    return routes
