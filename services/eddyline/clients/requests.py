"""Every request of the HTTP API, as a value: what is sent, and how a success is read. Both clients send these.

Fields beyond those that are named are as docs/http-api.md has them; one that is None isn't sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote

import httpx
import orjson

from eddyline.clients.responses import (
    AssignmentJson,
    AudienceJson,
    ItemListJson,
    Json,
    PersonJson,
    RecommendationsJson,
    Rejections,
    parse_body,
    parse_nothing,
    parse_rejections,
    parse_text,
)
from eddyline.model.ids import Person

T = TypeVar("T")
Window: TypeAlias = Literal["hour", "day", "week"]
Fields: TypeAlias = Mapping[str, Any]
"""A JSON object to send, or the parameters of a GET."""


@dataclass(frozen=True, slots=True)
class ApiRequest(Generic[T]):
    """A request, and what makes its result of a success."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    body: Fields | None = None
    query: Fields | None = None

    @property
    def content(self) -> bytes | None:
        """Return the body as it is sent."""
        return None if self.body is None else orjson.dumps(self.body)


def headers(api_key: str | None) -> dict[str, str]:
    """Return what goes with every request."""
    return {"Content-Type": "application/json"} | ({} if api_key is None else {"Authorization": f"Bearer {api_key}"})


class AssignmentFields(TypedDict, total=False):
    """For whom, and where."""

    user_id: str | None
    anonymous_id: str | None
    surface: str | None


class AudienceFields(TypedDict, total=False):
    """Which people."""

    limit: int
    segment: Sequence[str]
    active_within: str


class ListFields(TypedDict, total=False):
    """What every list takes."""

    limit: int
    next: str | None
    category: Sequence[str]
    tag: Sequence[str]
    exclude: Sequence[str]
    published_after: str | float | None


class SearchFields(ListFields, total=False):
    """What a search takes, too."""

    by: str
    user_id: str
    anonymous_id: str
    explain: bool


class RecommendationFields(TypedDict, total=False):
    """What a request for recommendations takes."""

    user_id: str
    anonymous_id: str
    session_id: str
    recent: Sequence[Fields]
    """What the person did this very moment."""
    filter: Fields
    candidates: Sequence[str]
    exclude: Sequence[str]
    boost: Sequence[Fields]
    context: Fields
    limit: int
    next: str | None
    hide: Sequence[str]
    strict: bool
    strategy: str
    diversity: float
    calibration: float
    explore: float
    per_category: int
    min_score: float
    surface: str
    explain: bool
    batch: bool


# -- events, items and people ------------------------------------------------------------------------------------------


def with_event_ids(events: Sequence[Fields]) -> list[Fields]:
    """Give each event without an id a random one, so that it counts once however often it is sent."""
    return [event if event.get("event_id") else {**event, "event_id": str(uuid.uuid4())} for event in events]


def send_events(events: Sequence[Fields]) -> ApiRequest[Rejections]:
    """Send events."""
    return ApiRequest("POST", "/v1/events", parse_rejections, {"events": events})


def put_items(items: Sequence[Fields]) -> ApiRequest[Rejections]:
    """Send items' full states."""
    return ApiRequest("POST", "/v1/items", parse_rejections, {"items": items})


def set_availability(items: Sequence[Fields]) -> ApiRequest[Rejections]:
    """Send items' prices and stocks."""
    return ApiRequest("POST", "/v1/items/availability", parse_rejections, {"items": items})


def put_item(item_id: str, state: Fields) -> ApiRequest[None]:
    """Send an item's full state."""
    return ApiRequest("PUT", item_path(item_id), parse_nothing, state)


def delete_item(item_id: str) -> ApiRequest[None]:
    """Delete an item."""
    return ApiRequest("DELETE", item_path(item_id), parse_nothing)


def put_user(user_id: str, state: Fields) -> ApiRequest[None]:
    """Send a user's onboarding answers and attributes."""
    return ApiRequest("PUT", user_path(user_id), parse_nothing, state)


