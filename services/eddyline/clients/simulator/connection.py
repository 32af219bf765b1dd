"""A running Eddyline, used as an app does: patient for a minute while it is busy or away, counting what goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import httpx

from eddyline.clients import requests
from eddyline.clients.async_client import AsyncClient
from eddyline.clients.responses import Json, RecommendationsJson
from eddyline.clients.retries import FOR_A_MINUTE, Failure
from eddyline.clients.simulator.simulation_report import SimulationReport
from eddyline.clients.simulator.visits import ListedItem
from eddyline.errors import EddylineError, InvalidInput, NotFound, Unavailable, UnexpectedResponse

TIMEOUT_SECONDS: Final = 30.0
AWAIT_SECONDS: Final = 600.0
"""Longest wait until the catalogue is searchable."""
POLL_SECONDS: Final = 0.25
BATCH: Final = 100
LISTS: Final[tuple[Literal["latest"], Literal["trending"]]] = ("latest", "trending")

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ReceivedList:
    """A list of recommendations. `experiment`, where one has it; `variant` is its variant, or as without."""

    request_id: str
    strategy: str
    experiment: str | None
    variant: str
    is_degraded: bool
    items: tuple[ListedItem, ...]
    seconds: float


class Connection:
    """Calls the Eddyline at `url`, `concurrency` times at once; a context manager. `monotonic` in seconds."""

    def __init__(
        self,
        url: str,
        concurrency: int,
        report: SimulationReport,
        sleep: Sleep,
        monotonic: Callable[[], float],
        transport: httpx.AsyncBaseTransport | None = None,
        api_key: str | None = None,
    ) -> None:
        self._report, self._sleep, self._monotonic = report, sleep, monotonic
        self._client = AsyncClient(
            url, TIMEOUT_SECONDS, FOR_A_MINUTE, concurrency + 1, transport, sleep, monotonic, self._count, api_key
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def require_reachable(self) -> None:
        """Raise `Unavailable` when nobody answers."""
        try:
            await self._client.ping()
        except Unavailable as error:
            raise Unavailable(f"{error}: start `eddyline up`, or name its address with --url") from None

    async def recommend(
        self, ids: Mapping[str, str], parameters: Mapping[str, Any], device: str
    ) -> ReceivedList | None:
        """Ask for someone's list; None where there is a fault in it.

        Raises `InvalidInput` when the parameters are refused, `Unavailable` when nobody answers for long.
        """
        user_id = ids.get("user_id")
        try:
            if user_id is None:
                answer, seconds = await self._client.timed_call(
                    requests.recommend({**ids, **parameters, "context": {"device": device}})
                )
            else:
                answer, seconds = await self._client.timed_call(
                    requests.recommend_to_user(user_id, {**parameters, "device": device})
                )
        except UnexpectedResponse as error:
            if error.status < 500:
                raise
            self._report.count_failure(f"a list: {error.status} {error.detail}")
            return None
        return _received(answer, seconds)

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Send what people did. What is refused is counted."""
        try:
            refused = await self._client.send_events(events)
        except UnexpectedResponse as error:
            self._report.count_failure(f"events: {error.status} {error.detail}")
        except InvalidInput as error:
            self._report.count_failure(f"events: {error}")
        else:
            for index, event in enumerate(events):
                reason = refused.get(index)
                self._report.count_event(str(event["type"]), None if reason is None else str(reason))

    async def put(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Send items. Raises `EddylineError` where one is refused."""
        for begin in range(0, len(items), BATCH):
            batch = items[begin : begin + BATCH]
            refused = await self._client.put_items(batch)
            if refused:
                raise EddylineError(f"items were refused: {next(iter(refused.values()))}")
            self._report.items_sent += len(batch)

    async def item(self, item_id: str) -> Json | None:
        """Read an item's full state; None where there is none."""
        try:
            return await self._client.item(item_id)
        except (NotFound, UnexpectedResponse):
            return None

    async def catalogue(self, max_items: int) -> list[Json]:
        """Read the states of so many of the newest and of the liveliest items."""
        ids = [item_id for name in LISTS for item_id in await self._client.listed_ids(name, max_items)]
        return [state for item_id in dict.fromkeys(ids) if (state := await self.item(item_id)) is not None]

    async def await_items(self, item_ids: Sequence[str]) -> None:
        """Wait until these can be read. Raises `EddylineError` after ten minutes."""
        deadline = self._monotonic() + AWAIT_SECONDS
        for item_id in item_ids:
            while await self.item(item_id) is None:
                if self._monotonic() > deadline:
                    raise EddylineError(
                        f"item {item_id!r} isn't searchable after {AWAIT_SECONDS:g} s: is the embedder running?"
                    )
                await self._sleep(POLL_SECONDS)

    def _count(self, failure: Failure) -> None:
        if isinstance(failure, httpx.Response):
            self._report.busy += 1
        else:
            self._report.unreachable += 1


def _received(answer: RecommendationsJson, seconds: float) -> ReceivedList:
    return ReceivedList(
        request_id=str(answer["request_id"]),
        strategy=str(answer["strategy"]),
        experiment=answer.get("experiment"),
        variant=str(answer["variant"]),
        is_degraded=bool(answer.get("degraded")),
        items=tuple(ListedItem(str(item["item_id"]), int(item["rank"])) for item in answer["items"]),
        seconds=seconds,
    )
