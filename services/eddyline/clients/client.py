"""A client of the HTTP API of a running Eddyline, which threads may share.

A problem (RFC 9457) becomes an exception of
`eddyline.errors` with the problem's detail. Events have ids before they are sent, and a retry sends the same bytes
again, so each counts once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeVar, Unpack

import httpx

from eddyline.clients import requests
from eddyline.clients.event_queue import EventQueue, log_refusal
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
    parse_object,
    reached,
)
from eddyline.clients.retries import NO_RETRIES, Failure, Retries
from eddyline.errors import EddylineError, InvalidInput
from eddyline.model.ids import Person
from eddyline.settings import mask_credentials

T = TypeVar("T")
TIMEOUT_SECONDS: Final = 60.0


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
        on_refused: Callable[[Fields, EddylineError], None] = log_refusal,
    ) -> None:
        """`timeout` and what `sleep` takes are in seconds. `proof`: of the person whom the calls are about.
        `on_refused` gets each event of `track` that was refused for good."""
        sent = headers(api_key) | ({} if proof is None else {"Eddyline-Proof": proof})
        self._http = httpx.Client(base_url=url, timeout=timeout, transport=transport, headers=sent)
        self._url, self._retries, self._sleep = mask_credentials(url), retries, sleep
        self._queue = EventQueue(self._send_events, on_refused)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send what `track` was given, ten seconds at most, and close the connections."""
        self._queue.close()
        self._http.close()

    def call(self, request: ApiRequest[T]) -> T:
        """Send a request of `eddyline.clients.requests`."""
        return request.parse(self._call(request, self._retries, self._sleep))

    # -- the process ----------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Raise `Unavailable` when nobody answers, without another attempt."""
        reached(self._attempt("GET", "/healthz", None, None), self._url)

    def is_ready(self) -> bool:
        """Ask once whether the process is ready; not, where nobody answers."""
        answer = self._attempt("GET", "/readyz", None, None)
        return isinstance(answer, httpx.Response) and answer.status_code == 200

    def installation(self) -> str | None:
        """Ask which installation this is; None where it doesn't say, or nobody answers."""
        answer = self._attempt("GET", "/healthz", None, None)
        said = parse_object(answer).get("installation") if isinstance(answer, httpx.Response) else None
        return said if isinstance(said, str) else None

    def metrics(self) -> str:
        """Fetch the metrics, in Prometheus' text format."""
        return self.call(requests.metrics())

    # -- events ---------------------------------------------------------------------------------------------------

    def track(self, event: Fields) -> str:
        """Have an event sent in the background, however long that takes; return its id at once.

        Raises `Overloaded` where ten thousand wait already, since nobody has answered for long, and TypeError where
        JSON has no place for what is in it.
        """
        return self._queue.put(event)

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until what `track` was given is acknowledged, or refused: return whether it is, within so many
        seconds."""
        return self._queue.flush(seconds)

    def send_events(self, events: Sequence[Fields]) -> Rejections:
        """Send events, in parts where they are too large together."""
        return self._send_events(events, self._retries, self._sleep)

    # -- items and people ------------------------------------------------------------------------------------------

    def put_items(self, items: Sequence[Fields]) -> Rejections:
        """Send items' full states, in parts where they are too large together."""
        return self._send(requests.put_items, items, self._retries, self._sleep)

    def set_availability(self, items: Sequence[Fields]) -> Rejections:
        """Send items' prices and stocks, in parts where they are too large together."""
        return self._send(requests.set_availability, items, self._retries, self._sleep)

    def put_item(self, item_id: str, state: Fields) -> None:
        """Create or replace an item. Raises `InvalidInput`."""
        self.call(requests.put_item(item_id, state))

    def delete_item(self, item_id: str) -> None:
        """Delete an item."""
        self.call(requests.delete_item(item_id))

    def item(self, item_id: str) -> Json:
        """Read an item's full state. Raises `NotFound`."""
        return self.call(requests.item(item_id))

    def put_user(self, user_id: str, state: Fields) -> None:
        """Send a user's onboarding answers and attributes. Raises `InvalidInput`."""
        self.call(requests.put_user(user_id, state))

    def user(self, user_id: str) -> PersonJson:
        """Read what is known of a user. Raises `NotFound`."""
        return self.call(requests.user(user_id))

    def erase(self, person: Person) -> None:
        """Erase a user, or someone anonymous who isn't one by now."""
        self.call(requests.erase(person))

    # -- lists: what they take is in docs/http-api.md; all raise `InvalidInput` -----------------------------------

    def recommend(self, **request: Unpack[RecommendationFields]) -> RecommendationsJson:
        """Request a list for someone."""
        return self.call(requests.recommend(request))

    def trending(self, window: Window = "day", **query: Unpack[ListFields]) -> ItemListJson:
        """Request what is popular."""
        return self.call(requests.browse("trending", {"window": window, **query}))

    def latest(self, **query: Unpack[ListFields]) -> ItemListJson:
        """Request what is new."""
        return self.call(requests.browse("latest", query))

    def similar(self, item_id: str, relation: str | None = None, **query: Unpack[ListFields]) -> ItemListJson:
        """Request the items that go with one. Raises `NotFound`."""
        return self.call(requests.similar(item_id, {"relation": relation, **query}))

    def search(self, q: str, **query: Unpack[SearchFields]) -> ItemListJson:
        """Search for items. Raises `NotEnabled` where there is no encoder."""
        return self.call(requests.search({"q": q, **query}))

    def audience(self, item_id: str, **query: Unpack[AudienceFields]) -> AudienceJson:
        """Request the people for whom an item may be right. Raises `NotFound`."""
        return self.call(requests.audience(item_id, query))

    # -- experiments and insights -----------------------------------------------------------------------------------

    def assignment(self, **query: Unpack[AssignmentFields]) -> AssignmentJson:
        """Look up which experiment and variant someone is in. Raises `InvalidInput`."""
        return self.call(requests.assignment(query))

    def feeds(self) -> list[Json]:
        """List the feeds, and how reading each goes."""
        return self.call(requests.feeds())

    def put_feed(self, feed: Fields) -> Json:
        """Have a feed read from now on, or change one. Raises `InvalidInput`."""
        return self.call(requests.put_feed(feed))

    def end_feed(self, name: str) -> Json:
        """Have a feed read no more; its items stay. Raises `NotFound`, and `InvalidInput` for one of the settings."""
        return self.call(requests.end_feed(name))

    def strategies(self) -> Json:
        """Read how lists are ranked."""
        return self.call(requests.strategies())

    def kpis(self, query: Fields) -> Json:
        """Read the measures. Raises `InvalidInput`."""
        return self.call(requests.kpis(query))

    def experiments(self) -> list[Json]:
        """List the experiments, past ones included."""
        return self.call(requests.experiments())

    def experiment(self, name: str) -> Json:
        """Read an experiment's report. Raises `NotFound`."""
        return self.call(requests.experiment(name))

    # -- one call -------------------------------------------------------------------------------------------------

    def _send_events(self, events: Sequence[Fields], retries: Retries, sleep: Callable[[float], object]) -> Rejections:
        return self._send(requests.send_events, requests.with_event_ids(events), retries, sleep)

    def _send(
        self,
        make: Callable[[Sequence[Fields]], ApiRequest[Rejections]],
        batch: Sequence[Fields],
        retries: Retries,
        sleep: Callable[[float], object],
    ) -> Rejections:
        request = make(batch)
        try:
            return request.parse(self._call(request, retries, sleep))
        except InvalidInput as error:
            if len(batch) == 1:
                return {0: error}
        middle = len(batch) // 2  # too large together, or one of them makes the whole batch invalid
        first = self._send(make, batch[:middle], retries, sleep)
        second = self._send(make, batch[middle:], retries, sleep)
        return first | {middle + index: reason for index, reason in second.items()}

    def _call(self, request: ApiRequest[Any], retries: Retries, sleep: Callable[[float], object]) -> httpx.Response:
        content, pauses = request.content, iter(retries.pauses)
        while True:
            outcome = self._attempt(request.method, request.path, content, request.query)
            pause = retries.pause(outcome, pauses)
            if pause is None:
                return accepted(reached(outcome, self._url))
            sleep(pause)

    def _attempt(self, method: str, path: str, content: bytes | None, query: Fields | None) -> Failure:
        try:
            return self._http.request(method, path, content=content, params=query)
        except httpx.HTTPError as error:
            return error