def erase(person: Person) -> ApiRequest[None]:
    """Erase a user, or someone anonymous who isn't one by now."""
    path = user_path(person.id) if person.kind == "u" else f"/v1/anonymous/{quoted(person.id)}"
    return ApiRequest("DELETE", path, parse_nothing)


def item(item_id: str) -> ApiRequest[Json]:
    """Read an item's full state."""
    return ApiRequest("GET", item_path(item_id), parse_body)


def user(user_id: str) -> ApiRequest[PersonJson]:
    """Read what is known of a user."""
    return ApiRequest("GET", user_path(user_id), parse_body)


# -- lists -------------------------------------------------------------------------------------------------------------


def recommend(request: Fields) -> ApiRequest[RecommendationsJson]:
    """Request a list for someone."""
    return ApiRequest("POST", "/v1/recommendations", parse_body, _given(request))


def recommend_to_user(user_id: str, query: Fields) -> ApiRequest[RecommendationsJson]:
    """Request a user's list by parameters, which a cache or a log can see."""
    return ApiRequest("GET", f"{user_path(user_id)}/recommendations", parse_body, query=_given(query))


def browse(name: str, query: Fields) -> ApiRequest[ItemListJson]:
    """Request a list that is the same for everyone: `trending` or `latest`."""
    return ApiRequest("GET", f"/v1/{name}", parse_body, query=_given(query))


def similar(item_id: str, query: Fields) -> ApiRequest[ItemListJson]:
    """Request the items that go with one."""
    return ApiRequest("GET", f"{item_path(item_id)}/similar", parse_body, query=_given(query))


def search(query: Fields) -> ApiRequest[ItemListJson]:
    """Search for items."""
    return ApiRequest("GET", "/v1/search", parse_body, query=_given(query))


def audience(item_id: str, query: Fields) -> ApiRequest[AudienceJson]:
    """Request the people for whom an item may be right."""
    return ApiRequest("GET", f"{item_path(item_id)}/audience", parse_body, query=_given(query))


# -- experiments, insights, the process --------------------------------------------------------------------------------


def assignment(query: Fields) -> ApiRequest[AssignmentJson]:
    """Look up which experiment and variant someone is in."""
    return ApiRequest("GET", "/v1/experiments/assignment", parse_body, query=_given(query))


def strategies() -> ApiRequest[Json]:
    """Read how lists are ranked."""
    return ApiRequest("GET", "/v1/strategies", parse_body)


def feeds() -> ApiRequest[list[Json]]:
    """List the feeds, and how reading each goes."""
    return ApiRequest("GET", "/v1/feeds", lambda response: list(parse_body(response)["feeds"]))


def put_feed(feed: Fields) -> ApiRequest[Json]:
    """Have a feed read from now on, or change one."""
    return ApiRequest("POST", "/v1/feeds", parse_body, feed)


def end_feed(name: str) -> ApiRequest[Json]:
    """Have a feed read no more; its items stay."""
    return ApiRequest("DELETE", f"/v1/feeds/{quoted(name)}", parse_body)


def kpis(query: Fields) -> ApiRequest[Json]:
    """Read the measures."""
    return ApiRequest("GET", "/v1/insights/kpis", parse_body, query=_given(query))


def experiments() -> ApiRequest[list[Json]]:
    """List the experiments, past ones included."""
    return ApiRequest("GET", "/v1/insights/experiments", lambda response: list(parse_body(response)["experiments"]))


def experiment(name: str) -> ApiRequest[Json]:
    """Read an experiment's report."""
    return ApiRequest("GET", f"/v1/insights/experiments/{quoted(name)}", parse_body)


def metrics() -> ApiRequest[str]:
    """Fetch the metrics."""
    return ApiRequest("GET", "/metrics", parse_text)


# -- paths -------------------------------------------------------------------------------------------------------------


def quoted(name: str) -> str:
    """Escape an id whole for a path, dots too, so that `..` stays one."""
    return quote(name, safe="").replace(".", "%2E")


def item_path(item_id: str) -> str:
    """Name an item's resource."""
    return f"/v1/items/{quoted(item_id)}"


def user_path(user_id: str) -> str:
    """Name a user's resource."""
    return f"/v1/users/{quoted(user_id)}"


def _given(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}
