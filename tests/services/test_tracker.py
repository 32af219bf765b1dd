"""The tracker in a real Chromium, on pages of a site, over a real collector: what it promises, each by a test."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Request, Response
from tests.services.serving import served
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.fakes import FakeProducer
from tests.support.system import wait_until

from eddyline.adapters.http import AccessControl, KeyRing, json_response, open_to, pages
from eddyline.adapters.http.keys import hash_key
from eddyline.adapters.telemetry import Metrics
from eddyline.collector.api import Collector
from eddyline.errors import Unavailable
from eddyline.model.events import parse_timestamp
from eddyline.settings import EventSettings, Scope, ServerSettings

ROOT = Path(__file__).parents[2]
TRACKER = Path(pages.__file__).parent / "assets" / "eddyline.js"
PACKAGE = ROOT / "clients" / "js"
MAX_BYTES = 4000


def browsing(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs the Chromium of all tests."""
    for mark in (needs_chromium, pytest.mark.process, pytest.mark.slow(30), pytest.mark.xdist_group("pages")):
        test = mark(test)
    return test


TILE = '<li data-eddyline-item="{item}"><button class="open">{item}</button><b data-eddyline-type="like">♥</b></li>'
LIST = f'<ol id="list" data-eddyline-request="r-1">{TILE.format(item="one")}{TILE.format(item="two")}</ol>'
HOSTILE = '<img src=x onerror="window.harmed = 1">'
FAST_FORWARD = """
    window.ahead = 0;
    for (const clock of [Date, performance]) {
      const now = clock.now.bind(clock);
      clock.now = () => now() + window.ahead;
    }
    window.thrown = [];
    addEventListener("error", (event) => window.thrown.push(event.message));
    addEventListener("unhandledrejection", (event) => window.thrown.push(String(event.reason)));"""


