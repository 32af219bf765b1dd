"""The HTTP API of a running Eddyline, as an app uses it: patient while it is busy, for as long as a minute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import orjson

from eddyline.errors import EddylineError, InvalidInput, Unavailable
from eddyline.offline.intake import decoded, in_path, retry_after, said
from eddyline.offline.simulating.browsing import Place
from eddyline.offline.simulating.report import Report

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each further attempt."""
BUSY: Final = frozenset({502, 503, 504})
AWAIT_SECONDS: Final = 600.0
"""Longest wait until the catalogue is searchable."""
POLL_SECONDS: Final = 0.25
BATCH: Final = 100
PAGE: Final = 100

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A list of recommendations. `experiment`, where one has it; `variant` is its variant, or as without."""

    request_id: str
    strategy: str
    experiment: str | None
    variant: str
    is_degraded: bool
    places: tuple[Place, ...]
    seconds: float


class Api:
    """Calls through `client`, which has the address. Counts in `report` what goes wrong. `monotonic` in seconds."""

    def __init__(self, client: httpx.AsyncClient, report: Report, sleep: Sleep, monotonic: Callable[[], float]) -> None:
        self._client, self._report, self._sleep, self._monotonic = client, report, sleep, monotonic

    async def greet(self) -> None:
        """Raise `Unavailable` when nobody answers."""
        try:
            await self._client.get("/healthz")
        except httpx.HTTPError as error:
            raise Unavailable(
                f"{self._client.base_url} can't be reached ({error or type(error).__name__}): start `eddyline up`, or "
                "say where it listens with --url"
            ) from None

    async def recommend(self, ids: Mapping[str, str], asked: Mapping[str, Any], device: str) -> Answer | None:
        """A list for someone; None where there is a fault in it. Raises `InvalidInput` when the parameters are refused,
        `Unavailable` when nobody answers for long."""
        user_id = ids.get("user_id")
        if user_id is None:
            body = orjson.dumps({**ids, **asked, "context": {"device": device}})
            response, seconds = await self._call("POST", "/v1/recommendations", content=body)
        else:
            path = f"/v1/users/{in_path(user_id)}/recommendations"
            response, seconds = await self._call("GET", path, params={**asked, "device": device})
        if 400 <= response.status_code < 500:
            raise InvalidInput(said(response))
        if response.status_code != 200:
            self._report.fail(f"a list: {response.status_code} {said(response)}")
            return None
        return _answer(decoded(response), seconds)

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Tell what people did. What is refused is counted."""
        response, _ = await self._call("POST", "/v1/events", content=orjson.dumps({"events": events}))
        told = decoded(response)
        if response.status_code not in (202, 422) or "rejected" not in told:
            self._report.fail(f"events: {response.status_code} {said(response)}")
            return
        refused = {one["index"]: f"{one.get('field') or 'body'}: {one['reason']}" for one in told["rejected"]}
        for index, event in enumerate(events):
            self._report.told(str(event["type"]), refused.get(index))

    async def put(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Send items. Raises `EddylineError` where one is refused."""
        for begin in range(0, len(items), BATCH):
            batch = items[begin : begin + BATCH]
            response, _ = await self._call("POST", "/v1/items", content=orjson.dumps({"items": batch}))
            if response.status_code != 202 or decoded(response).get("rejected"):
                raise EddylineError(f"{response.request.url} refused items: {said(response)}")
            self._report.items_sent += len(batch)

    async def item(self, item_id: str) -> dict[str, Any] | None:
        """An item's full state; None where there is none."""
        response, _ = await self._call("GET", f"/v1/items/{in_path(item_id)}")
        return decoded(response) if response.status_code == 200 else None

    async def listed(self, path: str, most: int) -> list[str]:
        """The ids in a list that is the same for everyone, page after page."""
        ids: list[str] = []
        asked: dict[str, Any] = {"limit": min(most, PAGE)}
        while len(ids) < most:
            response, _ = await self._call("GET", path, params=asked)
            if response.status_code != 200:
                raise EddylineError(f"{response.request.url} answered {response.status_code}: {said(response)}")
            answer = decoded(response)
            ids += [str(item["item_id"]) for item in answer["items"]]
            if not answer.get("next"):
                break
            asked = {"limit": min(most, PAGE), "next": answer["next"]}
        return ids[:most]

    async def await_items(self, item_ids: Sequence[str]) -> None:
        """Until these can be read. Raises `EddylineError` after ten minutes."""
        deadline = self._monotonic() + AWAIT_SECONDS
        for item_id in item_ids:
            while await self.item(item_id) is None:
                if self._monotonic() > deadline:
                    raise EddylineError(
                        f"item {item_id!r} isn't searchable after {AWAIT_SECONDS:g} s: is the embedder running?"
                    )
                await self._sleep(POLL_SECONDS)

    async def _call(self, method: str, path: str, **rest: Any) -> tuple[httpx.Response, float]:
        """The answer, and the seconds it took, without those of attempts in vain. Raises `Unavailable`."""
        for pause in (*PAUSES, None):
            began = self._monotonic()
            try:
                response = await self._client.request(
                    method, path, headers={"Content-Type": "application/json"}, **rest
                )
            except httpx.HTTPError as error:
                reason, wait = f"can't be reached ({error or type(error).__name__})", pause
                self._report.unreachable += 1
            else:
                if response.status_code not in BUSY:
                    return response, self._monotonic() - began
                reason, wait = f"answers {response.status_code} ({said(response)})", pause
                if pause is not None and response.status_code == 503:
                    wait = max(pause, retry_after(response))
                self._report.busy += 1
            if wait is None:
                raise Unavailable(f"{self._client.base_url} {reason}, for a minute")
            await self._sleep(wait)
        raise AssertionError("unreachable")


def _answer(told: Mapping[str, Any], seconds: float) -> Answer:
    return Answer(
        request_id=str(told["request_id"]),
        strategy=str(told["strategy"]),
        experiment=told.get("experiment"),
        variant=str(told["variant"]),
        is_degraded=bool(told.get("degraded")),
        places=tuple(Place(str(item["item_id"]), int(item["rank"])) for item in told["items"]),
        seconds=seconds,
    )
