"""Search: items by what they are about, in an order that suits whoever asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from eddyline.adapters.encoders import ImageEncoder, TextEncoder
from eddyline.adapters.vectors import ITEMS, Dense, Filter, IsEmpty, Match, Nearest, Query, Scored, VectorStore
from eddyline.errors import GenerationChanged, NotEnabled, Unavailable
from eddyline.model.distance import distance_of, query_vector
from eddyline.model.filters import excluding_items, parse_filter, servable_items
from eddyline.model.fusion import RELEVANCE, InterestVectors, fuse_scores, interest_vectors, rerank_by_interest
from eddyline.model.ids import Person
from eddyline.model.profile import TimeConstants
from eddyline.reader.browse_requests import SearchQuery
from eddyline.reader.cursor import parse_cursor, request_fingerprint
from eddyline.reader.lists import DISPLAY, END, FILTERED, NO_ITEMS, ListContext, ListEntry, explained_entries
from eddyline.reader.people import ProfileReader
from eddyline.reader.pictures import with_ready_image
from eddyline.settings import Settings

CACHED_QUERIES = 1000
"""Most query texts whose vectors are kept (1.5 KB each)."""
LEANED = 50
"""Most relevant items among which a person's taste has a say, beyond what paging needs."""
BLENDED = 100
"""Items of each source that are blended into one list, beyond what paging needs."""
PICTURE = "picture"
NO_IMAGES = (
    "this reader doesn't search by pictures: set images.enabled = true (EDDYLINE_IMAGES__ENABLED=true) and "
    "images.model, as for the imager, and start it again"
)
BECAUSE = {
    PICTURE: "its picture shows what you searched for",
    RELEVANCE: "close to what you searched for",
    "session": "close to what you are looking at now",
    "taste": "close to what you like",
}


NO_PICTURES = "no item has a picture yet"


def _space_mismatch(spaces: set[str], encoder: TextEncoder) -> str:
    return (
        f"the items are in space {', '.join(sorted(spaces))}, this reader's encoder makes {encoder.space}: vectors of "
        "different models are never compared. Set its encoder.model, .distance and .template to the embedder's and "
        "start it again, or re-embed everything (`eddyline reembed`)"
    )