class Site:
    """The pages of a shop, by their paths, and a collector and a reader behind them on the same address."""

    def __init__(self, producer: FakeProducer, api: str = "") -> None:
        self.pages: dict[str, str] = {}
        self.api, self.producer = api, producer
        self.asked: list[dict[str, Any]] = []
        self.is_down = False
        self.url = ""

    def page(self, path: str, body: str = "", item: str | None = None, **said: str) -> str:
        """Put up a page with the tracker, whose options are `said`; its address."""
        options = "".join(f' data-{name.replace("_", "-")}="{value}"' for name, value in said.items())
        meta = "" if item is None else f'<meta name="eddyline:item" content="{item}">'
        self.pages[path] = (
            f'<!doctype html><html lang="en"><head><title>{path}</title>{meta}'
            f'<script src="{self.api}/eddyline.js"{options}></script></head><body>{body}</body></html>'
        )
        return f"{self.url}/site/{path}"

    def router(self) -> APIRouter:
        routes = APIRouter()

        @routes.get("/site/{path}", openapi_extra=open_to())
        async def page(path: str) -> Response:
            return Response(
                self.pages[path], media_type="text/html", headers={"Content-Security-Policy": "img-src 'none'"}
            )

        @routes.post("/v1/recommendations", openapi_extra=open_to(Scope.LISTS))
        async def recommendations(request: Request) -> Response:
            self.asked.append(await request.json())
            if self.is_down:
                raise Unavailable("the store doesn't answer")
            items = [
                {"item_id": "three", "rank": 1, "title": HOSTILE, "url": "javascript:window.harmed = 2"},
                {"item_id": "four", "rank": 2, "title": "Four", "url": "https://shop.example/four"},
            ]
            return json_response({"request_id": "r-2", "items": items})

        return routes

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What has arrived, impressions too, as profiles count it: an event's id once."""
        found = self.producer.values("interactions") + self.producer.values("impressions")
        once = {one["event_id"]: one for one in found}.values()
        return [one for one in once if not kind or one["type"] == kind]

    def wait_for(self, kind: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many events of a type are there; them."""
        wait_until(lambda: len(self.events(kind)) >= number, f"{number} of {kind}; there are {self.events()}")
        return self.events(kind)


@pytest.fixture
def site() -> Iterator[Site]:
    one = Site(FakeProducer())
    collector = Collector(one.producer, EventSettings(), ServerSettings(), Metrics())
    with served(collector.router(), pages.router(playground=False), one.router()) as client:
        one.url = str(client.base_url)
        yield one


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as opened:
        opened.send("Page.addScriptToEvaluateOnNewDocument", source=FAST_FORWARD)
        yield opened
        assert opened.evaluate("window.thrown ?? []") == []
        assert not opened.errors
        opened.send(
            "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        opened.send("Network.clearBrowserCookies")


def go_offline(page: Page, is_offline: bool = True) -> None:
    page.send(
        "Network.emulateNetworkConditions", offline=is_offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    wait_until(lambda: page.evaluate("navigator.onLine") != is_offline, "the browser knows")


def stored(page: Page) -> dict[str, Any]:
    """What is in the browser's storage."""
    found: dict[str, Any] = page.evaluate("({...localStorage, ...sessionStorage, cookies: document.cookie})")
    cookies = found.pop("cookies")
    assert not cookies
    return found


def set_visible(page: Page, is_visible: bool) -> None:
    page.evaluate(
        f"""Object.defineProperty(document, "hidden", {{value: {json.dumps(not is_visible)}, configurable: true}});
        document.dispatchEvent(new Event("visibilitychange"))"""
    )


def in_view(page: Page) -> None:
    """Have the browser find out what is in view."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


# -- what is shipped ---------------------------------------------------------------------------------------------------


def test_it_is_small_and_needs_nothing() -> None:
    source = TRACKER.read_bytes()
    assert len(gzip.compress(source, 9)) <= MAX_BYTES
    assert not re.search(rb"\bimport\b|\brequire\(|innerHTML|eval\(|new Function", source)


def test_browsers_and_proxies_keep_it_for_an_hour_and_ask_whether_it_has_changed() -> None:
    with served(pages.router(playground=False)) as client:
        sent = client.get("/eddyline.js")
        assert sent.headers["content-type"] == "text/javascript; charset=utf-8"
        assert sent.headers["cache-control"].startswith("public, max-age=3600")
        assert sent.headers["cross-origin-resource-policy"] == "cross-origin"
        again = client.get("/eddyline.js", headers={"If-None-Match": sent.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@browsing
def test_its_types_name_every_call_and_every_option(site: Site, page: Page) -> None:
    page.open(site.page("types"))
    types = (PACKAGE / "eddyline.d.ts").read_text(encoding="utf-8")
    tracker = re.search(r"interface Tracker \{(.*?)\n\}", types, re.DOTALL)
    options = re.search(r"interface Options \{(.*?)\n\}", types, re.DOTALL)
    assert tracker is not None
    assert options is not None
    calls = set(re.findall(r"^  (\w+)\(", tracker[1], re.MULTILINE))
    assert calls | {"create"} == set(page.evaluate("Object.keys(window.eddyline)"))
    taken = re.search(r"function create\(\{(.*?)\} = \{\}\)", TRACKER.read_text(encoding="utf-8"))
    assert taken is not None
    names = {re.split(r"[:=]", one)[0].strip() for one in re.split(r",(?![^(]*\))", taken[1])}
    assert set(re.findall(r"^  (\w+)\?:", options[1], re.MULTILINE)) == names


@pytest.mark.process
@pytest.mark.slow(20)
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_the_npm_package_holds_the_tracker_its_types_and_the_licence(tmp_path: Path) -> None:
    for name in ("clients/js", "services/eddyline/adapters/http/assets"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    run = ["npm", "pack", "--json", "--offline", "--cache", str(tmp_path / "cache")]
    answer = subprocess.run(run, cwd=tmp_path / "clients" / "js", capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    (packed,) = json.loads(answer.stdout[answer.stdout.index("[\n") :])
    assert {one["path"] for one in packed["files"]} == {
        "LICENSE",
        "README.md",
        "eddyline.d.ts",
        "eddyline.js",
        "index.mjs",
        "package.json",
    }


# -- who it is ---------------------------------------------------------------------------------------------------------


@browsing
def test_without_consent_nothing_is_kept_and_each_page_is_somebody_else(site: Site, page: Page) -> None:
    address = site.page("shy", LIST)
    for number in (1, 2):
        page.open(address)
        page.click("li:first-child .open")
        site.wait_for("click", number)
        assert stored(page) == {}
    first, second = site.events("click")
    assert first["anonymous_id"] != second["anonymous_id"]
    assert first["session_id"] != second["session_id"]


@browsing
def test_with_consent_the_id_is_kept_and_the_session_for_half_an_hour(site: Site, page: Page) -> None:
    address = site.page("willing", LIST, consent="true")
    for number, ahead in ((1, 0), (2, 20), (3, 40), (4, 71)):
        page.open(address)
        page.evaluate(f"window.ahead = {ahead} * 60_000")
        page.click("li:first-child .open")
        site.wait_for("click", number)
    assert len({one["anonymous_id"] for one in site.events("click")}) == 1
    sessions = [one["session_id"] for one in site.events("click")]
    assert sessions[0] == sessions[1] == sessions[2] != sessions[3]
    assert set(stored(page)) == {"eddyline"}


@browsing
def test_consent_is_given_and_taken_back_while_the_page_is_open(site: Site, page: Page) -> None:
    page.open(site.page("asking"))
    page.evaluate("eddyline.track('view', 'one')")
    page.evaluate("eddyline.consent(true)")
    assert "eddyline" in stored(page)
    page.evaluate("eddyline.track('view', 'two')")
    first, second = site.wait_for("view", 2)
    assert first["anonymous_id"] == second["anonymous_id"]
    page.evaluate("eddyline.consent(false)")
    assert stored(page) == {}


@browsing
def test_who_signs_in_is_identified_once_and_who_signs_out_is_a_stranger(site: Site, page: Page) -> None:
    address = site.page("account", LIST, consent="true")
    page.open(address)
    page.evaluate("eddyline.track('like', 'one')")
    page.evaluate("eddyline.identify('ada')")
    page.evaluate("eddyline.track('like', 'two')")
    page.open(address)
    page.evaluate("eddyline.identify('ada')")
    page.evaluate("eddyline.track('like', 'three')")
    page.evaluate("eddyline.reset()")
    page.evaluate("eddyline.track('like', 'four')")
    likes = site.wait_for("like", 4)
    (identified,) = site.events("identify")
    assert identified["user_id"] == "ada"
    assert likes[0]["anonymous_id"] == identified["anonymous_id"]
    assert [one.get("user_id") for one in likes] == [None, "ada", "ada", None]
    assert likes[3]["anonymous_id"] not in {identified["anonymous_id"], None}


@browsing
def test_what_comes_of_a_list_for_a_stranger_is_the_strangers_after_the_sign_in_too(site: Site, page: Page) -> None:
    page.open(site.page("list", LIST))
    page.evaluate("eddyline.identify('ada')")
    page.click("li:first-child .open")
    (click,) = site.wait_for("click")
    assert click["request_id"] == "r-1"
    assert "anonymous_id" in click
    assert "user_id" not in click


@browsing
@pytest.mark.parametrize("respects", [True, False])
def test_do_not_track_is_respected_where_it_is_set(site: Site, page: Page, respects: bool) -> None:
    page.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="Object.defineProperty(Navigator.prototype, 'doNotTrack', {get: () => '1'})",
    )
    said = {"respect_do_not_track": "true"} if respects else {}
    page.open(site.page("quiet", LIST, item="one", consent="true", **said))
    page.click("li:first-child .open")
    assert (page.evaluate("eddyline.track('like', 'two')") is None) == respects
    list_ = page.evaluate("eddyline.recommend('#list', {template: () => document.createElement('li')})")
    assert list_["request_id"] == "r-2"
    assert ({"anonymous_id", "session_id"} <= set(site.asked[0])) != respects
    if respects:
        page.evaluate("eddyline.flush()")
        page.open(site.page("elsewhere"))
        assert not site.events()
        assert stored(page) == {}
    else:
        site.wait_for("like")


# -- nothing is lost ---------------------------------------------------------------------------------------------------


@browsing
def test_what_is_done_just_before_leaving_arrives(site: Site, page: Page) -> None:
    there = site.page("there")
    page.open(site.page("here", f'<a href="{there}" data-eddyline-item="one">One</a>', item="here"))
    page.evaluate("addEventListener('pagehide', () => eddyline.track('save', 'two'))")
    page.click("a")
    wait_until(lambda: page.evaluate("location.pathname") == "/site/there", "the other page")
    (click,) = site.wait_for("click")
    (view,) = site.wait_for("view")
    assert (click["item_id"], view["item_id"]) == ("one", "here")
    assert len(site.wait_for("save")) == 1


@browsing
def test_what_is_done_offline_is_kept_and_sent_once(site: Site, page: Page) -> None:
    page.open(site.page("train", LIST, consent="true"))
    go_offline(page)
    ids = [page.evaluate(f"eddyline.track('like', '{item}')") for item in ("one", "two")]
    wait_until(lambda: len(json.loads(queue)) == 2 if (queue := kept_queue(page)) else False, "they are kept")
    assert not site.events()
    go_offline(page, False)
    likes = site.wait_for("like", 2)
    assert [one["event_id"] for one in likes] == ids
    wait_until(lambda: kept_queue(page) is None, "none is kept")
    page.open(site.page("later", consent="true"))
    page.evaluate("eddyline.track('save', 'one')")
    site.wait_for("save")
    assert [one["type"] for one in site.producer.values("interactions")] == ["like", "like", "save"], "each once"


def kept_queue(page: Page) -> str | None:
    found = [value for name, value in stored(page).items() if name.startswith("eddyline.queue.")]
    return found[0] if found else None


@browsing
def test_what_could_not_be_sent_goes_with_the_next_page_with_the_same_ids(site: Site, page: Page) -> None:
    page.open(site.page("broken", consent="true"))
    site.producer.refuse = Unavailable("Kafka is away")
    made = page.evaluate("eddyline.track('like', 'one')")
    wait_until(lambda: kept_queue(page), "it is kept")
    assert page.evaluate("eddyline.flush()") is False
    site.producer.refuse = None
    page.open(site.page("whole", consent="true"))
    wait_until(lambda: site.events("like"), "it is sent")
    assert {one["event_id"] for one in site.events("like")} == {made}


@browsing
def test_a_refused_event_is_not_sent_for_ever_and_holds_nothing_up(site: Site, page: Page) -> None:
    page.open(site.page("odd"))
    page.evaluate("eddyline.track('no such type', 'one')")
    assert page.evaluate("eddyline.flush()") is True
    page.evaluate("eddyline.track('like', 'one')")
    site.wait_for("like")


@browsing
def test_the_times_of_a_browser_whose_clock_is_wrong_are_corrected(site: Site, page: Page) -> None:
    page.open(site.page("clock"))
    page.evaluate("eddyline.track('view', 'right')")
    site.wait_for("view")
    page.evaluate("window.ahead = -3 * 86_400_000")
    page.evaluate("eddyline.track('view', 'wrong')")
    right, wrong = (parse_timestamp(one["timestamp"]) for one in site.wait_for("view", 2))
    assert right <= wrong < right + 3600


@browsing
def test_nothing_it_does_throws_into_the_page(site: Site, page: Page) -> None:
    address = site.page("hostile", LIST, consent="true", item="here")
    page.send(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""Object.defineProperty(window, "localStorage", {get: () => { throw new DOMException("denied"); }});
        window.fetch = () => { throw new Error("no"); }; navigator.sendBeacon = () => { throw new Error("no"); };""",
    )
    page.send("Page.navigate", url=address)
    wait_until(lambda: page.evaluate("document.readyState") == "complete", "it is loaded")
    calls = (
        "track()",
        "track('like', Symbol('x'))",
        "track('like', 'one', {loop: window})",
        "identify()",
        "reset()",
        "consent()",
        "recommend('#nowhere')",
        "recommend()",
        "recommend('#list')",
    )
    for call in calls:
        page.evaluate(f"(async () => void (await eddyline.{call}))()")
    page.click("li:first-child .open")
    set_visible(page, False)
    set_visible(page, True)
    page.evaluate("eddyline.stop()")
    assert page.evaluate("window.thrown") == []


