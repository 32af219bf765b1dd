"""The collections, items and profiles: their vectors and their payload indexes."""

from __future__ import annotations

from collections.abc import Mapping

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec, IndexKind
from eddyline.model.distance import Distance
from eddyline.model.profile import STORED_VECTORS
from eddyline.model.trends import TREND_HALF_LIVES

ITEMS = "items"
PROFILES = "profiles"
"""Aliases of the live generation: for readers, and as what a collection is one of."""

ITEM_INDEXES: Mapping[str, IndexKind] = {
    "item_id": IndexKind.KEYWORD,
    "meta.category": IndexKind.KEYWORD,
    "meta.tags": IndexKind.KEYWORD,
    "language.code": IndexKind.KEYWORD,
    "language.detected": IndexKind.BOOL,
    "meta.published_at": IndexKind.FLOAT,
    "meta.expires_at": IndexKind.FLOAT,
    "meta.rating.value": IndexKind.FLOAT,
    **{f"trend.{window}": IndexKind.FLOAT for window in TREND_HALF_LIVES},
    "row.learnt": IndexKind.BOOL,
    "row.seed": IndexKind.INTEGER,
    "listed_at": IndexKind.FLOAT,
    "offer.available": IndexKind.BOOL,
    "offer.price": IndexKind.FLOAT,
}

IMAGE_INDEXES: Mapping[str, IndexKind] = {
    "image.state": IndexKind.KEYWORD,
    "image.space": IndexKind.KEYWORD,
    "image.partition": IndexKind.INTEGER,
    "image.next_at": IndexKind.FLOAT,
}

PROFILE_INDEXES: Mapping[str, IndexKind] = {
    "person": IndexKind.KEYWORD,
    "waiting": IndexKind.INTEGER,
    "epoch": IndexKind.FLOAT,
    "last_seen": IndexKind.FLOAT,
    "events": IndexKind.INTEGER,
    "segment": IndexKind.KEYWORD,
    "stub_since": IndexKind.FLOAT,
}


def item_collection(
    size: int, distance: Distance, attributes: Mapping[str, IndexKind], name: str = ITEMS
) -> CollectionSpec:
    """Items: dense `content` of `size` dimensions, sparse `affinity`; `attributes` are indexed."""
    declared = {f"meta.attributes.{name}": kind for name, kind in attributes.items()}
    return CollectionSpec(
        name=name,
        dense={"content": DenseSpec(size, distance)},
        sparse=("affinity",),
        indexes={**ITEM_INDEXES, **declared},
    )


def image_part(size: int, name: str = ITEMS) -> CollectionSpec:
    """What images add to items: the dense vector `image` of `size` dimensions (cosine), and its state's indexes."""
    return CollectionSpec(name=name, dense={"image": DenseSpec(size, Distance.COSINE)}, indexes=IMAGE_INDEXES)


def profile_collection(size: int, name: str = PROFILES) -> CollectionSpec:
    """Profiles: four dense sums of `size` dimensions, kept exactly, never searched, and sparse `history`."""
    accumulator = DenseSpec(size, Distance.DOT, indexed=False)
    return CollectionSpec(
        name=name,
        dense=dict.fromkeys(STORED_VECTORS, accumulator),
        sparse=("history",),
        indexes=PROFILE_INDEXES,
    )
