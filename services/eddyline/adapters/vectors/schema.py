"""The collections, items and profiles: their vectors and their payload indexes."""

from __future__ import annotations

from collections.abc import Mapping

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec
from eddyline.model.distance import Distance
from eddyline.model.profile import DENSE_VECTORS
from eddyline.model.trends import TREND_HALF_LIVES
from eddyline.settings import AttributeKind

ITEMS = "items"
PROFILES = "profiles"
"""Aliases of the live generation, which readers use, and the logical names of collections."""

ITEM_INDEXES: Mapping[str, AttributeKind] = {
    "item_id": AttributeKind.KEYWORD,
    "meta.category": AttributeKind.KEYWORD,
    "meta.tags": AttributeKind.KEYWORD,
    "language.code": AttributeKind.KEYWORD,
    "language.detected": AttributeKind.BOOL,
    "meta.published_at": AttributeKind.FLOAT,
    "meta.expires_at": AttributeKind.FLOAT,
    "meta.rating.value": AttributeKind.FLOAT,
    **{f"trend.{window}": AttributeKind.FLOAT for window in TREND_HALF_LIVES},
    "row.learnt": AttributeKind.BOOL,
    "row.seed": AttributeKind.INTEGER,
    "listed_at": AttributeKind.FLOAT,
    "offer.available": AttributeKind.BOOL,
    "offer.price": AttributeKind.FLOAT,
}

IMAGE_INDEXES: Mapping[str, AttributeKind] = {
    "image.state": AttributeKind.KEYWORD,
    "image.space": AttributeKind.KEYWORD,
    "image.partition": AttributeKind.INTEGER,
    "image.next_at": AttributeKind.FLOAT,
}

PROFILE_INDEXES: Mapping[str, AttributeKind] = {
    "person": AttributeKind.KEYWORD,
    "waiting": AttributeKind.INTEGER,
    "epoch": AttributeKind.FLOAT,
    "last_seen": AttributeKind.FLOAT,
    "events": AttributeKind.INTEGER,
    "segment": AttributeKind.KEYWORD,
    "stub_since": AttributeKind.FLOAT,
}


def item_collection(
    size: int, distance: Distance, attributes: Mapping[str, AttributeKind], name: str = ITEMS
) -> CollectionSpec:
    """Specify items: dense `content` of `size` dimensions, sparse `affinity`; `attributes` are indexed."""
    declared = {f"meta.attributes.{name}": kind for name, kind in attributes.items()}
    return CollectionSpec(
        name=name,
        dense={"content": DenseSpec(size, distance)},
        sparse=("affinity",),
        indexes={**ITEM_INDEXES, **declared},
    )


def image_part(size: int, name: str = ITEMS) -> CollectionSpec:
    """Specify what images add to items: the dense vector `image` of `size` dimensions (cosine), and indexes."""
    return CollectionSpec(name=name, dense={"image": DenseSpec(size, Distance.COSINE)}, indexes=IMAGE_INDEXES)


def profile_collection(size: int, name: str = PROFILES) -> CollectionSpec:
    """Specify profiles: the dense sum `taste` of `size` dimensions, kept exactly, never indexed, and sparse `history`.

    Those made before had three more dense vectors, which their points lose as they change.
    """
    accumulator = DenseSpec(size, Distance.DOT, indexed=False)
    return CollectionSpec(
        name=name,
        dense=dict.fromkeys(DENSE_VECTORS, accumulator),
        sparse=("history",),
        indexes=PROFILE_INDEXES,
    )
