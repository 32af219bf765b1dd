"""A model for another distance, from the setting to the list: its vectors have lengths, and lists their own order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.endpoint import Answer, Request, serving
from tests.support.system import Eddyline, eddyline, run

pytestmark = pytest.mark.system

SLOWLY = 120.0
PLACES = {"near": (2, 0), "seen": (3, 0), "next": (4, 1), "aside": (0, 3), "far": (90, 30), "other edition": (6, 0)}
"""Where the model puts each item."""


def places(request: Request) -> Answer:
    """A text is where it says: `at 4 1`; anything else is nowhere near."""
    said = [re.search(r"at (\d+) (\d+)", text) for text in request.body["input"]]
    rows = [[float(one[1]), float(one[2])] if one else [-50.0, -50.0] for one in said]
    return 200, {"data": [{"index": index, "embedding": row} for index, row in enumerate(rows)]}


def settings(url: str, distance: str, tmp_path: Path) -> dict[str, str]:
    return {
        "EDDYLINE_INSIGHTS__ENABLED": "false",
        "EDDYLINE_ENCODER__KIND": "openai",
        "EDDYLINE_ENCODER__URL": url,
        "EDDYLINE_ENCODER__MODEL": "places",
        "EDDYLINE_ENCODER__DISTANCE": distance,
        "EDDYLINE_ENCODER__CACHE_DIR": str(tmp_path / "cache"),
    }


def liked(process: Eddyline, **asked: object) -> list[str]:
    return [item["item_id"] for item in process.recommend("ada", strategy="content", **asked)]


def found(process: Eddyline, text: str) -> list[str]:
    answer = process.client.get("/v1/search", params={"q": text})
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


@pytest.mark.extended  # three starts
@pytest.mark.slow(180)
def test_lists_go_by_the_distance_and_another_one_is_refused_until_all_is_embedded_anew(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    with serving() as endpoint:
        endpoint.answer = places
        euclid, dot = (settings(endpoint.url, distance, tmp_path) for distance in ("euclid", "dot"))
        with eddyline("up", *data, log=tmp_path / "euclid.txt", env=euclid) as process:
            for item_id, (x, y) in PLACES.items():
                process.put(item_id, title=f"at {x} {y}")
            for item_id in PLACES:
                process.await_item(item_id, SLOWLY)
            process.post({"type": "like", "user_id": "ada", "item_id": "seen"})
            process.await_events("ada", 1, SLOWLY)
            assert liked(process)[:4] == ["near", "next", "other edition", "aside"]
            assert process.similar("seen", 5) == ["near", "next", "other edition", "aside", "far"]
            assert found(process, "at 88 30")[0] == "far"
            answer = process.client.get("/v1/items/seen/similar").json()
            assert answer["items"][0]["score"] == pytest.approx(0.5), "1 / (1 + d)"

        refused = run("up", *data, "--port", "0", env=dot)
        assert refused.returncode == 2
        said = " ".join(refused.stderr.split())
        assert "2 dimensions, Euclid" in said
        assert "2 dimensions, Dot" in said
        assert "reembed" in said

        done = run("reembed", *data, env=dot)
        assert done.returncode == 0, done.stderr

        with eddyline("up", *data, log=tmp_path / "dot.txt", env=dot) as process:
            assert process.person("ada")["events"] == 1
            assert liked(process)[:4] == ["far", "other edition", "next", "near"]
            assert process.similar("seen", 3) == ["far", "other edition", "next"]
            assert found(process, "at 0 1")[0] == "far"
            complements = process.client.get("/v1/items/seen/similar", params={"relation": "complement"})
            assert complements.status_code == 200, complements.text
