"""The collections of the store: made, completed, checked; and `eddyline init`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from eddyline.adapters.encoders import ClipEncoder, create_text_encoder
from eddyline.adapters.kafka import ensure_topics
from eddyline.adapters.telemetry import Metrics
from eddyline.adapters.vectors import (
    BLENDS,
    ITEMS,
    ROWS,
    CollectionSpec,
    VectorStore,
    blend_collection,
    generations,
    image_part,
    item_collection,
    profile_collection,
    row_collection,
)
from eddyline.adapters.vectors.generations import NAMES
from eddyline.errors import Misconfigured
from eddyline.maintenance.generations.row_completion import complete_rows
from eddyline.model.distance import Distance, distance_of
from eddyline.runtime.connections import kafka_options, open_store
from eddyline.settings import Settings

ABSENT_POINT = "00000000-0000-0000-0000-000000000000"
"""A point that isn't there."""


def check_collections(store: VectorStore) -> None:
    """Raise unless the store answers and holds its collections."""
    store.check()
    for name in (*NAMES, BLENDS):
        store.retrieve(name, [ABSENT_POINT], payload=())


def ensure_image_vectors(store: VectorStore, dimension: int) -> None:
    """Give the live items the vector `image`. Raises `Misconfigured` where they have one of another model's size."""
    store.ensure(image_part(dimension, generations.live(store).items))


def create_collections(store: VectorStore, settings: Settings, dimension: int, distance: Distance) -> None:
    """Complete the live collections with what they lack; make the first ones where none are live.

    An installation from before there were rows gets them, with what its items had learnt. Raises `Misconfigured` where
    they disagree.
    """
    items, profiles, rows = collection_specs(settings, dimension, distance)
    generations.establish(store, (items, profiles))
    if ROWS not in store.aliases():  # live when they are complete: another start goes on where this one was cut short
        first = generations.concrete(ROWS, 1)
        store.ensure(replace(rows, name=first))
        complete_rows(store, store.aliases()[ITEMS], first)
    generations.establish(store, (rows,))
    store.ensure(blend_collection())


def collection_specs(settings: Settings, dimension: int, distance: Distance) -> list[CollectionSpec]:
    """Return the specifications of the collections, under their logical names."""
    return [
        item_collection(dimension, distance, settings.attributes),
        profile_collection(),
        row_collection(settings.attributes),
    ]


def initialise_deployment(settings: Settings, report: Callable[[str], None]) -> None:
    """`eddyline init`: create topics and collections, verify what is there."""
    if not settings.kafka.bootstrap_servers or not settings.qdrant.url:
        raise Misconfigured(
            "init needs EDDYLINE_KAFKA__BOOTSTRAP_SERVERS and EDDYLINE_QDRANT__URL; `eddyline up` needs no init"
        )
    for topic, is_new in ensure_topics(kafka_options(settings)).items():
        report(f"topic {topic}: {'created' if is_new else 'as it should be'}")
    metrics = Metrics()
    encoder = create_text_encoder(settings, metrics)
    store = open_store(settings)
    try:
        create_collections(store, settings, encoder.dimension, distance_of(encoder.space))
        live = generations.live(store)
        completed = complete_rows(store, live.items, live.rows)
        report(
            f"rows of items: {completed.made:,} made, {completed.corrected:,} brought up to date, "
            f"{completed.rescaled:,} rescaled"
        )
        if settings.images.enabled:
            ensure_image_vectors(store, ClipEncoder(settings.images).dimension)
        for name in NAMES:
            report(f"collection {name}: {store.count(name):,} points")
    finally:
        store.close()
