"""The pages on ten thousand items: what they ask for and show stays as it is with ten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.browser import Browser, Page, needs_chromium
from tests.support.system import Eddyline, eddyline, wait_until

pytestmark = [
    pytest.mark.system,
    pytest.mark.extended,
    pytest.mark.slow(120),
    pytest.mark.xdist_group("pages"),
    needs_chromium,
]

ITEMS, BATCH = 10_000, 1000
WORDS = ("kayak", "river", "rapid", "eddy", "canoe", "paddle", "wave", "ferry", "gorge", "estuary")
MAX_ELEMENTS, MAX_BYTES = 4000, 300_000


@pytest.fixture(scope="module")
def shop(lean: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eddyline]:
    directory = tmp_path_factory.mktemp("large")
    with eddyline("up", "--data-dir", str(directory / "data"), log=directory / "log.txt", env=lean) as running:
        items = [
            {
                "item_id": f"item-{number}",
                "title": f"{WORDS[number % 10]} and {WORDS[number // 10 % 10]}, number {number}",
                "language": "en",
                "category": f"category {number % 300}",
                "tags": [f"tag {number % 700}", f"tag {number % 1100}"],
            }
            for number in range(ITEMS)
        ]
        for first in range(0, ITEMS, BATCH):
            sent = running.client.post("/v1/items", json={"items": items[first : first + BATCH]})
            assert sent.status_code == 202
        counted = "/console/api/filters"
        wait_until(lambda: running.client.get(counted).json()["items"] == ITEMS, "the catalogue is there", 240)
        running.post(*({"type": "click", "user_id": "ada", "item_id": f"item-{number}"} for number in range(200)))
        running.await_events("ada", 200)
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as opened:
        yield opened
        assert not opened.errors


def assert_bounded(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('*').length") < MAX_ELEMENTS
    sent = "performance.getEntries().reduce((sum, one) => sum + (one.transferSize ?? 0), 0)"
    assert page.evaluate(sent) < MAX_BYTES


def test_the_playground_shows_rows_and_not_the_catalogue(page: Page, shop: Eddyline) -> None:
    page.open(f"{shop.url}/play?user=ada")
    tiles = "document.querySelectorAll('.tile').length"
    wait_until(lambda: page.evaluate(tiles) >= 30, "rows")
    page.click('[data-part="foryou"] .tile .open')
    page.await_text("#journeys", "in the list")
    assert page.evaluate(tiles) < 100
    assert_bounded(page)
    page.click("[data-do=newcomer]")
    wait_until(lambda: page.texts("#interests .chip"), "interests to pick from")
    assert len(page.texts("#interests .chip")) < 60


def test_the_catalogue_comes_a_page_at_a_time(page: Page, shop: Eddyline) -> None:
    page.open(f"{shop.url}/console#/catalogue")
    wait_until(lambda: len(page.texts("#view tbody tr")) == 30, "a page of it")
    page.evaluate("[...document.querySelectorAll('button')].find((one) => one.textContent === 'More').id = 'more'")
    page.click("#more")
    wait_until(lambda: len(page.texts("#view tbody tr")) == 60, "the next")
    page.write("[name=q]", "kayak and river")
    page.press("Enter")
    page.await_text("#view", "Found")
    wait_until(lambda: len(page.texts("#view tbody tr")) == 30, "a page of what was found")
    assert_bounded(page)


@pytest.mark.parametrize(
    ("path", "shown"),
    [("person/u/ada", "Recent items over time"), ("lists/u/ada", "10,000"), ("item/item-7", "Who has it")],
)
def test_what_the_console_explains_is_bounded(page: Page, shop: Eddyline, path: str, shown: str) -> None:
    page.open(f"{shop.url}/console#/{path}")
    page.await_text("#view", shown)
    wait_until(lambda: page.texts("#view table .bar"), "a list")
    assert_bounded(page)
