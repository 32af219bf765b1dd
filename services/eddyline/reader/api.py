"""The reading routes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from eddyline.adapters.http import (
    WorkerThreads,
    describe_body,
    id_from_path,
    item_id_from_path,
    json_response,
    read_json,
    validate_input,
)
from eddyline.errors import InvalidInput, NotEnabled
from eddyline.reader.recommend import Reader
from eddyline.reader.schemas import (
    AssignmentQuery,
    AssignmentResponse,
    Audience,
    AudienceQuery,
    BrowseList,
    ListQuery,
    PersonSummary,
    RecommendationList,
    RecommendationQuery,
    RecommendationRequest,
    SearchList,
    SearchQuery,
    SimilarQuery,
    TrendingQuery,
)
from eddyline.reader.search import Search

BODIES = (RecommendationRequest,)
"""Models of the bodies that the routes read themselves."""

NO_SEARCH = (
    "this reader doesn't search: it would need the text encoder. Set reader.search = true "
    "(EDDYLINE_READER__SEARCH=true) and the encoder of the embedder: with eddyline[embedder] installed beside it, or "
    "in another process (encoder.kind)"
)

MAX_CALLS = 40
"""Most calls of the vector store at a time."""

MAX_SEARCHES = 8
"""Most searches at a time, so that an encoder that is slow, or gone, leaves threads for lists."""

ItemId = Annotated[str, Path(description="Percent-encoded")]
Variant = Annotated[
    str | None,
    Header(
        alias="Eddyline-Variant",
        max_length=256,
        description="`<experiment>/<variant>`: the list as this variant has it, for testing; it isn't measured",
    ),
]
UserId = Annotated[str, Path(description="Percent-encoded")]


def router(reader: Reader, max_body_bytes: int, search: Search | None = None) -> APIRouter:
    """Build the routes of a reader. Without a `search`, its route answers how to turn it on."""
    routes = APIRouter(tags=["reading"])
    threads, search_threads = WorkerThreads("reader", MAX_CALLS), WorkerThreads("search", MAX_SEARCHES)

    @routes.get(
        "/v1/users/{user_id}/recommendations",
        summary="Recommendations for a user",
        response_model=RecommendationList,
    )
    async def recommendations(
        user_id: UserId, query: Annotated[RecommendationQuery, Query()], variant: Variant = None
    ) -> Response:
        request = _validated(query.to_body(id_from_path(user_id, "user_id")))
        return json_response(await threads.run(reader.recommend, request, variant))

    @routes.post(
        "/v1/recommendations",
        summary="Recommendations for anyone, with the events of this very moment",
        response_model=RecommendationList,
        openapi_extra=describe_body(RecommendationRequest, description="Nothing of it is stored"),
    )
    async def post_recommendations(request: Request, variant: Variant = None) -> Response:
        body = _validated(await read_json(request, max_body_bytes))
        return json_response(await threads.run(reader.recommend, body, variant))

    @routes.get(
        "/v1/experiments/assignment",
        summary="Which variant someone gets, for apps where another system makes the lists of one",
        response_model=AssignmentResponse,
    )
    async def assignment(query: Annotated[AssignmentQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.assignment, query))

    @routes.get("/v1/items/{item_id}/similar", summary="Similar items", response_model=BrowseList)
    async def similar(item_id: ItemId, query: Annotated[SimilarQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.similar, item_id_from_path(item_id), query))

    @routes.get(
        "/v1/items/{item_id}/audience",
        summary="Audience of an item",
        response_model=Audience,
    )
    async def audience(item_id: ItemId, query: Annotated[AudienceQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.audience, item_id_from_path(item_id), query))

    @routes.get("/v1/trending", summary="Trending items", response_model=BrowseList)
    async def trending(query: Annotated[TrendingQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.trending, query))

    @routes.get("/v1/latest", summary="The newest items", response_model=BrowseList)
    async def latest(query: Annotated[ListQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.latest, query))

    @routes.get("/v1/search", summary="Search items by meaning", response_model=SearchList)
    async def find(query: Annotated[SearchQuery, Query()]) -> Response:
        if search is None:
            raise NotEnabled(NO_SEARCH)
        return json_response(await search_threads.run(search.find, query))

    @routes.get("/v1/users/{user_id}", summary="What is known of a person", response_model=PersonSummary)
    async def person(user_id: UserId) -> Response:
        return json_response(await threads.run(reader.profiles.describe, id_from_path(user_id, "user_id")))

    @routes.get("/v1/items/{item_id}", summary="An item's full state, as PUT takes it")
    async def item(item_id: ItemId) -> Response:
        return json_response(await threads.run(reader.browse.item, item_id_from_path(item_id)))

    return routes


def _validated(body: Any) -> RecommendationRequest:
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    return validate_input(RecommendationRequest, body)
