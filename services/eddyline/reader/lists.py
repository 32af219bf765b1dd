"""Lists: the cache of those that are the same for everyone, a page of any list, and an item as it is rendered."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from eddyline.adapters.vectors import ITEMS, Filter, Match, Nearest, OrderBy, Query, Scored, Sparse, VectorStore
from eddyline.model.filters import excluding_items, parse_filter, servable_items
from eddyline.model.ranking import Hit, RankedItem
from eddyline.model.trends import POPULARITY
from eddyline.reader.cursor import Cursor, parse_cursor, request_fingerprint
from eddyline.reader.schemas import ListQuery
from eddyline.settings import ReaderSettings, Settings

DISPLAY = (
    "item_id",
    "meta.title",
    "meta.category",
    "meta.url",
    "meta.expires_at",
    "listed_at",
    f"trend.{POPULARITY}",
    "trend.count",
)
"""The payload that is read of each candidate: what ranking needs, and what is rendered."""
MAX_CACHED_LISTS = 200
"""Most lists cached, of a few hundred items each."""
FUSED = 100
"""Items of each source that are fused into one list, beyond what paging needs."""

END = "the list ends here"
NO_ITEMS = "there is no item to show yet"
FILTERED = "nothing there matches: the filter and `exclude` leave none"


class ListCache:
    """Lists that are the same for everyone with an equal request: found once, shared for a moment, and kept a while for
    when the vector store doesn't answer. May be called from any thread. `monotonic` in seconds."""

    def __init__(self, store: VectorStore, settings: ReaderSettings, monotonic: Callable[[], float]) -> None:
        self._store, self._settings, self._monotonic = store, settings, monotonic
        self._lists: dict[tuple[Any, ...], tuple[float, list[Scored]]] = {}
        """Each with the time when it was found."""
        self._lock = threading.Lock()

    def find(self, key: tuple[Any, ...], query: Query) -> list[Scored]:
        """Return the list under this key, or what the query finds; reused for `reader.list_cache_seconds`.

        Raises `Unavailable`.
        """
        fresh = self.get_fresh(key)
        if fresh is not None:
            return fresh
        found = self._store.query(ITEMS, [query])[0]
        self.put(key, found)
        return found

    def put(self, key: tuple[Any, ...], found: list[Scored]) -> None:
        """Keep a list that was found just now; drop what is too stale, or too much."""
        now = self._monotonic()
        with self._lock:
            self._lists[key] = (now, found)
            for stale in [k for k, (at, _) in self._lists.items() if now - at > self._settings.stale_seconds]:
                del self._lists[stale]
            while len(self._lists) > MAX_CACHED_LISTS:
                del self._lists[next(iter(self._lists))]

    def get_fresh(self, key: tuple[Any, ...]) -> list[Scored] | None:
        """Return the list under this key, where it was found a moment ago."""
        with self._lock:
            at, found = self._lists.get(key, (-math.inf, []))
        return found if self._monotonic() - at < self._settings.list_cache_seconds else None

    def get_stale(self, *key_prefix: Any) -> list[Scored] | None:
        """Return the longest list whose key begins like this, of those that may still be served."""
        oldest = self._monotonic() - self._settings.stale_seconds
        with self._lock:
            lists = [
                found
                for key, (at, found) in self._lists.items()
                if at >= oldest and key[: len(key_prefix)] == key_prefix
            ]
        return max(lists, key=len, default=None)


