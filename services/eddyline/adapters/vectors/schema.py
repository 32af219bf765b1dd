"""The collections, items, rows and profiles: their vectors and their payload indexes."""

from __future__ import annotations

from collections.abc import Mapping

from eddyline.adapters.vectors.contract import CollectionSpec, DenseSpec
from eddyline.model.distance import Distance
from eddyline.model.trends import TREND_HALF_LIVES
from eddyline.settings import AttributeKind

ITEMS = "items"
ROWS = "rows"
PROFILES = "profiles"
"""Aliases of the live generation, which readers use, and the logical names of collections."""

BLENDS = "blends"
"""What learned strategies have learnt: one point for each strategy and partition of `activity`; of no generation."""

LISTING_INDEXES: Mapping[str, AttributeKind] = {
    "item_id": AttributeKind.KEYWORD,
    "servable": AttributeKind.BOOL,
    "servable_from": AttributeKind.FLOAT,
    "servable_until": AttributeKind.FLOAT,
    "meta.category": AttributeKind.KEYWORD,
    "meta.tags": AttributeKind.KEYWORD,
    "language.code": AttributeKind.KEYWORD,
    "language.detected": AttributeKind.BOOL,
    "meta.published_at": AttributeKind.FLOAT,
    "meta.expires_at": AttributeKind.FLOAT,
    "meta.rating.value": AttributeKind.FLOAT,
    "listed_at": AttributeKind.FLOAT,
    "offer.available": AttributeKind.BOOL,
    "offer.price": AttributeKind.FLOAT,
}
"""What lists filter by, under the same paths in items and rows."""

ITEM_INDEXES: Mapping[str, AttributeKind] = {**LISTING_INDEXES, "space": AttributeKind.KEYWORD}

ROW_INDEXES: Mapping[str, AttributeKind] = {
    **LISTING_INDEXES,
    **{f"trend.{window}": AttributeKind.FLOAT for window in TREND_HALF_LIVES},
    "row.learnt": AttributeKind.BOOL,
    "row.seed": AttributeKind.INTEGER,
    "epoch": AttributeKind.FLOAT,
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
    "active_at": AttributeKind.FLOAT,
    "forward": AttributeKind.KEYWORD,
}


def item_collection(
    size: int, distance: Distance, attributes: Mapping[str, AttributeKind], name: str = ITEMS
) -> CollectionSpec:
    """Specify items: dense `content` of `size` dimensions; `attributes` are indexed."""
    return CollectionSpec(
        name=name,
        dense={"content": DenseSpec(size, distance)},
        indexes={**ITEM_INDEXES, **_attribute_indexes(attributes)},
    )


def row_collection(attributes: Mapping[str, AttributeKind], name: str = ROWS) -> CollectionSpec:
    """Specify rows: sparse `affinity` and no dense vector, so that a write touches no graph; `attributes` are
    indexed."""
    return CollectionSpec(
        name=name,
        dense={},
        sparse=("affinity",),
        indexes={**ROW_INDEXES, **_attribute_indexes(attributes)},
    )


def blend_collection() -> CollectionSpec:
    """Specify blends: a few points, none of which has the vector that Edge wants every collection to have."""
    return CollectionSpec(name=BLENDS, dense={}, sparse=("none",), indexes={"strategy": AttributeKind.KEYWORD})


def _attribute_indexes(attributes: Mapping[str, AttributeKind]) -> dict[str, AttributeKind]:
    return {f"meta.attributes.{name}": kind for name, kind in attributes.items()}


def image_part(size: int, name: str = ITEMS) -> CollectionSpec:
    """Specify what images add to items: the dense vector `image` of `size` dimensions (cosine), and indexes."""
    return CollectionSpec(name=name, dense={"image": DenseSpec(size, Distance.COSINE)}, indexes=IMAGE_INDEXES)


def profile_collection(name: str = PROFILES) -> CollectionSpec:
    """Specify profiles: sparse `history`, and no dense vector, which nothing is searched by.

    Those made before had dense ones, the sum `taste` or all four vectors, which their points lose as they change.
    """
    return CollectionSpec(name=name, dense={}, sparse=("history",), indexes=PROFILE_INDEXES)
