"""The console in a real Chromium, on a running Eddyline: with nothing in it, with data, with hostile titles, and what
an operator does."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.support.accessibility import accessibility_faults
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.system import ROOT, Eddyline, eddyline, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow(20),
    pytest.mark.xdist_group("pages"),
    needs_chromium,
]

WORDS = ("kayak", "river", "rapid", "eddy", "canoe", "paddle", "wave", "ferry")
HOSTILE = '\u202e"><svg><script>Object.assign(window, {harmed: 2})'
"""What stays as it is when markup is reduced to its text."""
PAGES = ("overview", "live", "person", "item", "lists", "experiments", "quality", "dead-letters", "catalogue")
FILLED = {"person": "person/u/ada", "item": "item/hostile", "lists": "lists/u/ada"}
"""Where a page shows somebody or something."""
MAX_BYTES = 300_000
EXPERIMENT = """
[[experiment]]
name = "diversity"
[[experiment.variant]]
name = "control"
[[experiment.variant]]
name = "diverse"
diversity = 0.9
"""
METRICS = """slice,strategy,requests,people,metric,k,value,low,high,difference,difference_low,difference_high
all,learned,400,50,hr,10,0.31,0.28,0.35,,,
all,learned,400,50,ndcg,10,0.18,0.16,0.2,,,
all,popularity,400,50,hr,10,0.11,0.09,0.14,-0.2,-0.24,-0.17
all,popularity,400,50,ndcg,10,0.06,0.05,0.08,-0.12,-0.14,-0.1
"""
QUIET = """new Promise((resolve) => {
  const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(resolve, 150); });
  let timer = setTimeout(resolve, 150);
  watch.observe(document.body, { subtree: true, childList: true });
  setTimeout(resolve, 2000);
})"""
"""Until a moment has changed nothing of what is shown."""
SHOWN = "document.querySelectorAll('#view .panelled, #view .figure-card').length"
PHONE = 390, 844
NOTHING = {
    "overview": "nothing yet",
    "live": "Nothing has come yet",
    "lists": "no item",
    "experiments": "Nothing is measured here",
    "quality": "No evaluation yet",
    "dead-letters": "No dead letters",
    "catalogue": "None is read",
}
"""What each page says while there is nothing."""


@pytest.fixture(scope="module")
def started(lean: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Eddyline, Path]]:
    """An Eddyline with nothing in it, and its directory."""
    directory = tmp_path_factory.mktemp("operated")
    (directory / "experiments.toml").write_text(EXPERIMENT)
    env = {
        **lean,
        "EDDYLINE_PROFILE__PENDING_SECONDS": "1",
        "EDDYLINE_EXPERIMENTS_FILE": str(directory / "experiments.toml"),
    }
    data = directory / "data"
    with eddyline("up", "--data-dir", str(data), log=directory / "log.txt", env=env) as running:
        yield running, data


@pytest.fixture(scope="module")
def when_empty(browser: Browser, started: tuple[Eddyline, Path]) -> dict[str, tuple[str, str]]:
    """What each page said, and its alert, while there was nothing."""
    running, _ = started
    said = {}
    with browser.page() as page:
        for name in PAGES:
            visit(page, running, name)
            wait_until(lambda: page.evaluate(SHOWN), f"{name} shows something")
            with suppress(AssertionError):  # the test of that page says so
                page.await_text("#view", NOTHING.get(name, ""))
            page.evaluate(QUIET)
            said[name] = page.text("#view"), page.text("#alert")
        assert not page.errors
    return said


@pytest.fixture(scope="module")
def shop(started: tuple[Eddyline, Path], when_empty: dict[str, tuple[str, str]]) -> Eddyline:
    """The same with items and people, once it was looked at without."""
    running, data = started
    assert len(when_empty) == len(PAGES)
    (data / "quality").mkdir()
    (data / "quality" / "metrics.csv").write_text(METRICS)
    items = [{"item_id": word, "title": f"All about the {word}", "category": "Paddling"} for word in WORDS]
    items += [
        {"item_id": "hostile", "title": HOSTILE, "category": HOSTILE[:200], "url": "javascript:window.harmed = 3"},
        {"item_id": "old", "title": "Yesterday's news", "expires_at": "2020-01-01T00:00:00Z"},
    ]
    assert running.client.post("/v1/items", json={"items": items}).status_code == 202
    wait_until(lambda: all(running.has(item["item_id"]) for item in items), "the catalogue is there")
    running.post(*({"type": "click", "user_id": "ada", "item_id": word} for word in WORDS[:4]))
    running.post({"type": "hide", "user_id": "ada", "item_id": "wave"})
    running.post({"type": "like", "user_id": "ada", "item_id": "hostile"})
    running.await_events("ada", 6)
    return running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as opened:
        yield opened
        assert not opened.errors
        assert opened.evaluate("window.harmed") is None


def visit(page: Page, shop: Eddyline, path: str) -> None:
    page.open("about:blank")
    page.open(f"{shop.url}/console#/{path}")


@pytest.mark.parametrize("name", PAGES)
def test_with_nothing_in_it_each_page_says_so(when_empty: dict[str, tuple[str, str]], name: str) -> None:
    text, alert = when_empty[name]
    assert alert == ""
    assert NOTHING.get(name, "") in text


@pytest.mark.parametrize("name", PAGES)
def test_each_page_shows_what_there_is_to_everyone_and_costs_little(page: Page, shop: Eddyline, name: str) -> None:
    visit(page, shop, FILLED.get(name, name))
    page.await_text(".tabs [aria-current=page]", name.replace("-", " ").capitalize())
    wait_until(lambda: page.evaluate(SHOWN), "there is something")
    page.evaluate(QUIET)
    assert page.text("#alert") == ""
    assert accessibility_faults(page) == []
    page.prefer(dark=True)
    assert accessibility_faults(page, "color-contrast") == []
    page.resize(*PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], "it is no wider than a phone"
    sent = "performance.getEntries().reduce((sum, one) => sum + (one.transferSize ?? 0), 0)"
    assert page.evaluate(sent) < MAX_BYTES


def test_the_overview_follows_what_happens(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "overview")
    page.await_text(".figures", "Events a second")
    wait_until(lambda: page.evaluate("document.querySelectorAll('.plot .column').length"), "histograms")
    shop.post(*({"type": "view", "user_id": "bob", "item_id": "kayak"} for _ in range(50)))
    rate = "Number([...document.querySelectorAll('.figure-card dd')][0].textContent)"
    wait_until(lambda: page.evaluate(rate) > 0, "a rate")


def test_what_comes_in_is_shown_and_what_is_refused_with_the_reason(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "live")
    page.await_text("#view", "Nothing has come yet")
    assert "/eddyline.js" in page.text("pre")
    type_ = f"no-{uuid.uuid4().hex[:6]}"
    events = [
        {"type": "click", "user_id": "bob", "item_id": "kayak"},
        {"type": type_, "user_id": HOSTILE, "item_id": "x"},
    ]
    wait_until(  # from when it watches
        lambda: shop.client.post("/v1/events", json={"events": events}) and type_ in page.text("table"), "the events"
    )
    assert "unknown type" in page.text("tr[data-state=ill]")
    assert HOSTILE in page.evaluate("document.querySelector('table').textContent")
    assert "no impressions" in page.text("#view")
    page.click("[name=refused]")
    wait_until(lambda: "kayak" not in page.text("table"), "only what was refused")


def test_a_person_is_explained(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "person/u/ada")
    page.await_text("#view", "Who they are")
    text = page.text("#view")
    for shown in ("All about the eddy", "Paddling", HOSTILE, "disliked", "session"):
        assert shown in text, shown
    wait_until(lambda: "Their list now" in page.text("#view") and page.texts("#view table a[href^='#/item']"), "a list")
    page.write("[name=item]", "ferry")
    page.press("Enter")
    wait_until(lambda: "Move" in page.text("#view"), "what would be")
    assert shop.person("ada")["events"] == 6, "nothing of it is stored"


def test_a_person_is_erased_after_a_question(page: Page, shop: Eddyline) -> None:
    user = f"user-{uuid.uuid4().hex[:6]}"
    shop.post({"type": "click", "user_id": user, "item_id": "kayak"})
    shop.await_events(user, 1)
    visit(page, shop, f"person/u/{user}")
    page.await_text("#view", "Erase")
    page.click(".grave")
    page.await_text("#confirm", f"Erase {user}?")
    page.click("#confirm [value=no]")
    assert shop.person(user)["events"] == 1
    page.click(".grave")
    page.click("#confirm-yes")
    wait_until(lambda: shop.person(user) == {}, "nothing is known of them")


def test_nobody_and_nothing_are_said_to_be_unknown(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "person/u/nobody")
    page.await_text("#alert", "nothing is known of 'u:nobody'")
    visit(page, shop, "item/nothing")
    page.await_text("#alert", "there is no item 'nothing'")


def test_an_item_says_whether_lists_may_have_it_and_why_not(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "item/old")
    page.await_text("#view", "it expired on 2020-01-01")
    visit(page, shop, "item/hostile")
    page.await_text("#view", "yes")
    assert HOSTILE in page.evaluate("document.querySelector('#view').textContent")
    assert not page.evaluate("[...document.querySelectorAll('a')].some((one) => one.protocol === 'javascript:')")
    visit(page, shop, "item/kayak")
    page.await_text("#view", "Similar by text")
    wait_until(lambda: "All about" in page.text("#view table"), "what goes with it")
    page.await_text("#view", "ada")


def test_two_strategies_stand_side_by_side_with_what_differs_and_what_filters_took_away(
    page: Page, shop: Eddyline
) -> None:
    visit(page, shop, "lists/u/ada")
    page.await_text(".side-by-side", "learned")
    assert len(page.texts(".side-by-side .panelled")) == 2
    assert "items are in both" in page.text("#view")
    page.await_text("#view", "What the filters took away")
    rows = page.evaluate("[...document.querySelectorAll('#view tbody tr')].map((one) => one.textContent)")
    for row in ("in the catalogue10", "expired− 1", "disliked or hidden− 1", "seen− 5", "left for ranking3"):
        assert row in rows, row
    page.await_text("#view", "learnt from")


def test_a_variant_stands_beside_a_strategy(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "lists")
    wait_until(lambda: page.texts("[name=another] optgroup[label=Variants] option"), "variants")
    page.evaluate("document.querySelector('[name=another]').value = 'variant:diversity/diverse'")
    page.write("[name=category]", "Paddling")
    page.press("Enter")
    page.await_text(".side-by-side .panelled:last-child h3", "diversity/diverse")
    page.await_text("#view", "of another category")
    assert page.text("#alert") == ""
    assert len(page.texts(".side-by-side .panelled:last-child tbody tr")) == 8


def test_what_people_chose_and_what_is_kept_of_it_are_drawn(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "person/u/ada")
    page.await_text("#view", "Recent items over time")
    assert page.evaluate("document.querySelectorAll('.plot .stem').length") == 5
    assert len(page.texts(".plot-legend li")) == 3
    inside = "[...document.querySelectorAll('.plot .stem')].every((one) => one.y2.baseVal.value >= 0)"
    assert page.evaluate(inside), "the newest weighs the most, and fits"
    visit(page, shop, "item/kayak")
    page.await_text("#view", "Its trend")
    wait_until(lambda: page.evaluate("document.querySelectorAll('.plot .column').length") == 4, "a bar for each")


def test_the_last_evaluation_is_drawn_with_its_intervals(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "quality")
    page.await_text("#view", "400 requests of 50 people")
    assert "0.31 (0.28 … 0.35)" in page.texts(".intervals li > :last-child")
    assert page.texts("#view td strong") == ["0.11", "0.06"], "what is beyond chance"


def test_a_feed_is_shown_with_what_is_wrong_with_it(page: Page, shop: Eddyline) -> None:
    feed = {"name": "news", "url": "http://127.0.0.1:9/feed.xml"}
    assert shop.client.post("/v1/feeds", json=feed).status_code == 202
    wait_until(lambda: any("error" in one for one in shop.client.get("/v1/feeds").json()["feeds"]), "it was read")
    visit(page, shop, "catalogue")
    page.await_text("#view", "loopback")
    assert "loopback" in page.text("tr[data-state=ill]")
    assert "never" in page.text("tr[data-state=ill]")
    visit(page, shop, "overview")
    page.await_text("#view", "Readings of feeds since the start")


def test_what_watching_costs_is_compared_with_nobody(shop: Eddyline) -> None:
    options = ("--url", shop.url, "--pid", str(shop.process.pid), "--rounds", "2", "--rest", "0.1", "--requests", "2")
    script = [sys.executable, str(ROOT / "benchmarks" / "console.py"), *options]
    printed = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert [line[:24].strip() for line in printed[2:]] == [
        "nobody",
        "overview",
        "live events",
        "overview − nobody",
        "live events − nobody",
    ]


def test_a_dead_letter_is_opened_sent_again_and_dropped(page: Page, shop: Eddyline) -> None:
    for number in range(2):
        shop.post({"type": "click", "user_id": "carl", "item_id": f"never-{number}"})
    wait_until(
        lambda: shop.client.get("/console/api/dead-letters").json()["total"] >= 2, "two dead letters", seconds=60
    )
    visit(page, shop, "dead-letters")
    page.await_text("#view .panelled h2", "2 dead letters")
    page.click("details summary")
    page.await_text("details[open]", '"item_id": "never-')
    page.click("tbody tr [type=checkbox]")
    page.click(".grave")
    page.await_text("#confirm", "Drop 1 dead letter?")
    page.click("#confirm-yes")
    page.await_text("#view .panelled h2", "1 dead letter")
    put = {"title": "Here at last"}
    for number in range(2):
        shop.client.put(f"/v1/items/never-{number}", json=put)
    wait_until(lambda: shop.has("never-0") and shop.has("never-1"), "the items are there")
    page.click("tbody tr [type=checkbox]")
    page.click(".ask button:nth-child(2)")
    page.await_text("#confirm", "Send 1 dead letter again?")
    page.click("#confirm-yes")
    page.await_text("#view", "No dead letters")
    shop.await_events("carl", 1)


def test_the_catalogue_is_found_by_meaning_and_leads_to_items(page: Page, shop: Eddyline) -> None:
    visit(page, shop, "catalogue")
    page.await_text("#view table", "All about the kayak")
    page.write("[name=q]", "canoe on a river")
    page.press("Enter")
    page.await_text("#view", "Found")
    page.click(f"#view td a[href='#/item/{quote('canoe')}']")
    page.await_text("#view", "What is stored")
