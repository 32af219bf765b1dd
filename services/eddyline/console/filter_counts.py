"""How many items the filters of a list take away, each counted of what those before it left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from eddyline.adapters.vectors import ITEMS, Filter, HasId, Match, Range, VectorStore
from eddyline.model.filters import parse_filter
from eddyline.model.ids import Person, item_point_id
from eddyline.reader.profiles import ProfileReader
from eddyline.settings import Settings

SEEN: Final = {"disliked": "disliked or hidden", "purchased": "bought", "viewed": "seen"}
"""The kinds of items that people aren't shown, each counted without those of the kinds before it."""


class FilterQuery(BaseModel):
    """What a list is narrowed to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    tag: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class FilterCounts:
    """Counts in the catalogue. May be called from any thread. `clock` in epoch seconds."""

    def __init__(self, store: VectorStore, settings: Settings, clock: Callable[[], float]) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._profiles = ProfileReader(store, settings)

    def count(self, query: FilterQuery, person: Person | None = None) -> dict[str, Any]:
        """Count the items, those that each filter takes away, and what is left for ranking; of a `person`, with what
        they have seen. Raises `Unavailable`."""
        total = left = self._store.count(ITEMS)
        taken = []
        passing = Filter()
        for why, filter in self._steps(query):
            passing &= filter
            after = self._store.count(ITEMS, passing)
            taken.append({"why": why, "items": left - after})
            left = after
        for why, points in self._seen(person):
            count = self._store.count(ITEMS, passing & Filter(must=(HasId(tuple(points)),))) if points else 0
            taken.append({"why": why, "items": count})
            left -= count
        return {"items": total, "taken": taken, "left": left}

    def _steps(self, query: FilterQuery) -> Iterator[tuple[str, Filter]]:
        """Yield what everyone's filter is made of (`servable_items`), then the list's own."""
        now, unavailable = self._clock(), Match("offer.available", (False,))
        yield "not available", Filter(must_not=(unavailable,))
        yield "known by price or stock alone", Filter(must=(Match("servable", (True,)),))
        yield "not published yet", Filter(must=(Range("servable_from", lte=now),))
        yield "expired", Filter(must=(Range("servable_until", gt=now),))
        given = {name: value for name, value in query.model_dump().items() if value is not None}
        for name, value in given.items():
            yield f"of another {name}", parse_filter({name: value}, self._settings.attributes, now)

    def _seen(self, person: Person | None) -> Iterable[tuple[str, list[str]]]:
        profile = self._profiles.load(person)
        if profile is None:
            return
        counted: set[str] = set()
        for kind, why in SEEN.items():
            if kind in self._settings.reader.hide:
                items = profile.seen.hidden((kind,)).keys() - counted
                counted |= items
                yield why, sorted(map(item_point_id, items))
