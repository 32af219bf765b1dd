"""A client of the HTTP API of a running Eddyline, blocking (`Client`) and for asyncio (`AsyncClient`).

A `Client` may be shared by threads, an `AsyncClient` by tasks. A problem (RFC 9457) becomes an exception of
`eddyline.errors` with the problem's detail. A retry sends the same bytes again, so events with ids of their own count
once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import quote

import httpx
import orjson

from eddyline.errors import (
    EddylineError,
    Forbidden,
    InvalidInput,
    NotEnabled,
    NotFound,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
)
from eddyline.model.ids import Person
from eddyline.settings import mask_credentials

Json: TypeAlias = dict[str, Any]
Fields: TypeAlias = Mapping[str, Any]
"""A JSON object to send, or the parameters of a GET."""
Failure: TypeAlias = httpx.Response | httpx.HTTPError
Rejections: TypeAlias = dict[int, InvalidInput]
"""What was wrong, by the index, in what was sent, of what was not accepted; empty where all was."""

TIMEOUT_SECONDS: Final = 60.0
PAGE: Final = 100
"""Ids in a page of a list."""
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each retry: about a minute in all."""
AWAY: Final = frozenset({502, 503, 504})
BUSY: Final = frozenset({429, 503})
"""Statuses that may come with a Retry-After."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Which failures are retried: responses with one of `statuses` and, with `unreachable`, no response at all.

    `pauses`: seconds before each retry, longer where a Retry-After asks for it; at their end the error is raised.
    """

    statuses: frozenset[int] = frozenset()
    unreachable: bool = False
    pauses: Iterable[float] = ()

    def pause(self, failure: Failure, pauses: Iterator[float]) -> float | None:
        """Return the seconds until the next attempt, from the remaining `pauses`; None where there is none."""
        if isinstance(failure, httpx.Response):
            if failure.status_code not in self.statuses:
                return None
        elif not self.unreachable:
            return None
        pause = next(pauses, None)
        return pause if pause is None else max(pause, _retry_after(failure))


NO_RETRIES: Final = Retries()
WHILE_BUSY: Final = Retries(BUSY, pauses=repeat(0.1))
FOR_A_MINUTE: Final = Retries(AWAY | BUSY, unreachable=True, pauses=PAUSES)


