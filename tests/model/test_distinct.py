"""What never stands in one list: the same thing twice, part two of a series before part one, too many of one brand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eddyline.model.ranking import Hit, RankOptions, RetrievalPlan, merge_candidates, rank
from eddyline.settings import RankingSettings

BY_TASTE = RetrievalPlan(
    {}, {"taste": 1.0, "affinity": 0.0, "people": 0.0, "popularity": 0.0, "trending": 0.0, "freshness": 0.0}
)


def ranked(
    metas: Sequence[Mapping[str, Any]], options: RankOptions | None = None, **settings: Any
) -> list[tuple[str, float]]:
    """Rank items a, b, …, the best first."""
    found = [Hit("abcdefgh"[n], 1.0 - n / 10, {"meta": dict(meta)}) for n, meta in enumerate(metas)]
    options = options or RankOptions(1e9, RankingSettings(**settings), 10)
    return [(one.item_id, one.score) for one in rank(merge_candidates({"taste": found}, 100), BY_TASTE, options)]


def order(metas: Sequence[Mapping[str, Any]], options: RankOptions | None = None, **settings: Any) -> str:
    return "".join(item_id for item_id, _ in ranked(metas, options, **settings))


def part(series: str, number: float) -> dict[str, Any]:
    return {"title": f"{series} {number}", "attributes": {"series": series, "series_number": number}}


SAME = [
    {"title": "The flood in Graz", "category": "News"},
    {"title": "the FLOOD in: Graz!", "category": "News"},
    {"title": "The flood in Linz", "category": "News"},
    {"title": "The flood in Graz", "category": "Films"},
]


def test_of_titles_that_say_the_same_the_best_is_listed() -> None:
    assert order(SAME) == "acd"


def test_scripts_other_than_latin_are_told_apart() -> None:
    titles = ("洪水", "洪水!", "地震", "!!!", "???", "")
    assert order([{"title": title, "category": "news"} for title in titles]) == "acdef"


def test_without_a_category_a_title_says_too_little() -> None:
    assert order([{"title": "thing"}, {"title": "thing"}, {"title": "thing", "category": ""}]) == "abc"


def test_where_titles_do_not_tell_items_apart_all_are_listed() -> None:
    assert order(SAME, collapse_duplicates=False) == "abcd"


def test_what_was_on_an_earlier_page_does_not_come_again_by_another_name() -> None:
    second_page = RankOptions(1e9, RankingSettings(), 10, excluded="a".__eq__)
    assert order(SAME, second_page) == "cd"


def test_part_one_stands_where_part_two_would() -> None:
    metas = [part("Dune", 2), {"title": "Solaris"}, part("Dune", 3), part("Dune", 1), part("Foundation", 2)]
    listed = ranked(metas)
    assert "".join(item_id for item_id, _ in listed) == "dbe"
    assert dict(listed) == pytest.approx({"d": 0.25, "b": 0.75, "e": 0.0}), "a place isn't a score"


def test_once_part_one_was_seen_part_two_comes() -> None:
    metas = [part("Dune", 2), part("Dune", 3), part("Dune", 1)]
    seen = RankOptions(1e9, RankingSettings(), 10, exclude={"c"})
    assert order(metas, seen) == "a"


def test_part_two_waits_though_part_one_was_on_the_page_before() -> None:
    second_page = RankOptions(1e9, RankingSettings(), 10, excluded="b".__eq__)
    assert order([part("Dune", 2), part("Dune", 1), {"title": "Solaris"}], second_page) == "c"


@pytest.mark.parametrize("attributes", [{"series": "Dune"}, {"series_number": 2}, {"series": 7, "series_number": "2"}])
def test_half_a_series_is_none(attributes: dict[str, Any]) -> None:
    assert order([{"title": "Dune 2", "attributes": attributes}, part("Dune", 1)]) == "ab"


BRANDS = [{"title": f"T{n}", "attributes": {"brand": brand}} for n, brand in enumerate("xxxyxy")]


def test_no_more_of_a_brand_than_is_allowed() -> None:
    assert order([*BRANDS, {"title": "T6"}, {"title": "T7"}], per_attribute={"brand": 2}) == "abdfgh"


def test_the_tighter_of_two_caps_holds() -> None:
    metas = [{**meta, "category": "one"} for meta in BRANDS]
    options = RankOptions(1e9, RankingSettings(per_attribute={"brand": 2}), 10, per_category=3)
    assert order(metas, options) == "abd"
    assert order(metas, replace(options, per_category=1)) == "a"
