"""The client for asyncio, which tasks may share; see `client`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, Self, TypeVar, Unpack

import httpx

from eddyline.clients import requests
from eddyline.clients.client import TIMEOUT_SECONDS, Client
from eddyline.clients.event_queue import log_refusal
from eddyline.clients.requests import (
    ApiRequest,
    AssignmentFields,
    AudienceFields,
    Fields,
    ListFields,
    RecommendationFields,
    SearchFields,
    Window,
    headers,
)
from eddyline.clients.responses import (
    AssignmentJson,
    AudienceJson,
    ItemListJson,
    Json,
    PersonJson,
    RecommendationsJson,
    Rejections,
    accepted,
    reached,
)
from eddyline.clients.retries import NO_RETRIES, Failure, Retries
from eddyline.errors import EddylineError
from eddyline.model.ids import Person
from eddyline.settings import mask_credentials

T = TypeVar("T")
PAGE: Final = 100
"""Ids in a page of a list."""


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
        on_refused: Callable[[Fields, EddylineError], None] = log_refusal,
    ) -> None:
        """`timeout`, `monotonic` and what `sleep` takes are in seconds. `on_refused` as `Client`'s."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(
            base_url=url, timeout=timeout, limits=limits, transport=transport, headers=headers(api_key)
        )
        self._url, self._retries, self._sleep = mask_credentials(url), retries, sleep
        self._monotonic, self._on_retry = monotonic, on_retry
        self._background = Client(url, timeout, api_key=api_key, on_refused=on_refused)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Send what `track` was given, ten seconds at most, and close the connections."""
        await asyncio.to_thread(self._background.close)
        await self._http.aclose()

    async def call(self, request: ApiRequest[T]) -> T:
        """Send a request of `eddyline.clients.requests`."""
        return (await self.timed_call(request))[0]

    async def timed_call(self, request: ApiRequest[T]) -> tuple[T, float]:
        """Send a request; return the seconds it took, too, without those of failed attempts."""
        response = await self._call(request)
        return request.parse(response), response.elapsed.total_seconds()

    async def ping(self) -> None:
        """Raise `Unavailable` when nobody answers, without another attempt."""
        reached(await self._attempt("GET", "/healthz", None, None), self._url)

    async def metrics(self) -> str:
        """Fetch the metrics, in Prometheus' text format."""
        return await self.call(requests.metrics())

    # -- events ---------------------------------------------------------------------------------------------------

    def track(self, event: Fields) -> str:
        """Have an event sent in the background, by a thread, and return its id at once, as `Client` does."""
        return self._background.track(event)

    async def flush(self, seconds: float | None = None) -> bool:
        """Wait as `Client.flush` does."""
        return await asyncio.to_thread(self._background.flush, seconds)

    async def send_events(self, events: Sequence[Fields]) -> Rejections:
        """Send events. Raises `InvalidInput` where they are refused as a whole."""
        return await self.call(requests.send_events(requests.with_event_ids(events)))

    # -- items and people -----------------------------------------------------------------------------------------

    async def put_items(self, items: Sequence[Fields]) -> Rejections:
        """Send items' full states. Raises `InvalidInput` where they are refused as a whole."""
        return await self.call(requests.put_items(items))

    async def set_availability(self, items: Sequence[Fields]) -> Rejections:
        """Send items' prices and stocks. Raises `InvalidInput` where they are refused as a whole."""
        return await self.call(requests.set_availability(items))

    async def put_item(self, item_id: str, state: Fields) -> None:
        """Create or replace an item. Raises `InvalidInput`."""
        await self.call(requests.put_item(item_id, state))

    async def delete_item(self, item_id: str) -> None:
        """Delete an item."""
        await self.call(requests.delete_item(item_id))

    async def item(self, item_id: str) -> Json:
        """Read an item's full state. Raises `NotFound`."""
        return await self.call(requests.item(item_id))

    async def put_user(self, user_id: str, state: Fields) -> None:
        """Send a user's onboarding answers and attributes. Raises `InvalidInput`."""
        await self.call(requests.put_user(user_id, state))

    async def user(self, user_id: str) -> PersonJson:
        """Read what is known of a user. Raises `NotFound`."""
        return await self.call(requests.user(user_id))

    async def erase(self, person: Person) -> None:
        """Erase a user, or someone anonymous who isn't one by now."""
        await self.call(requests.erase(person))

    # -- lists: what they take is in docs/http-api.md; all raise `InvalidInput` -----------------------------------

    async def recommend(self, **request: Unpack[RecommendationFields]) -> RecommendationsJson:
        """Request a list for someone."""
        return await self.call(requests.recommend(request))

    async def trending(self, window: Window = "day", **query: Unpack[ListFields]) -> ItemListJson:
        """Request what is popular."""
        return await self.call(requests.browse("trending", {"window": window, **query}))

    async def latest(self, **query: Unpack[ListFields]) -> ItemListJson:
        """Request what is new."""
        return await self.call(requests.browse("latest", query))

    async def similar(self, item_id: str, relation: str | None = None, **query: Unpack[ListFields]) -> ItemListJson:
        """Request the items that go with one. Raises `NotFound`."""
        return await self.call(requests.similar(item_id, {"relation": relation, **query}))

    async def search(self, q: str, **query: Unpack[SearchFields]) -> ItemListJson:
        """Search for items. Raises `NotEnabled` where there is no encoder."""
        return await self.call(requests.search({"q": q, **query}))

    async def audience(self, item_id: str, **query: Unpack[AudienceFields]) -> AudienceJson:
        """Request the people for whom an item may be right. Raises `NotFound`."""
        return await self.call(requests.audience(item_id, query))

    # -- experiments and insights -----------------------------------------------------------------------------------

    async def assignment(self, **query: Unpack[AssignmentFields]) -> AssignmentJson:
        """Look up which experiment and variant someone is in. Raises `InvalidInput`."""
        return await self.call(requests.assignment(query))

    async def feeds(self) -> list[Json]:
        """List the feeds, and how reading each goes."""
        return await self.call(requests.feeds())

    async def put_feed(self, feed: Fields) -> Json:
        """Have a feed read from now on, or change one. Raises `InvalidInput`."""
        return await self.call(requests.put_feed(feed))

    async def end_feed(self, name: str) -> Json:
        """Have a feed read no more; its items stay. Raises `NotFound`, and `InvalidInput` for one of the settings."""
        return await self.call(requests.end_feed(name))

    async def strategies(self) -> Json:
        """Read how lists are ranked."""
        return await self.call(requests.strategies())

    async def kpis(self, query: Fields) -> Json:
        """Read the measures. Raises `InvalidInput`."""
        return await self.call(requests.kpis(query))

    async def experiments(self) -> list[Json]:
        """List the experiments, past ones included."""
        return await self.call(requests.experiments())

    async def experiment(self, name: str) -> Json:
        """Read an experiment's report. Raises `NotFound`."""
        return await self.call(requests.experiment(name))

    async def listed_ids(self, name: Literal["latest", "trending"], max_ids: int) -> list[str]:
        """Page through a list that is the same for everyone."""
        ids: list[str] = []
        query: Json = {"limit": min(max_ids, PAGE)}
        while len(ids) < max_ids:
            answer = await self.call(requests.browse(name, query))
            ids += [str(item["item_id"]) for item in answer["items"]]
            if not answer.get("next"):
                break
            query["next"] = answer["next"]
        return ids[:max_ids]

    # -- one call -------------------------------------------------------------------------------------------------

    async def _call(self, request: ApiRequest[Any]) -> httpx.Response:
        content, pauses = request.content, iter(self._retries.pauses)
        while True:
            outcome = await self._attempt(request.method, request.path, content, request.query)
            pause = self._retries.pause(outcome, pauses)
            if pause is None:
                return accepted(reached(outcome, self._url))
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