# -- what people look at -----------------------------------------------------------------------------------------------


@browsing
def test_the_view_of_a_page_says_for_how_long_it_was_visible(site: Site, page: Page) -> None:
    page.open(site.page("article", item="one"))
    page.evaluate("window.ahead += 5000")
    set_visible(page, False)
    (view,) = site.wait_for("view")
    assert (view["item_id"], 5000 <= view["dwell_ms"] < 35_000) == ("one", True)
    page.evaluate("window.ahead += 600_000")
    set_visible(page, True)
    page.evaluate("window.ahead += 40_000")
    page.open(site.page("end"))
    _, further = site.wait_for("view", 2)
    assert 40_000 <= further["dwell_ms"] < 70_000


@browsing
def test_an_app_of_one_page_has_a_view_for_each_item(site: Site, page: Page) -> None:
    page.open(site.page("app", item="one"))
    show = "document.querySelector('meta').content = {item!r}; history.pushState({{}}, '', '/site/app?{item}')"
    for item in ("two", "", "one"):
        page.evaluate("window.ahead += 3000")
        page.evaluate(show.format(item=item))
        in_view(page)
    set_visible(page, False)
    assert [one["item_id"] for one in site.wait_for("view", 3)] == ["one", "two", "one"]


@browsing
def test_an_app_may_say_itself_which_item_its_page_is_about(site: Site, page: Page) -> None:
    page.open(site.page("own"))
    page.evaluate("window.another = eddyline.create({item: () => new URLSearchParams(location.search).get('id')})")
    for item in ("one", "two"):
        page.evaluate(f"history.pushState({{}}, '', '?id={item}'); document.body.append('changed')")
        in_view(page)
    page.evaluate("another.stop()")
    site.wait_for("view")
    assert "one" in [one["item_id"] for one in site.events("view")]


