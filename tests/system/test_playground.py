"""The pages in a real Chromium, on a running Eddyline: what a newcomer sees and does."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.accessibility import accessibility_faults
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.system import Eddyline, eddyline, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow(20),
    pytest.mark.xdist_group("pages"),
    needs_chromium,
]

CATALOGUE = {
    "Paddling": ("kayak", "river", "rapid", "eddy", "canoe", "paddle", "wave", "ferry", "gorge", "estuary"),
    "Baking": ("bread", "rye", "oven", "flour", "yeast", "crust", "pastry", "cake", "dough", "butter"),
    "Astronomy": ("star", "moon", "comet", "galaxy", "planet", "nebula", "orbit", "eclipse", "meteor", "dust"),
}
FOR_YOU = '[data-part="foryou"] .tile'
HOSTILE = '\u202e"><svg><script>Object.assign(window, {harmed: 2})'
"""What stays as it is when markup is reduced to its text."""


@pytest.fixture(scope="module")
def shop(lean: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eddyline]:
    directory = tmp_path_factory.mktemp("shop")
    with eddyline("up", "--data-dir", str(directory / "data"), log=directory / "log.txt", env=lean) as running:
        items = [
            {"item_id": f"{category}-{word}", "title": f"All about {category}: the {word}", "category": category}
            for category, words in CATALOGUE.items()
            for word in words
        ]
        assert running.client.post("/v1/items", json={"items": items}).status_code == 202
        wait_until(lambda: all(running.has(item["item_id"]) for item in items), "the catalogue is there")
        for number in range(6):
            choose(running, f"regular-{number}", list(CATALOGUE)[number % 3])
        yield running


def choose(shop: Eddyline, user: str, category: str) -> str:
    """Someone who has opened five items of a category."""
    chosen = [f"{category}-{word}" for word in CATALOGUE[category][:5]]
    shop.post(*({"type": "click", "user_id": user, "item_id": item} for item in chosen))
    shop.await_events(user, len(chosen))
    return user


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as opened:
        yield opened
        assert not opened.errors


def someone(shop: Eddyline, category: str = "Paddling") -> str:
    return choose(shop, f"someone-{uuid.uuid4().hex[:8]}", category)


def listed(page: Page, selector: str = FOR_YOU) -> list[str]:
    """Ids of the tiles, in their order."""
    ids: list[str] = page.evaluate(f"[...document.querySelectorAll({selector!r})].map((one) => one.dataset.item)")
    return ids


def visit(page: Page, shop: Eddyline, user: str | None = None) -> list[str]:
    """Open the playground and wait until there is a list."""
    page.open(f"{shop.url}/play" + (f"?user={user}" if user else ""))
    wait_until(
        lambda: all(listed(page, f'[data-part="{row}"] .tile') for row in ("foryou", "trending", "latest")), "rows"
    )
    wait_until(lambda: page.text("[data-part=known]"), "what is known")
    return listed(page)


def test_the_welcome_page_says_that_all_is_well_and_leads_to_the_playground(page: Page, shop: Eddyline) -> None:
    page.open(shop.url)
    page.await_text("#state", "All is well")
    for name in ("vectors", "broker", "embedder", "profiler", "affinity"):
        assert name in page.text("#checks")
    assert f"{shop.url}/v1/events" in page.text(".commands")
    page.click('.way[href="/play"]')
    wait_until(lambda: listed(page), "a list")
    page.await_text("[data-part=name]", "Person regular-")


def test_the_welcome_page_and_the_playground_are_for_everyone(page: Page, shop: Eddyline) -> None:
    page.open(shop.url)
    page.await_text("#state", "All is well")
    assert_for_everyone(page)
    visit(page, shop, someone(shop))
    page.click(f"{FOR_YOU}:first-child .open")
    page.await_text("#journeys", "in the list")
    assert_for_everyone(page)
    page.click("[data-do=newcomer]")
    wait_until(lambda: "Astronomy" in page.texts("#interests .chip"), "interests to pick from")
    assert accessibility_faults(page, within="#newcomer") == []


def assert_for_everyone(page: Page) -> None:
    """In the light and the dark, by keyboard and screen reader, on a phone."""
    page.prefer(dark=False)
    assert accessibility_faults(page) == []
    page.prefer(dark=True)
    assert accessibility_faults(page, "color-contrast") == []
    page.resize(390, 844)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.resize(1280, 900)


def test_a_click_on_a_tile_moves_the_list_and_the_strip_says_how_long_it_took(page: Page, shop: Eddyline) -> None:
    user = someone(shop)
    before = visit(page, shop, user)
    page.await_text("[data-part=known]", "5 events")
    page.click(f"{FOR_YOU}:nth-child(3) .open")
    page.await_text("#journeys", "in the list")
    assert before[2] not in listed(page)
    assert page.text("#journeys .what") == f"Opened {title_of(shop, before[2])}"
    assert all(figure.endswith((" ms", " s")) for figure in page.texts("#journeys .figure"))
    page.await_text("[data-part=known]", "6 events")
    assert shop.person(user)["recents"][0] == before[2]
    page.await_text("[data-part=because-title]", f"Because you opened {title_of(shop, before[2])}")


def title_of(shop: Eddyline, item: str) -> str:
    return str(shop.client.get(f"/v1/items/{item}").json()["title"])


@pytest.mark.parametrize(("act", "is_chosen"), [("like", True), ("purchase", True), ("hide", False)])
def test_what_is_liked_bought_or_hidden_leaves_the_list(page: Page, shop: Eddyline, act: str, is_chosen: bool) -> None:
    user = someone(shop)
    before = visit(page, shop, user)
    page.click(f"{FOR_YOU}:nth-child(2) [data-act={act}]")
    page.await_text("#journeys", "in the list")
    assert before[1] not in listed(page)
    shop.await_events(user, 6)
    assert (before[1] in shop.person(user)["recents"]) == is_chosen


def test_each_tile_says_why_it_is_there_and_its_bar_is_its_terms(page: Page, shop: Eddyline) -> None:
    user = someone(shop)
    ids = visit(page, shop, user)
    assert any(page.texts(f"{FOR_YOU} .because"))
    body = {"user_id": user, "explain": True, "limit": 12, "batch": True}
    terms = {
        one["item_id"]: one["scores"] for one in shop.client.post("/v1/recommendations", json=body).json()["items"]
    }
    shown = page.evaluate(f"document.querySelector({FOR_YOU!r} + ' .bar').getAttribute('aria-label')")
    large = [name for name, value in terms[ids[0]].items() if value > 0.1]
    assert large
    assert all(name in shown for name in large)
    assert len(page.texts(f"{FOR_YOU}:first-child .term")) >= len(large)


def test_tiles_glide_to_their_places_unless_less_motion_is_asked_for(browser: Browser, shop: Eddyline) -> None:
    count = """const animate = Element.prototype.animate; window.moved = 0;
      Element.prototype.animate = function (...given) { window.moved += 1; return animate.apply(this, given); }"""
    for moving in (True, False):
        with browser.page(moving=moving) as page:
            page.send("Page.addScriptToEvaluateOnNewDocument", source=count)
            visit(page, shop, someone(shop))
            page.evaluate("window.moved = 0")
            page.click(f"{FOR_YOU}:first-child .open")
            page.await_text("#journeys", "in the list")
            assert bool(page.evaluate("window.moved")) == moving
            assert any("▲" in badge or badge == "new" for badge in page.texts(f"{FOR_YOU} .badge"))


def test_who_goes_by_keyboard_stays_at_their_place(page: Page, shop: Eddyline) -> None:
    before = visit(page, shop, someone(shop))
    page.evaluate(f"document.querySelector({FOR_YOU!r} + ':nth-child(4) .open').focus()")
    page.press("Enter")
    page.await_text("#journeys", "in the list")
    assert before[3] not in listed(page)
    place = "[...document.activeElement.closest('ol').children].indexOf(document.activeElement.closest('.tile'))"
    assert page.evaluate(place) == 3


def test_a_published_item_is_found_and_can_be_withdrawn(page: Page, shop: Eddyline) -> None:
    visit(page, shop, someone(shop))
    title = f"The kayak of {uuid.uuid4().hex[:6]}"
    page.write("#publish [name=title]", title)
    page.write("#publish [name=category]", "Paddling")
    page.write("#publish [name=tags]", "kayak, river")
    page.click("#publish .primary")
    page.await_text("#published", "is there")
    assert "Next to All about" in page.text("#published")
    wait_until(lambda: title in page.texts('[data-part="latest"] .open'), "it is among the new")
    assert f"Published “{title}”" in page.text("#journeys")
    (item,) = [one for one in listed(page, '[data-part="latest"] .tile') if one.startswith("playground-")]
    assert shop.client.get(f"/v1/items/{item}").json()["tags"] == ["kayak", "river"]
    page.click("#published button")
    wait_until(lambda: not shop.has(item), "it is gone")


def test_the_first_list_of_a_newcomer_with_interests_is_personal(page: Page, shop: Eddyline) -> None:
    visit(page, shop)
    page.click("[data-do=newcomer]")
    wait_until(lambda: "Astronomy" in page.texts("#interests .chip"), "interests to pick from")
    place = page.texts("#interests .chip").index("Astronomy") + 1
    page.click(f"#interests .chip:nth-child({place})")
    page.write("#newcomer [name=words]", "star moon comet")
    page.click("#newcomer .primary")
    page.await_text("[data-part=name]", "Person visitor-")
    page.await_text("[data-part=known]", "interests known")
    wait_until(lambda: "matches the interests you named" in page.texts(f"{FOR_YOU} .because"), "a personal list")
    assert "nothing known yet" not in page.text("[data-part=about]")
    stranger = shop.client.post("/v1/recommendations", json={"limit": 12}).json()["items"]
    assert listed(page) != [one["item_id"] for one in stranger]


def test_what_was_done_anonymously_is_the_users_after_signing_in_and_forgotten_on_request(
    page: Page, shop: Eddyline
) -> None:
    user = f"user-{uuid.uuid4().hex[:8]}"
    visit(page, shop)
    page.click("[data-do=newcomer]")
    wait_until(lambda: page.texts("#interests .chip"), "interests to pick from")
    page.click("#newcomer [value=anonymous]")
    page.await_text("[data-part=name]", "An anonymous visitor")
    page.await_text("[data-part=about]", "nothing known yet")
    opened = listed(page)[0]
    page.click(f"{FOR_YOU}:first-child .open")
    page.await_text("#journeys", "in the list")
    page.write("[data-part=choose] [name=user]", user)
    page.press("Enter")
    page.await_text("[data-part=name]", f"Person {user}")
    page.await_text("[data-part=known]", "1 event · 1 recent item")
    assert shop.person(user)["recents"] == [opened]
    page.click("[data-do=forget]")
    page.await_text("[data-part=name]", "An anonymous visitor")
    assert f"{user} is forgotten" in page.text("#journeys")
    assert shop.person(user) == {}


def test_an_anonymous_visitor_can_be_forgotten(page: Page, shop: Eddyline) -> None:
    visit(page, shop)
    page.click("[data-do=newcomer]")
    wait_until(lambda: page.texts("#interests .chip"), "interests to pick from")
    page.click("#newcomer [value=anonymous]")
    page.await_text("[data-part=name]", "An anonymous visitor")
    page.await_text("[data-part=about]", "nothing known yet")
    page.click(f"{FOR_YOU}:first-child .open")
    page.await_text("#journeys", "in the list")
    assert "nothing known yet" not in page.text("[data-part=about]")
    page.click("[data-do=forget]")
    page.await_text("#journeys", "The anonymous visitor is forgotten")
    page.await_text("[data-part=about]", "nothing known yet")


def test_what_is_in_view_for_a_second_is_reported_as_seen(page: Page, shop: Eddyline) -> None:
    def reported() -> float:
        found = re.search(r'accepted_total\{topic="impressions"\} (\S+)', shop.client.get("/metrics").text)
        return float(found[1]) if found else 0.0

    visit(page, shop, someone(shop))
    before = reported()
    page.evaluate(f"document.querySelector({FOR_YOU!r}).scrollIntoView({{block: 'center'}})")
    wait_until(lambda: reported() > before, "an impression", 10)


def test_a_tile_that_leaves_fades_where_it_was(browser: Browser, shop: Eddyline) -> None:
    note = """(() => {
      const list = document.querySelector('[data-part=foryou]');
      const place = (one) => [one.offsetLeft, one.offsetTop];
      window.left = place(list.children[1]);
      window.ghosts = [];
      new MutationObserver((changes) => {
        for (const one of changes.flatMap(({addedNodes}) => [...addedNodes])) {
          if (one.classList?.contains("ghost")) window.ghosts.push(place(one));
        }
      }).observe(list.parentElement, {childList: true});
    })()"""
    with browser.page(moving=True) as page:
        visit(page, shop, someone(shop))
        page.evaluate(note)
        page.click(f"{FOR_YOU}:nth-child(2) .open")
        page.await_text("#journeys", "in the list")
        left, ghosts = page.evaluate("[window.left, window.ghosts]")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "what leaves a row widens nothing"
        assert any(ghost == pytest.approx(left, abs=2) for ghost in ghosts)


def test_titles_that_are_markup_are_shown_and_harm_nobody(browser: Browser, shop: Eddyline) -> None:
    item, user = "<b onclick=alert(1)>/../?x", someone(shop, "Baking")
    shop.put(item, title=HOSTILE, category=HOSTILE, tags=[HOSTILE], url="javascript:window.harmed=3")
    shop.put("linked", title="A page", url="https://example.org/?a=1&b=2", category="Baking")
    shop.await_item(item)
    shop.await_item("linked")
    try:
        with browser.page() as page:
            visit(page, shop, user)
            wait_until(lambda: HOSTILE in page.texts('[data-part="latest"] .open'), "the title as it is")
            links = page.evaluate("[...document.querySelectorAll('.tile a:not([hidden])')].map((one) => one.href)")
            assert set(links) == {"https://example.org/?a=1&b=2"}
            hostile = f'[data-part="latest"] .tile[data-item={json.dumps(item)}]'
            page.click(f"{hostile} .open")
            page.await_text("#journeys", HOSTILE[:20])
            page.await_text("[data-part=because-title]", HOSTILE[:20])
            page.click("[data-do=newcomer]")
            wait_until(lambda: HOSTILE in page.texts("#interests .chip"), "offered as an interest")
            assert page.evaluate("window.harmed") is None
            assert page.evaluate("document.querySelectorAll('main img, main script, main b').length") == 0
            assert not page.errors
    finally:
        for one in (item, "linked"):
            shop.client.delete(f"/v1/items/{quote(one, safe='')}")


def test_the_sliders_are_what_lists_are_asked_with(page: Page, shop: Eddyline) -> None:
    visit(page, shop, someone(shop))
    wait_until(lambda: "content" in page.texts("#options [name=strategy] option"), "strategies to pick from")
    choose_value(page, "strategy", "content")
    page.await_text("[data-part=about]", "content")
    choose_value(page, "diversity", "0.8")
    choose_value(page, "explore", "0.5")
    choose_value(page, "hour", "3")
    choose_value(page, "device", "phone")
    assert page.text('#options [data-part="hour"]') == "3:00"
    wait_until(lambda: (sent_options(page) or {}).get("device") == "phone", "a list asked with all of it")
    sent = json.loads(page.evaluate("window.sent"))
    assert (sent["strategy"], sent["diversity"], sent["explore"]) == ("content", 0.8, 0.5)
    assert sent["context"]["timezone"].startswith("Etc/GMT")
    page.click("#options [type=reset]")
    page.await_text("[data-part=about]", "learned")


def choose_value(page: Page, name: str, value: str) -> None:
    page.evaluate(
        f"""(() => {{
          const field = document.querySelector('#options [name={name}]');
          field.value = {json.dumps(value)};
          field.dispatchEvent(new Event("input", {{bubbles: true}}));
        }})()"""
    )


def sent_options(page: Page) -> dict[str, Any] | None:
    """The context of the last list that was asked for, once this has begun to listen."""
    listen = """(() => {
      if (window.sent === undefined) {
        const fetched = window.fetch;
        window.sent = "{}";
        window.fetch = (path, given) => {
          if (path === "/v1/recommendations") window.sent = given.body;
          return fetched(path, given);
        };
        document.querySelector("#options [name=device]").dispatchEvent(new Event("input", {bubbles: true}));
      }
      return JSON.parse(window.sent).context ?? null;
    })()"""
    found: dict[str, Any] | None = page.evaluate(listen)
    return found


def test_two_people_side_by_side_have_lists_of_their_own(page: Page, shop: Eddyline) -> None:
    visit(page, shop, someone(shop, "Baking"))
    page.click("#second")
    second = ".panel:nth-child(2) [data-part=foryou] .tile"
    wait_until(lambda: listed(page, second), "a second list")
    first = listed(page, ".panel:first-child [data-part=foryou] .tile")
    clicked = listed(page, second)[0]
    page.click(f"{second}:first-child .open")
    page.await_text("#journeys", "in the list")
    assert clicked not in listed(page, second)
    assert listed(page, ".panel:first-child [data-part=foryou] .tile") == first


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, shop: Eddyline) -> None:
    with browser.page(width=360, height=740) as page:
        for path in ("/", "/play"):
            page.open(f"{shop.url}{path}")
            page.await_text("body", "Eddyline")
            if path == "/play":
                wait_until(lambda: listed(page), "a list")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
