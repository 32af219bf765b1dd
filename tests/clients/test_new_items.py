"""How long new items take to their first clicks, where not all of them get there."""

from __future__ import annotations

from eddyline.clients.simulator.new_items import NewItems, Progress


def published(count: int, milestone: int = 2) -> NewItems:
    news = NewItems(milestone)
    for number in range(count):
        news.publish(f"n{number}", number > 0, Progress(10.0, 100))
    return news


def click(news: NewItems, item_id: str, lists: int) -> None:
    news.count([item_id, "old"], [item_id, "old"], Progress(lists / 10, lists))


def test_time_and_lists_count_from_the_publication_and_showings_end_with_the_milestone() -> None:
    news = published(2)
    for lists in (120, 130):
        news.count(["n1"], [], Progress(lists / 10, lists))
    for lists in (140, 150, 160):
        click(news, "n1", lists)
    good = news.as_json()["good"]
    assert (good["median_seconds"], good["median_lists"], good["median_showings"]) == (5.0, 50.0, 4.0)
    assert (news.items["n1"].showings, news.items["n1"].clicks) == (5, 3)
    assert "old" not in news.items


def test_what_has_not_got_there_takes_longer_than_what_has() -> None:
    news = published(6)
    for item_id, lists in (("n1", 110), ("n2", 120)):
        click(news, item_id, lists)
        click(news, item_id, lists + 10)
    assert news.as_json()["good"] == {
        "published": 5,
        "milestone": 2,
        "reached": 2,
        "median_seconds": None,
        "median_lists": None,
        "median_showings": None,
    }
    click(news, "n3", 300)
    click(news, "n3", 400)
    assert news.as_json()["good"]["median_lists"] == 300.0, "of five, the third"


def test_items_that_please_few_are_no_good_ones() -> None:
    news = published(1)
    click(news, "n0", 110)
    click(news, "n0", 120)
    told = news.as_json()
    assert (told["published"], told["clicks"], told["good"]["published"], told["good"]["reached"]) == (1, 2, 0, 0)
