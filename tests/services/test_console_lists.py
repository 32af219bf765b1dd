"""What the console says of lists: what the filters took away, what learned strategies weigh by, how good they were."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.services.reading import DAY, SETTINGS, Shop, stocked
from tests.support.fakes import NOW, Clock

from eddyline.adapters.telemetry import Metrics
from eddyline.console import overview
from eddyline.console.filter_counts import FilterCounts, FilterQuery
from eddyline.console.overview import READ_SECONDS, WEIGHTS_EVERY, WEIGHTS_KEPT, MetricsHistory
from eddyline.console.quality import LastEvaluation
from eddyline.evaluation.metrics import METRICS, Estimate, SliceMetrics
from eddyline.evaluation.result_files import write_metrics, write_run
from eddyline.model.ids import Person
from eddyline.settings import Settings

# -- filters -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Forty items, of which four can't be had, each for another reason; and someone who has seen three."""
    shop = stocked()
    shop.offer("space1", available=False)
    shop.offer("price-alone")
    shop.put({"item_id": "space2", "title": "starship", "category": "space", "published_at": NOW + DAY})
    shop.put({"item_id": "space3", "title": "starship", "category": "space", "expires_at": NOW - DAY})
    shop.did("ada", "space4", "view")
    shop.did("ada", "space5", "purchase")
    shop.did("ada", "space6", "hide")
    return shop


def counts(shop: Shop, person: str | None = None, **query: str) -> tuple[dict[str, int], int]:
    """What each filter takes away, where it takes anything, and what is left."""
    found = FilterCounts(shop.store, SETTINGS, shop.clock).count(
        FilterQuery(**query), None if person is None else Person("u", person)
    )
    assert found["items"] - sum(one["items"] for one in found["taken"]) == found["left"]
    return {one["why"]: one["items"] for one in found["taken"] if one["items"]}, found["left"]


WITHHELD = {"not available": 1, "known by price or stock alone": 1, "not published yet": 1, "expired": 1}


def test_each_filter_says_how_many_items_it_took_away(shop: Shop) -> None:
    assert counts(shop) == (WITHHELD, 37)
    assert counts(shop, category="space") == ({**WITHHELD, "of another category": 20}, 17)
    assert counts(shop, tag="even") == ({**WITHHELD, "of another tag": 28}, 9)
    assert counts(shop, "nobody") == counts(shop)
    taken, left = counts(shop, "ada")
    assert left == 34
    assert taken == {**WITHHELD, "disliked or hidden": 1, "bought": 1, "seen": 1}


def test_what_is_left_is_what_a_list_can_have(shop: Shop) -> None:
    with shop.open():
        for user, query in (("ada", {}), ("ada", {"category": "kitchen"}), ("nobody", {"tag": "even"})):
            path = f"/v1/users/{user}/recommendations"
            pages = shop.pages(path, limit=20, strict="true", **query)
            assert sum(len(page["items"]) for page in pages) == counts(shop, user, **query)[1]


# -- weights -----------------------------------------------------------------------------------------------------------


def test_what_learned_strategies_weigh_by_is_kept_for_a_while_and_told_as_of_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert WEIGHTS_EVERY * READ_SECONDS * WEIGHTS_KEPT == DAY
    every, kept = 3, 4
    monkeypatch.setattr(overview, "WEIGHTS_EVERY", every)
    monkeypatch.setattr(overview, "WEIGHTS_KEPT", kept)
    metrics, clock = Metrics(), Clock()
    history = MetricsHistory(metrics, clock)
    history.note()
    for number in range(every * (kept + 2)):
        metrics.blend_weight.labels("learned", "running", "affinity").set(number)
        clock.forward(10)
        history.note()
    metrics.blend_weight.labels("learned", "running", "affinity").set(-1)
    told = history.weights()
    (series,) = told["series"]
    assert (series["strategy"], series["visit"], series["term"]) == ("learned", "running", "affinity")
    assert len(told["at"]) == len(series["weights"]) == kept + 1
    assert series["weights"][-1] == -1
    assert series["weights"][-2] - series["weights"][-3] == every
    assert told["at"][-1] == clock()


# -- quality -----------------------------------------------------------------------------------------------------------


def evaluate(folder: Path) -> None:
    """What `eddyline evaluate --output` writes."""
    estimates = {metric: Estimate(0.25, 0.2, 0.3) for metric in METRICS}
    unknown = dict.fromkeys(METRICS, Estimate(math.nan, math.nan, math.nan))
    rows = [
        SliceMetrics("learned", "all", 100, 10, estimates, None),
        SliceMetrics("content", "all", 100, 10, estimates, estimates),
        SliceMetrics("content", "newcomers", 0, 0, unknown, unknown),
    ]
    write_metrics(folder / "metrics.csv", rows, 10)
    write_run(folder / "run.json", {"seed": 7, "settings": {"encoder": {}}})


def test_the_last_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    shown = LastEvaluation(Settings(data_dir=tmp_path))
    assert shown.describe()["rows"] == []
    evaluate(tmp_path / "quality")
    found = shown.describe()
    assert found["fault"] is None
    assert len(found["rows"]) == 3 * len(METRICS)
    first, last = found["rows"][0], found["rows"][-1]
    assert (first["strategy"], first["metric"], first["k"], first["low"]) == ("learned", "hr", 10, 0.2)
    assert first["difference"] is None
    assert (last["slice"], last["requests"], last["value"]) == ("newcomers", 0, None)
    assert found["run"] == {"seed": 7}, "the settings stay where they are"


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("metrics.csv", "slice,strategy\n", "other columns"),
        ("metrics.csv", "{header}all,learned,1,1,hr,10,nan,,,,,\n", "line 2: value is 'nan'"),
        ("metrics.csv", "{header}all,learned,many,1,hr,10,0.5,,,,,\n", "line 2"),
        ("metrics.csv", "{header}all,learned\n", "line 2: has 2 cells"),
        pytest.param("metrics.csv", "x" * 4_000_001, "larger than an evaluation's", id="a large file"),
        pytest.param("metrics.csv", "x" * 200_000, "line 1", id="a large cell"),
        pytest.param("metrics.csv", b"\xff\xfe", "can't be read", id="no text"),
        ("run.json", "[]", "no JSON object"),
        ("run.json", "{", "not JSON"),
    ],
)
def test_an_evaluation_that_is_not_as_it_was_written_is_said_to_be_so(
    tmp_path: Path, file: str, text: str | bytes, fault: str
) -> None:
    folder = tmp_path / "quality"
    evaluate(folder)
    header = (folder / "metrics.csv").read_text().splitlines(keepends=True)[0]
    given = text if isinstance(text, bytes) else text.replace("{header}", header).encode()
    (folder / file).write_bytes(given)
    found = LastEvaluation(Settings(data_dir=tmp_path)).describe()
    assert found["rows"] == []
    assert str(folder / file) in found["fault"]
    assert fault in found["fault"]