@browsing
def test_an_impression_is_half_in_view_for_a_second(site: Site, page: Page) -> None:
    tall = '<div style="height: 3000px"></div>'
    whole, part = (f'<div style="height: 400px" data-eddyline-item="{name}">{name}</div>' for name in "ab")
    inside = f'<section data-eddyline-request="r-9">{tall}{whole}{part}{tall}</section>'
    page.open(site.page("scroll", inside))
    page.evaluate("scrollTo(0, 3000 + 400 + 150 - innerHeight)")  # a whole, 150 pixels of the 400 of b
    began = page.evaluate("performance.now()")
    (seen,) = site.wait_for("impression")
    assert page.evaluate("performance.now()") - began >= 1000
    assert (seen["request_id"], seen["positions"]) == ("r-9", [1])
    page.evaluate("scrollBy(0, 60)")
    assert site.wait_for("impression", 2)[1]["positions"] == [2]
    page.evaluate("scrollTo(0, 0)")
    in_view(page)
    page.evaluate("scrollTo(0, 3200)")
    page.evaluate("new Promise((done) => setTimeout(done, 1100))")
    page.evaluate("eddyline.track('like', 'a')")
    site.wait_for("like")
    assert len(site.events("impression")) == 2, "each once"


@browsing
def test_what_is_in_view_for_less_than_a_second_is_no_impression(site: Site, page: Page) -> None:
    page.open(site.page("glance", '<div style="height: 3000px"></div>' + LIST + '<div style="height: 3000px"></div>'))
    for _ in range(20):
        took = page.evaluate(
            """(async () => {
              const frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
              const began = performance.now();
              document.querySelector("#list").scrollIntoView();
              await frames();
              scrollTo(0, 0);
              await frames();
              return performance.now() - began;
            })()"""
        )
        if took < 900:
            break
    page.evaluate("new Promise((done) => setTimeout(done, 1500))")
    page.evaluate("eddyline.flush()")
    assert not site.events("impression")


