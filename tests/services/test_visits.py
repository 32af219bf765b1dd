"""Visits of one person: a list holds still within one, and is another the next time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.reading import DAY, Shop, ids
from tests.services.reports import ExposureReports
from tests.support.fakes import NOW, feed, redelivered

from eddyline.reader.schemas import RecommendationRequest
from eddyline.settings import Settings

MINUTE, HOUR = 60.0, 3600.0
SETTINGS = Settings()
THEMES = (
    "space alien",
    "kitchen bread",
    "garden rose",
    "crime night",
    "music band",
    "horse farm",
    "snow ice",
    "war ship",
)
PEOPLE = ("known", "visitor", "newcomer")
BOUNDARY = (NOW // (6 * HOUR) + 1) * 6 * HOUR
"""The next moment at which the order of a person without a session turns."""


class Site:
    """A shop of 160 items and forty people who each like a theme or two; with or without records of what is shown."""

    def __init__(self) -> None:
        self.shop = Shop(SETTINGS)
        self.shop.monotonic = self.shop.clock
        self.shop.put(
            *(
                {
                    "item_id": f"{theme}{n}",
                    "title": f"{words} number {n} part{n % 5}",
                    "category": f"c{theme}",
                    "published_at": NOW - (n * 8 + theme) * DAY,
                }
                for theme, words in enumerate(THEMES)
                for n in range(20)
            )
        )
        for n in range(40):
            for step in range(6):
                self.shop.did(f"u{n}", f"{(n + step // 3) % 8}{(n * 3 + step * 7) % 20}", ago=3 * DAY - step * MINUTE)

    def reader(self, telling: bool) -> Visits:
        return Visits(self.shop, telling)


class Visits:
    """Requests of the same few people, at times that the test says."""

    def __init__(self, shop: Shop, telling: bool) -> None:
        self.shop, self._reports = shop, ExposureReports(clock=shop.clock)
        shop.clock.now = NOW
        self._reader = shop.new_reader(exposures=self._reports.log if telling else None)

    def at(self, time: float, **asked: Any) -> dict[str, Any]:
        """A list at that time; within the minute the profile hears of it, where it does."""
        self.shop.clock.now = time
        self._reports.send(0)
        while self._reports.producer.sent:
            sent = self._reports.producer.sent.pop(0)
            feed(self.shop.profiler, redelivered(sent, self.shop._next(), at=time))
        return self._reader.recommend(RecommendationRequest(**asked))


@pytest.fixture(scope="module")
def site() -> Site:
    return Site()


@pytest.fixture
def someone(site: Site, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A person of their own for each test: with a history, anonymous with one click, or never seen before."""
    kind = request.param
    name = f"{kind}-{request.node.name}"
    site.shop.clock.now = NOW
    if kind == "known":
        for n in range(5):
            site.shop.did(name, f"{n % 2}{n}", ago=2 * DAY - n * MINUTE)
    if kind == "visitor":
        site.shop.did(f"a:{name}", "35", ago=DAY)
    return {"anonymous_id": name} if kind == "visitor" else {"user_id": name}


everyone = pytest.mark.parametrize("someone", PEOPLE, indirect=True)
told_or_not = pytest.mark.parametrize("telling", [False, True], ids=["nothing told", "told what was shown"])


@pytest.mark.slow(20)
@everyone
@told_or_not
@pytest.mark.parametrize(
    "apart",
    [pytest.param(DAY, id="a day apart"), pytest.param(6 * HOUR, id="six hours apart", marks=pytest.mark.extended)],
)
def test_ten_visits_without_a_click_show_at_least_25_items(
    site: Site, someone: dict[str, Any], telling: bool, apart: float
) -> None:
    reader = site.reader(telling)
    lists = [ids(reader.at(NOW + n * apart, **someone)) for n in range(10)]
    assert all(len(listed) == 10 for listed in lists)
    assert len({item for listed in lists for item in listed}) >= 25


@pytest.mark.slow(10)
def test_what_is_left_alone_makes_room(site: Site) -> None:
    """With the order never turned, what was shown alone changes the list."""
    session = {"user_id": "patient", "session_id": "for ever"}
    site.shop.did("patient", "35", ago=DAY)
    untold, told = (site.reader(telling) for telling in (False, True))
    still = [ids(untold.at(NOW + n * DAY, **session)) for n in range(6)]
    moved = [ids(told.at(NOW + n * DAY, **session)) for n in range(6)]
    assert len({item for listed in moved for item in listed}) > len({item for listed in still for item in listed})


@pytest.mark.slow(20)
@everyone
@told_or_not
@pytest.mark.parametrize("session_id", [None, "s1"])
def test_a_list_holds_still_within_a_visit(
    site: Site, someone: dict[str, Any], telling: bool, session_id: str | None
) -> None:
    """Also after other visits, the last of them not long ago; and with a session, while the order turns for others."""
    reader = site.reader(telling)
    for earlier in (-2 * DAY, -DAY, -3 * HOUR):
        reader.at(BOUNDARY + earlier, **someone, session_id=session_id)
    begin = BOUNDARY - 20 * MINUTE if session_id else BOUNDARY + HOUR
    reader.at(begin - 80 * MINUTE, **someone, session_id=session_id)
    lists = [ids(reader.at(begin + n * 5.5 * MINUTE, **someone, session_id=session_id)) for n in range(6)]
    assert all(listed == lists[0] for listed in lists)


@everyone
@told_or_not
def test_pages_hold_together_within_a_visit(site: Site, someone: dict[str, Any], telling: bool) -> None:
    reader = site.reader(telling)
    asked = {**someone, "session_id": "s2"}
    whole = ids(reader.at(BOUNDARY - 10 * MINUTE, **asked, limit=30))
    pages, cursor = [], None
    for n in range(3):
        page = reader.at(BOUNDARY + (n * 9 - 8) * MINUTE, **asked, next=cursor)
        pages += ids(page)
        cursor = page["next"]
    assert len(pages) == len(set(pages)) == 30
    assert len(set(pages) & set(whole)) >= 23  # what is tried out fills each page's own places: six of 30 for strangers
    assert pages[:10] == whole[:10]


def test_the_next_session_has_another_order(site: Site) -> None:
    reader = site.reader(False)
    one, two = (ids(reader.at(NOW, user_id="u1", session_id=session)) for session in ("s3", "s4"))
    assert one != two
    assert one == ids(reader.at(NOW, user_id="u1", session_id="s3"))
    assert ids(reader.at(NOW, user_id="u2", session_id="s3")) != one
