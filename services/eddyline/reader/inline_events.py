"""What a request says that the person did this very moment: counted for its answer, and stored nowhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ValidationError

from eddyline.adapters.vectors import ITEMS, Sparse, VectorStore
from eddyline.errors import GenerationChanged, InvalidEvent, InvalidInput, Misconfigured
from eddyline.model.decay import decayed_count_at
from eddyline.model.events import Interaction, clamp_event_time, explain_validation_error, interaction_weight
from eddyline.model.ids import Person, item_point_id
from eddyline.model.profile import Profile, TimeConstants, WeightedInteraction
from eddyline.model.trends import POPULARITY, trend_tau
from eddyline.reader.schemas import RecentInteraction
from eddyline.settings import Settings


def parse_recent(recent: Sequence[RecentInteraction], settings: Settings, now: float) -> list[Interaction]:
    """As interactions, their types and times checked. Raises `InvalidInput` naming the field."""
    events = []
    for index, one in enumerate(recent):
        try:
            event = Interaction(**one.model_dump(mode="python"), anonymous_id="inline", event_id=f"inline:{index}")
            interaction_weight(event, settings.events)
            events.append(event.model_copy(update={"timestamp": clamp_event_time(event.timestamp, now)}))
        except InvalidEvent as error:
            raise InvalidInput(error.reason, f"recent.{index}.{error.field}") from None
        except ValidationError as error:
            reason, field = explain_validation_error(error)
            raise InvalidInput(reason, f"recent.{index}.{field}") from None
    return events


def apply_recent(
    profile: Profile | None, recent: Sequence[Interaction], store: VectorStore, settings: Settings, now: float
) -> Profile:
    """The profile as if these events had been folded already; unknown items are passed over. Raises `Unavailable`."""
    folded = profile.copy() if profile else Profile(Person("a", "inline"), settings.profile)
    taus = TimeConstants.of(settings.profile)
    ids = {item_point_id(event.item_id): event.item_id for event in recent}
    points = store.retrieve(ITEMS, list(ids), payload=("space", "trend"), vectors=("content",))
    known = {ids[point_id]: point for point_id, point in points.items() if "space" in point.payload}
    for event in recent:
        point = known.get(event.item_id)
        if point is None or isinstance(vector := point.vectors.get("content"), Sparse | None):
            continue
        try:
            folded.require_space(str(point.payload["space"]))
        except Misconfigured as error:  # the profile was read just before another generation went live
            raise GenerationChanged(str(error)) from error
        deed = WeightedInteraction(
            event.item_id,
            event.type,
            np.asarray(vector, dtype=np.float64),
            interaction_weight(event, settings.events),
            now if event.timestamp is None else event.timestamp,
            event.event_id or "",
            decayed_count_at(point.payload.get("trend", {}).get(POPULARITY), now, trend_tau(POPULARITY)),
        )
        folded.fold(deed, taus)
    return folded
