"""The pages for people, over a stand-in for the API: how they are sent, and what they say when something is wrong."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from tests.services.serving import problem, served
from tests.support.browser import Browser, needs_chromium
from tests.support.system import wait_until

from eddyline.adapters.http import AccessControl, KeyRing, json_response, open_to, pages
from eddyline.adapters.http.keys import hash_key
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import EddylineError, Forbidden, Unavailable
from eddyline.runtime.startup_checks import ROLES, offers_playground
from eddyline.settings import Scope, ServerSettings, Settings

pytestmark = pytest.mark.xdist_group("pages")

ASSETS = Path(pages.__file__).parent / "assets"
MAX_PAGE_BYTES = 300_000


class Shop:
    """A stand-in for the reader: one item in every list, or none, or no answer while it is `down`."""

    down = is_empty = asks_for_proofs = False

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()

    def router(self) -> APIRouter:
        routes = APIRouter(tags=["testing"])
        lists = open_to(Scope.LISTS)

        @routes.post("/v1/recommendations", openapi_extra=lists)
        async def recommendations(request: Request) -> Response:
            if self.asks_for_proofs and "user_id" in await request.json():
                raise Forbidden("needs a proof")
            return await self._answer(
                request_id="r", strategy="learned", variant="learned", experiment=None, cold_start=True
            )

        @routes.get("/v1/trending", openapi_extra=lists)
        async def trending() -> Response:
            return await self._answer()

        @routes.get("/v1/latest", openapi_extra=lists)
        async def latest() -> Response:
            return await self._answer()

        @routes.get("/v1/items/{item_id}/audience", openapi_extra=open_to(Scope.PEOPLE))
        async def audience(item_id: str) -> Response:
            return json_response({"people": [{"user_id": "rosa", "score": 1.0}] if self.asks_for_proofs else []})

        return routes

    async def _answer(self, **more: Any) -> Response:
        while not self.answers.is_set():
            await asyncio.sleep(0.01)
        if self.down:
            raise Unavailable("the vector store doesn't answer")
        if self.is_empty:
            return json_response(
                {"items": [], "next": None, "degraded": False, "reason": "there is no item yet", **more}
            )
        item = {"item_id": "eddies", "rank": 1, "score": 1.0, "title": "Reading a river", "category": "Paddling"}
        return json_response({"items": [item | {"url": None}], "next": None, "degraded": False, **more})

    def check(self) -> None:
        if self.down:
            raise EddylineError("the vector store doesn't answer: <b>refused</b>")


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def client(shop: Shop) -> Iterator[httpx.Client]:
    with served(shop.router(), pages.router(playground=True, console=True), checks={"vectors": shop.check}) as client:
        yield client


# -- how they are sent -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/play", "/console", "/assets/style.css", "/assets/play.js", "/assets/console.js", "/assets/icon.svg"]
)
def test_a_page_is_sent_with_a_strict_policy_and_only_once(client: httpx.Client, path: str) -> None:
    sent = client.get(path)
    assert sent.status_code == 200
    policy = dict(rule.split(" ", 1) for rule in sent.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in str(policy)
    assert {source for name in policy if name.endswith("-src") for source in policy[name].split()} == {
        "'none'",
        "'self'",
    }
    assert sent.headers.get_list("cache-control") == ["no-cache"]
    assert sent.headers["x-content-type-options"] == "nosniff"
    again = client.get(path, headers={"If-None-Match": f'"other", W/{sent.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).content == sent.content


def test_what_is_about_someone_is_still_kept_nowhere(client: httpx.Client) -> None:
    assert client.post("/v1/recommendations").headers.get_list("cache-control") == ["no-store"]


def test_an_asset_that_there_is_not_is_a_problem(client: httpx.Client) -> None:
    for name in ("nothing.js", "..%2Fpages.py", "%2Fetc%2Fpasswd"):
        problem(client.get(f"/assets/{name}"), 404)


@pytest.mark.parametrize("page", ["/", "/play", "/console"])
def test_a_page_brings_all_that_it_needs_and_is_small(client: httpx.Client, page: str) -> None:
    missing, sizes = [page], dict[str, int]()
    while missing:
        path = missing.pop()
        sent = client.get(path)
        assert sent.status_code == 200, path
        sizes[path] = len(sent.content)
        named = re.findall(r'(?:src|href)="(/assets/[^"]+)"', sent.text)
        named += [f"/assets/{name}" for name in re.findall(r'(?:from|import) "\./([^"]+)"', sent.text)]
        missing += [one for one in named if one not in sizes and one not in missing]
    assert "/assets/style.css" in sizes
    assert sum(sizes.values()) < MAX_PAGE_BYTES, sizes


def test_nothing_is_taken_from_elsewhere_and_no_page_has_scripts_or_styles_in_its_markup() -> None:
    for file in ASSETS.iterdir():
        text = file.read_text(encoding="utf-8").replace('"http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://", text), file.name
        if file.suffix == ".html":
            assert not re.search(r"\s(style|on\w+)=|<style|<script(?! type=\"module\" src=)", text), file.name


def test_without_the_playground_nothing_leads_there_and_its_address_says_how_to_turn_it_on() -> None:
    with served(pages.router(playground=False)) as client:
        welcome = client.get("/").text
        assert "/play" not in welcome
        assert "/docs" in welcome
        assert "server.playground = true" in problem(client.get("/play"), 501)["detail"]


def test_the_playground_is_on_where_everything_runs_and_elsewhere_by_a_setting() -> None:
    unset, on, off = (Settings(server=ServerSettings(playground=value)) for value in (None, True, False))
    everything, api = [role for role in ROLES if role != "imager"], ["collector", "reader"]
    assert offers_playground(unset, everything)
    assert not offers_playground(off, everything)
    assert not offers_playground(unset, api)
    assert offers_playground(on, api)
    assert not offers_playground(on, ["reader"])
    assert not offers_playground(on, ["embedder"])


# -- what they say when something is wrong ----------------------------------------------------------------------------


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
def test_the_welcome_page_names_what_is_not_ready_until_it_is(
    browser: Browser, client: httpx.Client, shop: Shop
) -> None:
    shop.down = True
    with browser.page() as page:
        page.open(f"{client.base_url}")
        page.await_text("#state", "Not ready")
        assert "the vector store doesn't answer: <b>refused</b>" in page.text("#checks")
        shop.down = False
        page.await_text("#state", "All is well")
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
@pytest.mark.parametrize(
    ("path", "outline", "shown"),
    [("/play", "The list", "Reading a river"), ("/console#/catalogue", "Find items", "Reading a river")],
)
def test_a_page_is_there_before_what_it_shows(
    browser: Browser, client: httpx.Client, shop: Shop, path: str, outline: str, shown: str
) -> None:
    shop.answers.clear()
    try:
        with browser.page() as page:
            page.open(f"{str(client.base_url).rstrip('/')}{path}")
            painted = "performance.getEntriesByName('first-contentful-paint').length"
            wait_until(lambda: page.evaluate(painted), "something is painted")
            page.await_text("body", outline)
            assert shown not in page.text("body")
            shop.answers.set()
            page.await_text("body", shown)
            assert not page.errors
    finally:
        shop.answers.set()


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
def test_the_playground_says_that_the_store_is_down_and_goes_on_when_it_is_back(
    browser: Browser, client: httpx.Client, shop: Shop
) -> None:
    shop.down = True
    with browser.page() as page:
        page.open(f"{client.base_url}/play")
        page.await_text("#alert", "the vector store doesn't answer")
        assert not page.texts("[data-part=foryou] .tile")
        shop.down = False
        page.await_text("[data-part=foryou]", "Reading a river")
        wait_until(lambda: page.text("#alert") == "", "the alert is gone")
        shop.down = True
        page.evaluate("document.querySelector('[name=device]').dispatchEvent(new Event('input', {bubbles: true}))")
        page.await_text("#alert", "the vector store doesn't answer")
        assert "Reading a river" in page.text("[data-part=foryou]"), "what there was stays"
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
def test_an_empty_catalogue_is_said_to_be_empty(browser: Browser, client: httpx.Client, shop: Shop) -> None:
    shop.is_empty = True
    with browser.page() as page:
        page.open(f"{client.base_url}/play")
        for row in ("foryou", "trending", "latest"):
            page.await_text(f"[data-part={row}-empty]", "there is no item yet")
        page.await_text("[data-part=name]", "An anonymous visitor")
        assert page.text("#alert") == ""
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
def test_where_people_need_proofs_there_is_an_anonymous_visitor(
    browser: Browser, client: httpx.Client, shop: Shop
) -> None:
    shop.asks_for_proofs = True
    with browser.page() as page:
        page.open(f"{client.base_url}/play")
        page.await_text("[data-part=foryou]", "Reading a river")
        page.await_text("#alert", "needs a proof")
        page.await_text("[data-part=name]", "An anonymous visitor")
        assert not page.errors


@needs_chromium
@pytest.mark.process
@pytest.mark.slow(30)
def test_with_keys_the_playground_asks_for_one_and_says_what_it_must_be_good_for(
    browser: Browser, shop: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'[[keys]]\nname = "play"\nscopes = ["lists"]\nhash = "{hash_key(b"edk_play").hex()}"\n')
    ring = KeyRing(path, Metrics())
    routers = shop.router(), pages.router(playground=True)
    with served(*routers, access=AccessControl(ring)) as client, browser.page() as page:
        page.open(f"{client.base_url}")
        page.await_text("#keys-hint", "If this Eddyline has keys")
        page.open(f"{client.base_url}/play")
        page.await_text("#key", "lists, events, catalogue and people")
        page.write("#key input", "edk_wrong")
        page.press("Enter")
        wait_until(lambda: page.evaluate("document.querySelector('#key input').value") == "", "asked once more")
        page.await_text("#key", "This Eddyline has keys")
        page.write("#key input", "edk_play")
        page.press("Enter")
        page.await_text("[data-part=foryou]", "Reading a river")
        assert not page.evaluate("localStorage.length + sessionStorage.length")
        assert not page.errors