@browsing
def test_what_comes_later_is_seen_too_and_what_is_of_another_list_once_more(site: Site, page: Page) -> None:
    page.open(site.page("lazy", LIST))
    page.evaluate("document.body.append(Object.assign(document.createElement('div'), {id: 'more'}))")
    page.evaluate(
        """(() => { const more = document.getElementById("more"); more.dataset.eddylineRequest = "r-7";
        const one = document.createElement("p"); one.textContent = "late";
        Object.assign(one.dataset, {eddylineItem: "late", eddylinePosition: 7}); more.append(one); })()"""
    )
    seen = {one["request_id"]: one["positions"] for one in site.wait_for("impression", 2)}
    assert seen == {"r-1": [1, 2], "r-7": [7]}
    page.evaluate("document.getElementById('list').dataset.eddylineRequest = 'r-8'")
    assert site.wait_for("impression", 3)[2]["request_id"] == "r-8"


# -- what people do with lists -----------------------------------------------------------------------------------------


@browsing
def test_a_click_and_what_follows_it_name_the_list_they_come_from(site: Site, page: Page) -> None:
    page.open(
        site.page("shelf", LIST + '<p data-eddyline-item="five" data-eddyline-type="none">Five</p>', consent="true")
    )
    page.click("li:nth-child(2) .open")
    page.click("li:first-child [data-eddyline-type=like]")
    page.click("p")
    (click,), (like,) = site.wait_for("click"), site.wait_for("like")
    assert (click["item_id"], click["request_id"]) == ("two", "r-1")
    assert (like["item_id"], like["request_id"]) == ("one", "r-1")
    page.open(site.page("product", item="two", consent="true"))
    page.evaluate("eddyline.track('purchase', 'two', {value: 12.5})")
    page.evaluate("eddyline.track('purchase', 'six')")
    bought, another = site.wait_for("purchase", 2)
    assert (bought["request_id"], bought["value"], bought["anonymous_id"]) == ("r-1", 12.5, click["anonymous_id"])
    assert "request_id" not in another
    assert not [one for one in site.events() if one.get("item_id") == "five"]


