"""Search: items by what they are about, in an order that suits whoever searches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from eddyline.adapters.encoders import ImageEncoder, TextEncoder
from eddyline.adapters.vectors import ITEMS, Dense, Filter, IsEmpty, Match, Nearest, Query, VectorStore
from eddyline.errors import GenerationChanged, NotEnabled, Unavailable
from eddyline.model.distance import distance_of, query_vector
from eddyline.model.fusion import RELEVANCE, InterestVectors, fuse_lists, interest_vectors, rerank_by_interest
from eddyline.model.ids import Person
from eddyline.model.profile import TimeConstants
from eddyline.model.ranking import Hit, RankedItem
from eddyline.reader.catalogue_cache import SHOWN_AGE
from eddyline.reader.item_finder import SPARE, ItemFinder, to_hits
from eddyline.reader.lists import (
    FUSED,
    NO_ITEMS,
    ListContext,
    explain_by_source,
    single_source_items,
    with_ready_image,
)
from eddyline.reader.profiles import ProfileReader
from eddyline.reader.schemas import SearchQuery
from eddyline.settings import Settings

CACHED_QUERIES = 1000
"""Most query texts whose vectors are kept (1.5 KB each)."""
RERANKED = 50
"""Most relevant items that are reranked by a person's taste, beyond what paging needs."""
IMAGE = "picture"
"""The source that goes by images, as explanations call it."""
NO_IMAGES = (
    "this reader doesn't search by pictures: set images.enabled = true (EDDYLINE_IMAGES__ENABLED=true) and "
    "images.model, as for the imager, and start it again"
)
BECAUSE = {
    IMAGE: "its picture shows what you searched for",
    RELEVANCE: "close to what you searched for",
    "session": "close to what you are looking at now",
    "taste": "close to what you like",
}
NO_PICTURES = "no item has a picture yet"