class Search:
    """Finds items by the meaning of a text. May be called from any thread. `clock` in epoch seconds."""

    def __init__(
        self,
        store: VectorStore,
        settings: Settings,
        people: ProfileReader,
        encoder: TextEncoder,
        clock: Callable[[], float],
        images: ImageEncoder | None = None,
    ) -> None:
        """`images`: the imager's, so that pictures are found; None where images are off."""
        self._images = images
        self._store, self._settings, self._people, self._encoder = store, settings, people, encoder
        self._clock = clock
        self._taus = TimeConstants.of(settings.profile)
        self._vectors: OrderedDict[str, Dense] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, query: SearchQuery) -> dict[str, Any]:
        """The items nearest to the text. Raises `InvalidInput`, `NotEnabled` by pictures where images are off, and
        `Unavailable` also where the items are of another model than this encoder."""
        try:
            return self._find(query)
        except GenerationChanged as error:  # of no use to ask again: this encoder stays
            raise Unavailable(self._unsuited(query) or str(error)) from error

    def _find(self, query: SearchQuery) -> dict[str, Any]:
        now = self._clock()
        if query.by != "text":
            return self._find_pictures(query, now)
        listing = self._listing(query, now)
        person = self._leaning(query, now)
        depth = listing.depth + (LEANED if person else 0)
        nearest = self._to_text(query.q)
        vectors = ("content",) if person else ()
        found = self._store.query(ITEMS, [Query(nearest, depth, listing.condition, (*DISPLAY, "space"), vectors)])[0]
        self._check_space(found)
        order = self._leant(found, person) if person else explained_entries(found, RELEVANCE, BECAUSE[RELEVANCE])
        answer = listing.page(order, query.explain, personalised=person is not None)
        if answer["items"]:
            return answer
        return answer | {"reason": self._why_empty(listing, nearest, now)}

    def _find_pictures(self, query: SearchQuery, now: float) -> dict[str, Any]:
        """By what pictures show, alone or blended with the text."""
        if self._images is None:
            raise NotEnabled(NO_IMAGES)
        listing = self._listing(query, now)
        with_picture = with_ready_image(self._images.space)
        nearest = Nearest(self._images.encode_texts([query.q])[0], "image")
        if query.by == "image":
            pictures = Query(nearest, listing.depth, listing.condition & with_picture, DISPLAY)
            order = explained_entries(self._store.query(ITEMS, [pictures])[0], PICTURE, BECAUSE[PICTURE])
        else:
            order = self._both(query, listing, nearest, with_picture)
        answer = listing.page(order, query.explain, personalised=False)
        if answer["items"]:
            return answer
        if listing.position.depth:
            return answer | {"reason": END}
        if query.by == "both":
            text = self._to_text(query.q)
            return answer | {"reason": self._why_empty(listing, text, now)}
        anything = self._store.query(ITEMS, [Query(nearest, 1, servable_items(now) & with_picture)])[0]
        return answer | {"reason": FILTERED if anything else NO_PICTURES}

    def _both(
        self, query: SearchQuery, listing: ListContext, nearest: Nearest, with_picture: Filter
    ) -> list[ListEntry]:
        """Blended min-max (see `model.blending`): two models' similarities have no unit in common."""
        depth = listing.depth + BLENDED
        text = self._to_text(query.q)
        queries = [
            Query(text, depth, listing.condition, (*DISPLAY, "space")),
            Query(nearest, depth, listing.condition & with_picture, DISPLAY),
        ]
        texts, pictures = self._store.query(ITEMS, queries)
        self._check_space(texts)
        found = {RELEVANCE: texts, PICTURE: pictures}
        payloads = {point.id: point.payload for points in found.values() for point in points}
        share = self._settings.reader.search_image_share
        blended = fuse_scores(
            {source: {point.id: point.score for point in points} for source, points in found.items()},
            {RELEVANCE: 1.0 - share, PICTURE: share},
            {source: points[-1].score for source, points in found.items() if len(points) == depth},
        )
        return [
            ListEntry(str(payloads[b.name]["item_id"]), b.score, payloads[b.name], b.terms, BECAUSE[b.strongest])
            for b in blended
        ]

    def _listing(self, query: SearchQuery, now: float) -> ListContext:
        wanted = parse_filter(query.grammar(), self._settings.attributes, now)
        by = () if query.by == "text" else (query.by,)
        asked = ("search", query.q, query.user_id, query.anonymous_id, *by)
        position = parse_cursor(query.next, request_fingerprint(asked, query.grammar(), query.exclude), query.limit)
        return ListContext(asked, servable_items(now) & wanted & excluding_items(query.exclude), position)

    def _leaning(self, query: SearchQuery, now: float) -> InterestVectors | None:
        """None where nobody is named, nothing is known of them, or their profile is of another model."""
        person = Person.named(query.user_id, query.anonymous_id)
        if person is None or self._settings.reader.search_taste_share == 0:
            return None
        profile = self._people.profile(person)
        if profile is None or profile.space not in (None, self._encoder.space):
            return None
        return interest_vectors(profile, now, self._taus)

    def _to_text(self, text: str) -> Nearest:
        return Nearest(self._encoded(text), "content", distance_of(self._encoder.space))

    def _encoded(self, text: str) -> Dense:
        """What to search with."""
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

    def _check_space(self, found: list[Scored]) -> None:
        spaces = {str(point.payload.get("space")) for point in found} - {self._encoder.space}
        if spaces:
            raise Unavailable(_space_mismatch(spaces, self._encoder))

    def _unsuited(self, query: SearchQuery) -> str | None:
        """Which setting makes vectors that the stored ones can't be compared with; None where none does."""
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

    def _leant(self, found: list[Scored], person: InterestVectors) -> list[ListEntry]:
        if not found:
            return []
        payloads: Mapping[str, Mapping[str, Any]] = {point.id: point.payload for point in found}
        rows = np.asarray([point.vectors["content"] for point in found], dtype=np.float64)
        blended = rerank_by_interest(
            list(payloads), [point.score for point in found], rows, person, self._settings.reader.search_taste_share
        )
        return [
            ListEntry(str(payloads[b.name]["item_id"]), b.score, payloads[b.name], b.terms, BECAUSE[b.strongest])
            for b in blended
        ]

    def _why_empty(self, listing: ListContext, nearest: Nearest, now: float) -> str:
        if listing.position.depth:
            return END
        return FILTERED if self._store.query(ITEMS, [Query(nearest, 1, servable_items(now))])[0] else NO_ITEMS