@dataclass(frozen=True, slots=True)
class ListContext:
    """One filtered and paged list. `key`: what makes it another list for the cache; `now` in epoch seconds."""

    key: tuple[Any, ...]
    filter: Filter
    cursor: Cursor
    now: float

    @classmethod
    def from_query(
        cls,
        kind: tuple[str | None, ...],
        query: ListQuery,
        settings: Settings,
        now: float,
        exclude: frozenset[str] = frozenset(),
    ) -> ListContext:
        """Read what all lists have in common; `kind`: which list, and of what. Raises `InvalidInput`."""
        grammar = query.filter_grammar()
        given = parse_filter(grammar, settings.attributes, now)
        cursor = parse_cursor(query.next, request_fingerprint(kind, grammar, query.exclude), query.limit)
        excluded = exclude.union(query.exclude)
        return cls((*kind, given, excluded), servable_items(now) & given & excluding_items(excluded), cursor, now)

    @property
    def depth(self) -> int:
        """How many items to search for, so that this page is full."""
        return self.cursor.limit + self.cursor.depth

    def page(self, items: Iterable[RankedItem], explain: bool = False, **more: Any) -> dict[str, Any]:
        """Render this page of the items, best first; `more` are further members of the response."""
        page = list(islice((item for item in items if not self.cursor.has_served(item.item_id)), self.cursor.limit))
        rendered = render_items(page, self.cursor, explain)
        return {"items": rendered, "next": self.cursor.after(page), "degraded": False} | more

    def with_reason(
        self, response: dict[str, Any], store: VectorStore, by: Nearest | OrderBy, own: Filter, otherwise: str
    ) -> dict[str, Any]:
        """Add a `reason` to a response without items: `otherwise`, unless there are some without the request's filter.

        `own`: the list's conditions whatever is requested. Raises `Unavailable`.
        """
        if response["items"]:
            return response
        if self.cursor.depth:
            return response | {"reason": END}
        is_filtered = bool(store.query(ITEMS, [Query(by, 1, servable_items(self.now) & own)])[0])
        return response | {"reason": FILTERED if is_filtered else otherwise}


def to_hits(points: Iterable[Scored]) -> list[Hit]:
    """Convert what a store found, each with its content vector, where that was read."""
    return [
        Hit(
            str(point.payload["item_id"]),
            point.score,
            point.payload,
            None if isinstance(vector := point.vectors.get("content"), Sparse) else vector,
        )
        for point in points
    ]


def single_source_items(
    points: Iterable[Scored], source: str, score: Callable[[float], float] = float
) -> list[RankedItem]:
    """Keep a store's own order, whose score is all there is to explain; `score` converts the store's."""
    scored = (hit._replace(score=score(hit.score)) for hit in to_hits(points))
    return [RankedItem(hit.item_id, hit.score, hit.payload, {source: round(hit.score, 6)}) for hit in scored]


def explain_by_source(items: Iterable[RankedItem], sentences: Mapping[str, str]) -> list[RankedItem]:
    """Give each item the sentence of the source that its largest term is of."""
    return [
        replace(item, because=sentences[max(item.terms, key=lambda term: (item.terms[term], term))]) for item in items
    ]


def unexpired(points: Iterable[Scored], now: float) -> list[Scored]:
    """Leave out what has expired since it was found."""
    return [point for point in points if point.payload.get("meta", {}).get("expires_at", math.inf) > now]


def with_ready_image(space: str) -> Filter:
    """Match items whose image is ready, and of this space: a vector that is left of a removed one doesn't count."""
    return Filter(must=(Match("image.state", ("ready",)), Match("image.space", (space,))))


def render_items(items: Sequence[RankedItem], cursor: Cursor, explain: bool) -> list[dict[str, Any]]:
    """Render a page of a list as JSON; ranks go on from the pages before."""
    return [_render_item(item, rank, explain) for rank, item in enumerate(items, start=cursor.depth + 1)]


def _render_item(item: RankedItem, rank: int, explain: bool) -> dict[str, Any]:
    meta = item.payload.get("meta", {})
    rendered: dict[str, Any] = {"item_id": item.item_id, "rank": rank, "score": round(item.score, 6)}
    rendered |= {name: meta.get(name) for name in ("title", "category", "url")}
    if explain:
        rendered |= {"because": item.because, "scores": dict(item.terms)}
    if item.is_repeat:
        rendered["repeat"] = True
    if item.promotion is not None:
        rendered["promotion"] = item.promotion
    return rendered