class Client:
    """Blocking calls to the Eddyline at `url`; a context manager. `transport` replaces the network.

    Each raises `Unavailable` when there is no response, or one of 429, 502, 503 and 504, `Forbidden` where `api_key` is
    missing or may not do it, `UnexpectedResponse` for what the API doesn't respond with, and what its own docstring
    names.
    """

    def __init__(
        self,
        url: str,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = NO_RETRIES,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        api_key: str | None = None,
        proof: str | None = None,
    ) -> None:
        """`timeout` and what `sleep` takes are in seconds. `proof`: of the person whom the calls are about."""
        headers = _headers(api_key) | ({} if proof is None else {"Eddyline-Proof": proof})
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport, headers=headers)
        self._url, self._retries, self._sleep = mask_credentials(url), retries, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # -- the process ----------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Raise `Unavailable` when nobody answers, without another attempt."""
        _reached(self._attempt("GET", "/healthz", None, None), self._url)

    def is_ready(self) -> bool:
        """Ask once whether the process is ready; not, where nobody answers."""
        answer = self._attempt("GET", "/readyz", None, None)
        return isinstance(answer, httpx.Response) and answer.status_code == 200

    def installation(self) -> str | None:
        """Ask which installation this is; None where it doesn't say, or nobody answers."""
        answer = self._attempt("GET", "/healthz", None, None)
        said = _object(answer).get("installation") if isinstance(answer, httpx.Response) else None
        return said if isinstance(said, str) else None

    def metrics(self) -> str:
        """Fetch the metrics, in Prometheus' text format."""
        return self._call("GET", "/metrics").text

    # -- events, items and people ---------------------------------------------------------------------------------

    def send_events(self, events: Sequence[Fields]) -> Rejections:
        """Send events, in parts where they are too large together."""
        return self._send("/v1/events", "events", events)

    def put_items(self, items: Sequence[Fields]) -> Rejections:
        """Send items' full states, in parts where they are too large together."""
        return self._send("/v1/items", "items", items)

    def set_availability(self, items: Sequence[Fields]) -> Rejections:
        """Send items' prices and stocks, in parts where they are too large together."""
        return self._send("/v1/items/availability", "items", items)

    def delete_item(self, item_id: str) -> None:
        """Delete an item."""
        self._call("DELETE", item_path(item_id))

    def put_user(self, user_id: str, state: Fields) -> None:
        """Send a user's onboarding answers and attributes. Raises `InvalidInput`."""
        self._call("PUT", user_path(user_id), state)

    def erase(self, person: Person) -> None:
        """Erase a user, or someone anonymous who isn't one by now."""
        self._call("DELETE", user_path(person.id) if person.kind == "u" else f"/v1/anonymous/{quoted(person.id)}")

    # -- reading --------------------------------------------------------------------------------------------------

    def item(self, item_id: str) -> Json:
        """Read an item's full state. Raises `NotFound`."""
        return _body(self._call("GET", item_path(item_id)))

    def user(self, user_id: str) -> Json:
        """Read what is known of a user. Raises `NotFound`."""
        return _body(self._call("GET", user_path(user_id)))

    def recommend(self, request: Fields) -> Json:
        """Request a list for someone. Raises `InvalidInput`."""
        return _body(self._call("POST", "/v1/recommendations", request))

    def trending(self, query: Fields) -> Json:
        """Request what is popular. Raises `InvalidInput`."""
        return _body(self._call("GET", "/v1/trending", query=query))

    # -- experiments and insights -----------------------------------------------------------------------------------

    def assignment(self, query: Fields) -> Json:
        """Look up which experiment and variant someone is in. Raises `InvalidInput`."""
        return _body(self._call("GET", "/v1/experiments/assignment", query=query))

    def strategies(self) -> Json:
        """Read how lists are ranked."""
        return _body(self._call("GET", "/v1/strategies"))

    def kpis(self, query: Fields) -> Json:
        """Read the measures. Raises `InvalidInput`."""
        return _body(self._call("GET", "/v1/insights/kpis", query=query))

    def experiments(self) -> list[Json]:
        """List the experiments, past ones included."""
        listed: list[Json] = _body(self._call("GET", "/v1/insights/experiments"))["experiments"]
        return listed

    def experiment(self, name: str) -> Json:
        """Read an experiment's report. Raises `NotFound`."""
        return _body(self._call("GET", f"/v1/insights/experiments/{quoted(name)}"))

    # -- one call -------------------------------------------------------------------------------------------------

    def _send(self, path: str, name: str, batch: Sequence[Fields]) -> Rejections:
        try:
            return _rejections(self._call("POST", path, {name: batch}))
        except InvalidInput as error:
            if len(batch) == 1:
                return {0: error}
        middle = len(batch) // 2  # too large together, or one of them makes the whole batch invalid
        first, second = self._send(path, name, batch[:middle]), self._send(path, name, batch[middle:])
        return first | {middle + index: reason for index, reason in second.items()}

    def _call(self, method: str, path: str, body: Fields | None = None, query: Fields | None = None) -> httpx.Response:
        content, pauses = _content(body), iter(self._retries.pauses)
        while True:
            outcome = self._attempt(method, path, content, query)
            pause = self._retries.pause(outcome, pauses)
            if pause is None:
                return _accepted(_reached(outcome, self._url))
            self._sleep(pause)

    def _attempt(self, method: str, path: str, content: bytes | None, query: Fields | None) -> Failure:
        try:
            return self._http.request(method, path, content=content, params=query)
        except httpx.HTTPError as error:
            return error


