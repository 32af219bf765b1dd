"""The vector store: a contract, and two stores that keep it. The sole owner of Qdrant.

The stores are imported when first named, so that a server's client needs no Edge, nor the other way round.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eddyline.adapters.vectors.contract import (
    CollectionSpec,
    Dense,
    DenseSpec,
    Nearest,
    OrderBy,
    Payload,
    Point,
    PointStore,
    Query,
    Scored,
    Sparse,
    Vector,
    VectorStore,
    cosine_or_zero,
    scroll_pages,
)
from eddyline.adapters.vectors.generations import Collections
from eddyline.adapters.vectors.profile_points import retrieve_profiles, scroll_profiles
from eddyline.adapters.vectors.request_batches import in_batches
from eddyline.adapters.vectors.schema import (
    BLENDS,
    ITEMS,
    PROFILES,
    ROWS,
    blend_collection,
    image_part,
    item_collection,
    profile_collection,
    row_collection,
)
from eddyline.model.distance import Distance
from eddyline.model.filters import Condition, Filter, HasId, IsEmpty, Match, Range

if TYPE_CHECKING:
    from eddyline.adapters.vectors.edge_store import EdgeStore
    from eddyline.adapters.vectors.server_store import ServerStore

__all__ = [
    "BLENDS",
    "ITEMS",
    "PROFILES",
    "ROWS",
    "CollectionSpec",
    "Collections",
    "Condition",
    "Dense",
    "DenseSpec",
    "Distance",
    "EdgeStore",
    "Filter",
    "HasId",
    "IsEmpty",
    "Match",
    "Nearest",
    "OrderBy",
    "Payload",
    "Point",
    "PointStore",
    "Query",
    "Range",
    "Scored",
    "ServerStore",
    "Sparse",
    "Vector",
    "VectorStore",
    "blend_collection",
    "cosine_or_zero",
    "image_part",
    "in_batches",
    "item_collection",
    "profile_collection",
    "retrieve_profiles",
    "row_collection",
    "scroll_pages",
    "scroll_profiles",
]

_STORES = {"EdgeStore": "edge_store", "ServerStore": "server_store"}


def __getattr__(name: str) -> Any:
    if name not in _STORES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_STORES[name]}"), name)
