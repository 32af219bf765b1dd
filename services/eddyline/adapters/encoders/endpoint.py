"""Requests to a remote encoder's HTTP endpoint: retries with back-off, time-outs, and a key that is never shown."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError, Misconfigured, Unavailable
from eddyline.settings import EncoderSettings

TIMEOUT = "timeout"
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.25, 8.0
MAX_MESSAGE_LENGTH = 300
"""Characters that are shown of an endpoint's own error message."""
_RETRYABLE = frozenset({408, 409, 425, 429})
_TOO_LONG = re.compile(r"too (large|long)|exceed|maximum context", re.IGNORECASE)
"""Of a 500: some servers (llama.cpp) answer with one to a text that is too long."""
_HINTS = {
    401: "check encoder.api_key (EDDYLINE_ENCODER__API_KEY)",
    403: "check what encoder.api_key (EDDYLINE_ENCODER__API_KEY) may do",
    404: "check encoder.url and encoder.model",
    405: "check encoder.url",
}


class EncoderRefused(EddylineError):
    """The endpoint won't take what was sent (a 4xx): sending it again changes nothing."""


class EncoderTimeout(Unavailable):
    """The endpoint didn't answer in time, at any attempt: a smaller batch may work."""


class EncoderEndpoint:
    """Requests to `encoder.url`, from any thread. `sleep` takes seconds."""

    def __init__(
        self, settings: EncoderSettings, metrics: Metrics, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises `Misconfigured` for a URL that isn't http(s), and for what can't be a key."""
        try:
            parsed = httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            raise Misconfigured(f"encoder.url can't be read: {error}") from error
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise Misconfigured(f"encoder.url must be http://… or https://…, not {settings.url!r}")
        self.url = str(parsed.copy_with(query=None, fragment=None)).rstrip("/")
        self._query = parsed.query.decode()
        self._key = _checked_key(settings.api_key)
        self._attempts, self._metrics, self._sleep = settings.attempts, metrics, sleep
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        self._client = httpx.Client(
            headers=headers, timeout=settings.timeout_seconds, limits=httpx.Limits(max_connections=16)
        )

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request, and again where that may help; return the JSON of the response.

        Raises `Unavailable` once `attempts` requests have failed for reasons that may pass, `Misconfigured` for a wrong
        key or address, and `EncoderRefused`.
        """
        content = None if body is None else orjson.dumps(body)
        for attempt in range(1, self._attempts + 1):
            pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
            try:
                return self._once(method, path, content)
            except _TransientError as error:
                self._metrics.encoder_failures.labels(error.kind).inc()
                if attempt == self._attempts:
                    kind = EncoderTimeout if error.kind == TIMEOUT else Unavailable
                    raise kind(f"{self.url}{path}: {error} ({attempt} attempts)") from error
                seconds = pause if error.retry_after is None else max(pause, error.retry_after)
                self._sleep(min(seconds, MAX_PAUSE_SECONDS))
        raise AssertionError("an attempt returns or raises")

    def _once(self, method: str, path: str, content: bytes | None) -> Any:
        try:
            address = f"{self.url}{path}?{self._query}" if self._query else self.url + path
            response = self._client.request(method, address, content=content)
        except httpx.TimeoutException as error:
            raise _TransientError(TIMEOUT, f"no answer in time ({type(error).__name__})") from error
        except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
            raise _TransientError("unreachable", self._redacted(f"can't be reached: {error}")) from error
        except httpx.HTTPError as error:  # its text may quote what was sent
            raise _TransientError("unreachable", f"can't be queried ({type(error).__name__})") from None
        status = response.status_code
        if response.is_success:
            try:
                return orjson.loads(response.content)
            except orjson.JSONDecodeError as error:
                raise Misconfigured(f"{self.url}{path} doesn't answer with JSON: check encoder.url") from error
        if status >= 500 and _TOO_LONG.search(self._message(response)):
            raise EncoderRefused(f"{self.url}{path} answered {status}: {self._message(response)}")
        if status >= 500 or status in _RETRYABLE:
            raise _TransientError(str(status), f"answered {status}: {self._message(response)}", _retry_after(response))
        if status in _HINTS or response.is_redirect:
            hint = _HINTS.get(status, "it redirects, which isn't followed: check encoder.url")
            raise Misconfigured(f"{self.url}{path} answered {status}: {self._message(response)}; {hint}")
        raise EncoderRefused(f"{self.url}{path} answered {status}: {self._message(response)}")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _message(self, response: httpx.Response) -> str:
        try:
            answer = orjson.loads(response.content)
            error = answer.get("error", answer) if isinstance(answer, dict) else answer
            message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        except orjson.JSONDecodeError:
            message = response.text
        return self._redacted(" ".join(str(message or "nothing").split()))[:MAX_MESSAGE_LENGTH]

    def _redacted(self, text: str) -> str:
        """Mask the key, should the endpoint have put it there."""
        return text.replace(self._key, "***") if self._key else text


class _TransientError(Exception):
    """A failure that may be over soon. `retry_after`: seconds, where the endpoint says so."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None) -> None:
        self.kind, self.retry_after = kind, retry_after
        super().__init__(message)


def _checked_key(key: SecretStr | None) -> str | None:
    """Strip the end of line that files and shells leave behind. Raises `Misconfigured` for what can't be a key."""
    if key is None:
        return None
    value = key.get_secret_value().strip()
    if not value or not all("!" <= letter <= "~" for letter in value):
        raise Misconfigured(
            "encoder.api_key (EDDYLINE_ENCODER__API_KEY) can't be a key: it is empty, or has blanks or letters beyond "
            "ASCII"
        )
    return value


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
