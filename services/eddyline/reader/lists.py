"""Lists: what all have in common, a page of any, and an item as it is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from eddyline.adapters.vectors import Filter, Match, Nearest, OrderBy
from eddyline.model.filters import excluding_items, parse_filter, servable_items
from eddyline.model.ranking import Hit, RankedItem
from eddyline.reader.catalogue_cache import Passes, passing
from eddyline.reader.cursor import Cursor, cursor_key, parse_cursor, request_fingerprint
from eddyline.reader.item_finder import ItemFinder
from eddyline.reader.schemas import ListQuery
from eddyline.settings import Settings

FUSED = 100
"""Items of each source that are fused into one list, beyond what paging needs."""

END = "the list ends here"
NO_ITEMS = "there is no item to show yet"
FILTERED = "nothing there matches: the filter and `exclude` leave none"


@dataclass(frozen=True, slots=True)
class ListContext:
    """One filtered and paged list. `key`: what makes it another list for the cache; `passes`: whether an item that was
    found may be on it; `now` in epoch seconds."""

    key: tuple[Any, ...]
    filter: Filter
    passes: Passes
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
        fingerprint = request_fingerprint(kind, grammar, query.exclude)
        cursor = parse_cursor(query.next, fingerprint, query.limit, cursor_key(settings.identity.secret))
        excluded = exclude.union(query.exclude)
        filter = servable_items(now) & given & excluding_items(excluded)
        return cls((*kind, given, excluded), filter, passing(given, now), cursor, now)

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
        self,
        response: dict[str, Any],
        finder: ItemFinder,
        collection: str,
        by: Nearest | OrderBy,
        own: Filter,
        otherwise: str,
    ) -> dict[str, Any]:
        """Add a `reason` to a response without items: `otherwise`, unless there are some without the request's filter.

        `own`: the list's conditions whatever is requested. Raises `Unavailable`.
        """
        if response["items"]:
            return response
        if self.cursor.depth:
            return response | {"reason": END}
        is_filtered = finder.any(collection, by, servable_items(self.now) & own)
        return response | {"reason": FILTERED if is_filtered else otherwise}


def single_source_items(hits: Iterable[Hit], source: str, score: Callable[[float], float] = float) -> list[RankedItem]:
    """Keep a store's own order, whose score is all there is to explain; `score` converts the store's."""
    scored = (hit._replace(score=score(hit.score)) for hit in hits)
    return [RankedItem(hit.item_id, hit.score, hit.payload, {source: round(hit.score, 6)}) for hit in scored]


def explain_by_source(items: Iterable[RankedItem], sentences: Mapping[str, str]) -> list[RankedItem]:
    """Give each item the sentence of the source that its largest term is of."""
    return [
        replace(item, because=sentences[max(item.terms, key=lambda term: (item.terms[term], term))]) for item in items
    ]


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