class Search:
    """Finds items by the meaning of a text. May be called from any thread. `clock` in epoch seconds."""

    def __init__(
        self,
        store: VectorStore,
        settings: Settings,
        finder: ItemFinder,
        profiles: ProfileReader,
        encoder: TextEncoder,
        clock: Callable[[], float],
        images: ImageEncoder | None = None,
    ) -> None:
        """`finder` and `profiles`: a reader's; `images`: the image embedder's encoder, so that images are found; None
        where they are off."""
        self._store, self._settings, self._finder, self._profiles = store, settings, finder, profiles
        self._encoder, self._clock, self._images = encoder, clock, images
        self._taus = TimeConstants.from_settings(settings.profile)
        self._vectors: OrderedDict[str, Dense] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, query: SearchQuery) -> dict[str, Any]:
        """Return the items nearest to the text. Raises `InvalidInput`, `NotEnabled` by images where these are off, and
        `Unavailable` also where the items are of another model than this encoder."""
        try:
            return self._find(query)
        except GenerationChanged as error:  # it is of no use to retry: this encoder stays
            raise Unavailable(self._explain_mismatch(query) or str(error)) from error

    def _find(self, query: SearchQuery) -> dict[str, Any]:
        by = () if query.by == "text" else (query.by,)
        if by and self._images is None:
            raise NotEnabled(NO_IMAGES)
        kind = ("search", query.q, query.user_id, query.anonymous_id, *by)
        context = ListContext.from_query(kind, query, self._settings, self._clock())
        interest = None if by else self._interest(query, context.now)
        depth = context.depth + (FUSED if query.by == "both" else RERANKED if interest else 0)
        limit, with_image = depth + SPARE, Filter()
        queries: dict[str, Query] = {}
        if query.by != "image":
            nearest = Nearest(self._encode(query.q), "content", distance_of(self._encoder.space))
            queries[RELEVANCE] = Query(nearest, limit, context.filter)
        if by and self._images is not None:
            with_image = with_ready_image(self._images.space)
            nearest = Nearest(self._images.encode_texts([query.q])[0], "image")
            queries[IMAGE] = Query(nearest, limit, context.filter & with_image)
        hits = self._hits(context, queries, depth, ("content",) if interest else ())
        items = explain_by_source(self._ordered(hits, interest, depth), BECAUSE)
        response = context.page(items, query.explain, personalised=interest is not None)
        if query.by == "image":
            return context.with_reason(response, self._finder, ITEMS, queries[IMAGE].by, with_image, NO_PICTURES)
        return context.with_reason(response, self._finder, ITEMS, queries[RELEVANCE].by, Filter(), NO_ITEMS)

    def _hits(
        self, context: ListContext, queries: Mapping[str, Query], depth: int, vectors: tuple[str, ...]
    ) -> dict[str, list[Hit]]:
        """Search, and look up what was found. Raises `Unavailable` where the items are of another space."""
        found = self._finder.search(queries, {})
        points = (point.id for each in found.values() for point in each)
        known = self._finder.catalogue.find(points, context.passes, SHOWN_AGE, vectors)
        self._check_space(
            {str(known[point.id].payload.get("space")) for point in found.get(RELEVANCE, []) if point.id in known}
        )
        return {source: to_hits(each, known)[:depth] for source, each in found.items()}

    def _ordered(
        self, found: Mapping[str, list[Hit]], interest: InterestVectors | None, depth: int
    ) -> list[RankedItem]:
        """Order what was found: fused where it is of two models, whose similarities have no unit in common."""
        settings = self._settings.reader
        if len(found) > 1:
            shares = {RELEVANCE: 1.0 - settings.search_image_share, IMAGE: settings.search_image_share}
            return fuse_lists(found, shares, depth)
        ((source, hits),) = found.items()
        if interest is None:
            return single_source_items(hits, source)
        size = self._encoder.dimension
        comparable = [hit for hit in hits if hit.vector is not None and len(hit.vector) == size]
        return rerank_by_interest(comparable, interest, settings.search_taste_share)

    def _interest(self, query: SearchQuery, now: float) -> InterestVectors | None:
        """Look up what the person likes; None where nobody is named, nothing is known of them, or their profile is of
        another model."""
        person = Person.named(query.user_id, query.anonymous_id)
        if person is None or self._settings.reader.search_taste_share == 0:
            return None
        profile = self._profiles.load(person)
        if profile is None or profile.taste.space not in (None, self._encoder.space):
            return None
        return interest_vectors(profile, now, self._taus)

    def _encode(self, text: str) -> Dense:
        """Encode the text as what to search with, or take it from the cache."""
        with self._lock:
            known = self._vectors.get(text)
            if known is not None:
                self._vectors.move_to_end(text)
                return known
        vector: Dense = query_vector(self._encoder.encode([text])[0], distance_of(self._encoder.space))
        with self._lock:
            self._vectors[text] = vector
            while len(self._vectors) > CACHED_QUERIES:
                self._vectors.popitem(last=False)
        return vector

    def _check_space(self, stored: set[str]) -> None:
        others = stored - {self._encoder.space}
        if others:
            raise Unavailable(_space_mismatch(others, self._encoder))

    def _explain_mismatch(self, query: SearchQuery) -> str | None:
        """Name the setting that makes vectors which the stored ones can't be compared with; None where none does."""
        if query.by != "image" and (spaces := self._other_spaces()):
            return _space_mismatch(spaces, self._encoder)
        if query.by != "text" and self._images is not None:
            return (
                f"this reader's images.model makes {self._images.dimension} numbers, the stored pictures have others: "
                "set its images.model to the imager's and start it again"
            )
        return None

    def _other_spaces(self) -> set[str]:
        elsewhere = Filter(must_not=(IsEmpty("space"), Match("space", (self._encoder.space,))))
        found = self._store.scroll(ITEMS, filter=elsewhere, limit=1, payload=("space",))[0]
        return {str(point.payload["space"]) for point in found}


def _space_mismatch(spaces: set[str], encoder: TextEncoder) -> str:
    return (
        f"the items are in space {', '.join(sorted(spaces))}, this reader's encoder makes {encoder.space}: vectors of "
        "different models are never compared. Set its encoder.model, .distance and .template to the embedder's and "
        "start it again, or re-embed everything (`eddyline reembed`)"
    )
