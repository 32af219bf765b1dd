"""The way in of a running Eddyline: its collector's API, patient while it is busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from eddyline.errors import Unavailable

GOES_ON = "the same command goes on where this one stopped"


class Intake:
    """Calls a collector through `client`, which has its address."""

    def __init__(self, client: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self._sleep = client, sleep

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """One request with a JSON body (None: without), repeated while the collector is busy. Raises
        `Unavailable`."""
        content = None if body is None else orjson.dumps(body)
        while True:
            response = self.request(method, path, content)
            if response.status_code != 503:
                return response
            self._sleep(retry_after(response))

    def request(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        """One request. Raises `Unavailable` when nobody answers."""
        try:
            return self._client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self._client.base_url} can't be reached ({error or type(error).__name__}); {GOES_ON}"
            ) from None


def in_path(name: str) -> str:
    """An id as a part of a path: escaped whole, dots too, so that `..` stays one."""
    return quote(name, safe="").replace(".", "%2E")


def decoded(response: httpx.Response) -> dict[str, Any]:
    """The JSON object answered; empty where it is none, as from a proxy."""
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


def said(response: httpx.Response) -> str:
    """Why it was refused, in the answer's own words."""
    return str(decoded(response).get("detail", response.text[:200]))


def retry_after(response: httpx.Response) -> float:
    """Seconds; a proxy may say a date, or nothing."""
    try:
        return max(0.1, float(response.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0