@browsing
def test_a_list_is_filled_by_a_template_and_its_tiles_are_tracked(site: Site, page: Page) -> None:
    body = '<ol id="foryou"><template><li><a data-eddyline-field="title"></a></li></template></ol>'
    page.open(site.page("home", body.replace("<a ", "<a><b ").replace("></a>", "></b></a>"), item="here"))
    found = page.evaluate("eddyline.recommend('#foryou', {surface: 'home', limit: 2})")
    assert [one["item_id"] for one in found["items"]] == ["three", "four"]
    (asked,) = site.asked
    assert (asked["surface"], asked["limit"], asked["exclude"]) == ("home", 2, ["here"])
    assert asked["recent"] == [{"item_id": "here", "type": "view"}]
    assert page.texts("#foryou li") == [HOSTILE, "Four"]
    links = page.evaluate("[...document.querySelectorAll('#foryou a')].map((one) => one.getAttribute('href'))")
    assert links == [None, "https://shop.example/four"]
    assert page.evaluate("window.harmed") is None
    (seen,) = site.wait_for("impression")
    assert (seen["request_id"], seen["positions"]) == ("r-2", [1, 2])
    assert seen["anonymous_id"] == asked["anonymous_id"]
    page.click("#foryou li a")
    (click,) = site.wait_for("click")
    assert (click["item_id"], click["request_id"], click["session_id"]) == ("three", "r-2", asked["session_id"])


@browsing
def test_a_list_that_can_not_be_had_leaves_what_was_there(site: Site, page: Page) -> None:
    page.open(site.page("calm", LIST))
    site.is_down = True
    assert page.evaluate("eddyline.recommend('#list', {template: () => document.createElement('li')})") is None
    assert page.texts("#list .open") == ["one", "two"]


@browsing
def test_a_page_of_another_site_sends_with_a_key_that_may_send_events_alone(
    browser: Browser, page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "keys.toml"
    keys = {"page": "events", "lists": "lists"}
    path.write_text(
        "".join(
            f'[[keys]]\nname = "{name}"\nscopes = ["{scope}"]\nhash = "{hash_key(f"edk_{name}".encode()).hex()}"\n'
            for name, scope in keys.items()
        )
    )
    shop = Site(FakeProducer())
    collector = Collector(shop.producer, EventSettings(), ServerSettings(), Metrics())
    with served(shop.router()) as elsewhere:
        shop.url = str(elsewhere.base_url).replace("127.0.0.1", "localhost")
        ring = KeyRing(path, Metrics())
        access = AccessControl(ring)
        routers = collector.router(), pages.router(playground=False), shop.router()
        with served(*routers, access=access, cors_origins=[shop.url.rstrip("/")]) as client:
            shop.api = str(client.base_url).rstrip("/")
            page.open(shop.page("shop", LIST, key="edk_page", list_key="edk_lists", item="here"))
            page.click("li:first-child .open")
            shop.wait_for("click")
            assert page.evaluate("eddyline.recommend('#list', {template: () => document.createElement('li')})")["items"]
            page.evaluate("location.href = 'about:blank'")
            assert shop.wait_for("view")[0]["item_id"] == "here"
