"""What the API responds with: JSON objects by their fields, and the errors of what is no success."""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

import httpx
import orjson

from eddyline.clients.retries import AWAY, BUSY, Failure
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
from eddyline.settings import mask_credentials

Json: TypeAlias = dict[str, Any]
Rejections: TypeAlias = dict[int, InvalidInput]
"""What was wrong, by the index, in what was sent, of what was not accepted; empty where all was."""


class ListItemJson(TypedDict, total=False):
    """A place of a list."""

    item_id: str
    rank: int
    score: float
    title: str | None
    category: str | None
    url: str | None
    because: str
    """With `explain`: a sentence from the largest term."""
    scores: dict[str, float]
    """With `explain`: the terms; they add up to the score."""
    repeat: bool
    """Seen before; too little else was left."""
    promotion: str


class ItemListJson(TypedDict, total=False):
    """A list of items. `next`: for the page after it; `reason`: why it is empty."""

    items: list[ListItemJson]
    next: str | None
    degraded: bool
    reason: str | None
    personalised: bool
    """Of a search: whether a person's taste had a say in the order."""


class RecommendationsJson(ItemListJson, total=False):
    """Someone's list. `request_id` goes along with the events that it leads to."""

    request_id: str
    experiment: str | None
    variant: str
    strategy: str
    cold_start: bool


class AudienceMemberJson(TypedDict, total=False):
    """A person for whom an item may be right."""

    user_id: str
    anonymous_id: str
    score: float


class AudienceJson(TypedDict, total=False):
    """People for whom an item may be right, the likeliest first. `reason`: why there is nobody."""

    people: list[AudienceMemberJson]
    reason: str | None


class PersonJson(TypedDict, total=False):
    """What is known of a user."""

    user_id: str
    events: int
    evidence: float
    last_seen: str | None
    recents: list[str]
    onboarded: bool
    segment: str | None
    attributes: Json
    waiting: int
    anonymous_ids: list[str]


class AssignmentJson(TypedDict):
    """Which experiment and variant someone is in; all null where they are in none."""

    experiment: str | None
    variant: str | None
    revision: str | None
    external: bool


def reached(outcome: Failure, url: str) -> httpx.Response:
    """Return a response. Raises `Unavailable` where there is none."""
    if isinstance(outcome, httpx.Response):
        return outcome
    raise Unavailable(f"{url} can't be reached ({outcome or type(outcome).__name__})")


def accepted(response: httpx.Response) -> httpx.Response:
    """Raise the problem of a response, unless it is a success, or tells which of what was sent was rejected."""
    if response.is_success or (response.status_code == 422 and "rejected" in parse_object(response)):
        return response
    raise _error(response)


def parse_nothing(_response: httpx.Response) -> None:
    """Return nothing of a success."""


def parse_text(response: httpx.Response) -> str:
    """Return a body as text."""
    return response.text


def parse_rejections(response: httpx.Response) -> Rejections:
    """Return what was not accepted."""
    return {
        one["index"]: InvalidInput(one["reason"], one.get("field") or "body")
        for one in parse_body(response)["rejected"]
    }


def parse_body(response: httpx.Response) -> Any:
    """Return a JSON object. Raises `UnexpectedResponse` where it is none."""
    body = parse_object(response)
    if not body:
        raise UnexpectedResponse(_address(response), response.status_code, response.text[:200])
    return body


def parse_object(response: httpx.Response) -> Json:
    """Return a JSON object; empty where it is none, as from a proxy."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _error(response: httpx.Response) -> EddylineError:
    problem, status = parse_object(response), response.status_code
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
