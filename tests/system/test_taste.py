"""What someone is in the mood for now, and what they always liked: by behaviour, on real films."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support.system import Eddyline

pytestmark = pytest.mark.system


def _ago(**when: float) -> str:
    return (datetime.now(UTC) - timedelta(**when)).isoformat()


def _films(place: Eddyline, tag: str) -> list[str]:
    """Ids of the films with a tag, the newest first."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        asked = {"tag": tag, "limit": "100"} | ({} if cursor is None else {"next": cursor})
        page = httpx.get(f"{place.url}/v1/latest", params=asked, timeout=30.0).raise_for_status().json()
        found += [item["item_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found


class Fan:
    """Liked twenty thrillers some days ago, and then clicks on two children's films."""

    def __init__(self, place: Eddyline) -> None:
        self._place, self.name, self._said = place, f"fan-{uuid.uuid4().hex[:8]}", 0
        self.children = set(_films(place, "Children"))
        thrillers = [film for film in _films(place, "Thriller") if film not in self.children]
        self.thrillers = set(thrillers)
        likes = enumerate(thrillers[:20])
        self._say(*({"type": "like", "item_id": film, "timestamp": _ago(days=4, minutes=n)} for n, film in likes))
        self._clicked = sorted(self.children)[:2]

    def clicks(self, **ago: float) -> None:
        """One film, then the other."""
        for seconds, film in zip((20, 0), self._clicked, strict=True):
            self._say({"type": "click", "item_id": film, "timestamp": _ago(**{**ago, "seconds": seconds})})

    def top(self) -> list[str]:
        """The first five of their list."""
        return [item["item_id"] for item in self._place.recommend(self.name, limit=5)]

    def _say(self, *events: dict[str, Any]) -> None:
        self._place.post(*({"user_id": self.name, **event} for event in events))
        self._said += len(events)
        self._place.await_events(self.name, self._said)


def test_two_clicks_show_in_the_top_five(place: Eddyline) -> None:
    fan = Fan(place)
    assert not fan.children & set(fan.top())
    fan.clicks()
    assert len(fan.children & set(fan.top())) >= 2


def test_the_long_term_taste_is_back_the_next_day(place: Eddyline) -> None:
    fan = Fan(place)
    fan.clicks(days=1)
    top = set(fan.top())
    assert len(fan.thrillers & top) >= 3
    assert len(fan.children & top) <= 1
