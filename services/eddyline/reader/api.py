"""The reading routes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response

from eddyline.adapters.http import (
    IdentityCheck,
    WorkerThreads,
    describe_body,
    id_from_path,
    item_id_from_path,
    json_response,
    open_to,
    read_json,
    validate_input,
)
from eddyline.errors import InvalidInput, NotEnabled
from eddyline.model.ids import Person
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
    StrategyList,
    TrendingQuery,
)
from eddyline.reader.search import Search
from eddyline.settings import Scope

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


def router(
    reader: Reader,
    max_body_bytes: int,
    search: Search | None = None,
    identity: IdentityCheck = IdentityCheck(None),
) -> APIRouter:
    """Build the routes of a reader. Without a `search`, its route answers how to turn it on."""
    routes = APIRouter(tags=["reading"])
    threads, search_threads = WorkerThreads("reader", MAX_CALLS), WorkerThreads("search", MAX_SEARCHES)
    lists = open_to(Scope.LISTS)

    def check_user(request: Request, user_id: str | None) -> None:
        """Raise `Forbidden` where whoever asks must prove to be this user, and doesn't."""
        if user_id is not None:
            identity.require_proof(request, Person("u", user_id))

    @routes.get(
        "/v1/users/{user_id}/recommendations",
        summary="Recommendations for a user",
        response_model=RecommendationList,
        openapi_extra=lists,
    )
    async def recommendations(
        request: Request, user_id: UserId, query: Annotated[RecommendationQuery, Query()], variant: Variant = None
    ) -> Response:
        body = _validated(query.to_body(id_from_path(user_id, "user_id")))
        check_user(request, body.user_id)
        return json_response(await threads.run(reader.recommend, body, variant))

    @routes.post(
        "/v1/recommendations",
        summary="Recommendations for anyone, with the events of this very moment",
        response_model=RecommendationList,
        openapi_extra=lists | describe_body(RecommendationRequest, description="Nothing of it is stored"),
    )
    async def post_recommendations(request: Request, variant: Variant = None) -> Response:
        body = _validated(await read_json(request, max_body_bytes))
        check_user(request, body.user_id)
        return json_response(await threads.run(reader.recommend, body, variant))

    @routes.get(
        "/v1/experiments/assignment",
        summary="Which variant someone gets, for apps where another system makes the lists of one",
        response_model=AssignmentResponse,
        openapi_extra=lists,
    )
    async def assignment(request: Request, query: Annotated[AssignmentQuery, Query()]) -> Response:
        check_user(request, query.user_id)
        return json_response(await threads.run(reader.assignment, query))

    @routes.get(
        "/v1/strategies",
        summary="How lists are ranked: the weights of each strategy, and what learned ones have learnt",
        response_model=StrategyList,
        openapi_extra=open_to(Scope.OPERATE),
    )
    async def strategies() -> Response:
        return json_response(await threads.run(reader.strategies))

    @routes.get("/v1/items/{item_id}/similar", summary="Similar items", response_model=BrowseList, openapi_extra=lists)
    async def similar(item_id: ItemId, query: Annotated[SimilarQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.similar, item_id_from_path(item_id), query))

    @routes.get(
        "/v1/items/{item_id}/audience",
        summary="Audience of an item",
        response_model=Audience,
        openapi_extra=open_to(Scope.PEOPLE),
    )
    async def audience(item_id: ItemId, query: Annotated[AudienceQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.audience, item_id_from_path(item_id), query))

    @routes.get("/v1/trending", summary="Trending items", response_model=BrowseList, openapi_extra=lists)
    async def trending(query: Annotated[TrendingQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.trending, query))

    @routes.get("/v1/latest", summary="The newest items", response_model=BrowseList, openapi_extra=lists)
    async def latest(query: Annotated[ListQuery, Query()]) -> Response:
        return json_response(await threads.run(reader.browse.latest, query))

    @routes.get("/v1/search", summary="Search items by meaning", response_model=SearchList, openapi_extra=lists)
    async def find(request: Request, query: Annotated[SearchQuery, Query()]) -> Response:
        check_user(request, query.user_id)
        if search is None:
            raise NotEnabled(NO_SEARCH)
        return json_response(await search_threads.run(search.find, query))

    @routes.get(
        "/v1/users/{user_id}",
        summary="What is known of a person",
        response_model=PersonSummary,
        openapi_extra=open_to(Scope.PEOPLE),
    )
    async def person(request: Request, user_id: UserId) -> Response:
        name = id_from_path(user_id, "user_id")
        check_user(request, name)
        return json_response(await threads.run(reader.profiles.describe, name))

    @routes.get(
        "/v1/items/{item_id}",
        summary="An item's full state, as PUT takes it",
        openapi_extra=open_to(Scope.CATALOGUE, Scope.LISTS),
    )
    async def item(item_id: ItemId) -> Response:
        return json_response(await threads.run(reader.browse.item, item_id_from_path(item_id)))

    return routes


def _validated(body: Any) -> RecommendationRequest:
    if not isinstance(body, dict):
        raise InvalidInput("must be a JSON object", "body")
    return validate_input(RecommendationRequest, body)