class AsyncClient:
    """Calls for asyncio, as `Client`'s, up to `connections` at once. `on_retry` gets each failure that is retried."""

    def __init__(
        self,
        url: str,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries = NO_RETRIES,
        connections: int = 16,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.perf_counter,
        on_retry: Callable[[Failure], None] = lambda _: None,
        api_key: str | None = None,
    ) -> None:
        """`timeout`, `monotonic` and what `sleep` takes are in seconds."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout, limits=limits, transport=transport, headers=_headers(api_key)
        )
        self._url, self._retries, self._sleep = mask_credentials(url), retries, sleep
        self._monotonic, self._on_retry = monotonic, on_retry

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ping(self) -> None:
        """Raise `Unavailable` when nobody answers, without another attempt."""
        _reached(await self._attempt("GET", "/healthz", None, None), self._url)

    async def send_events(self, events: Sequence[Fields]) -> Rejections:
        """Send events. Raises `InvalidInput` where they are refused as a whole."""
        return _rejections(await self._call("POST", "/v1/events", {"events": events}))

    async def put_items(self, items: Sequence[Fields]) -> Rejections:
        """Send items' full states. Raises `InvalidInput` where they are refused as a whole."""
        return _rejections(await self._call("POST", "/v1/items", {"items": items}))

    async def item(self, item_id: str) -> Json:
        """Read an item's full state. Raises `NotFound`."""
        return _body(await self._call("GET", item_path(item_id)))

    async def recommend(self, request: Fields) -> tuple[Json, float]:
        """Request a list for someone: the response, and the seconds it took, without those of failed attempts.

        Raises `InvalidInput`.
        """
        response = await self._call("POST", "/v1/recommendations", request)
        return _body(response), response.elapsed.total_seconds()

    async def recommend_to_user(self, user_id: str, query: Fields) -> tuple[Json, float]:
        """Request a user's list as `recommend` does."""
        response = await self._call("GET", f"{user_path(user_id)}/recommendations", query=query)
        return _body(response), response.elapsed.total_seconds()

    async def listed_ids(self, name: Literal["latest", "trending"], max_ids: int) -> list[str]:
        """Page through a list that is the same for everyone."""
        ids: list[str] = []
        query: Json = {"limit": min(max_ids, PAGE)}
        while len(ids) < max_ids:
            answer = _body(await self._call("GET", f"/v1/{name}", query=query))
            ids += [str(item["item_id"]) for item in answer["items"]]
            if not answer.get("next"):
                break
            query["next"] = answer["next"]
        return ids[:max_ids]

    async def _call(
        self, method: str, path: str, body: Fields | None = None, query: Fields | None = None
    ) -> httpx.Response:
        content, pauses = _content(body), iter(self._retries.pauses)
        while True:
            outcome = await self._attempt(method, path, content, query)
            pause = self._retries.pause(outcome, pauses)
            if pause is None:
                return _accepted(_reached(outcome, self._url))
            self._on_retry(outcome)
            await self._sleep(pause)

    async def _attempt(self, method: str, path: str, content: bytes | None, query: Fields | None) -> Failure:
        began = self._monotonic()
        try:
            response = await self._http.request(method, path, content=content, params=query)
        except httpx.HTTPError as error:
            return error
        response.elapsed = timedelta(seconds=self._monotonic() - began)
        return response


# -- requests and responses of both ----------------------------------------------------------------------------------


def quoted(name: str) -> str:
    """Escape an id whole for a path, dots too, so that `..` stays one."""
    return quote(name, safe="").replace(".", "%2E")


def item_path(item_id: str) -> str:
    """Name an item's resource."""
    return f"/v1/items/{quoted(item_id)}"


def user_path(user_id: str) -> str:
    """Name a user's resource."""
    return f"/v1/users/{quoted(user_id)}"


def _headers(api_key: str | None) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({} if api_key is None else {"Authorization": f"Bearer {api_key}"})


def _content(body: Fields | None) -> bytes | None:
    return None if body is None else orjson.dumps(body)


def _reached(outcome: Failure, url: str) -> httpx.Response:
    if isinstance(outcome, httpx.Response):
        return outcome
    raise Unavailable(f"{url} can't be reached ({outcome or type(outcome).__name__})")


def _accepted(response: httpx.Response) -> httpx.Response:
    """Raise the problem of a response, unless it is a success, or tells which of what was sent was rejected."""
    if response.is_success or (response.status_code == 422 and "rejected" in _object(response)):
        return response
    raise _error(response)


def _error(response: httpx.Response) -> EddylineError:
    problem, status = _object(response), response.status_code
    detail, field = str(problem.get("detail", response.text[:200])), problem.get("field")
    if status in (400, 413, 422):
        return (TooLarge if status == 413 else InvalidInput)(detail.removeprefix(f"{field}: "), field)
    if status in (401, 403):
        return Forbidden(f"{_address(response)} answered {status} ({detail}): EDDYLINE_API_KEY is the key to send")
    if status == 404 and "detail" in problem and not detail.startswith("there is nothing at"):
        return NotFound(detail)
    if status == 501:
        return NotEnabled(detail)
    if status in AWAY | BUSY:
        return Unavailable(f"{_address(response)} answered {status} ({detail})")
    return UnexpectedResponse(_address(response), status, detail)


def _address(response: httpx.Response) -> str:
    return mask_credentials(str(response.request.url))


def _rejections(response: httpx.Response) -> Rejections:
    return {
        one["index"]: InvalidInput(one["reason"], one.get("field") or "body") for one in _body(response)["rejected"]
    }


def _body(response: httpx.Response) -> Json:
    body = _object(response)
    if not body:
        raise UnexpectedResponse(_address(response), response.status_code, response.text[:200])
    return body


def _object(response: httpx.Response) -> Json:
    """Parse a JSON object; empty where it is none, as from a proxy."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(failure: Failure) -> float:
    """Return the seconds that a busy Eddyline asks for; 1 where there are none: a proxy may send a date, or nothing."""
    if not isinstance(failure, httpx.Response) or failure.status_code not in BUSY:
        return 0.0
    try:
        return float(failure.headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
