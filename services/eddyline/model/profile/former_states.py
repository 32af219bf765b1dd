"""What older versions of a profile's state hold of the items that a person has met: events without their places.

Version 1 is a JSON object, with the sets as lists. Version 2 is packed as the present one is, but times are columns, in
planes (all first bytes, then all second ones, …), and popularities have a byte more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eddyline.model.exposures import ExposureHistory
from eddyline.model.newest_items import NewestItems
from eddyline.model.placed_time import UNPLACED
from eddyline.model.profile.item_table import StoredItems, to_times
from eddyline.model.profile.narrow import restore_byte
from eddyline.model.profile.seen_items import SeenItems
from eddyline.settings import ProfileSettings

TIME_BYTES = 8
LOWEST_BYTE = 0
"""Of a popularity's four, which is left out."""


def read_first_version(fields: Mapping[str, Any], settings: ProfileSettings) -> SeenItems:
    """Return the sets of a state of the first version."""
    # Profiles of before `shown` and `popularity` were kept lack them.
    shown = {item_id: tuple(minutes) for item_id, minutes in fields.get("shown", {}).items()}
    return SeenItems(
        recents=_unplaced(settings.recents, fields["recents"]),
        viewed=_unplaced(settings.seen, fields["viewed"]),
        purchased=_unplaced(settings.seen, fields["purchased"]),
        disliked=_unplaced(settings.seen, fields["disliked"]),
        liked=_unplaced(settings.seen, fields["liked"]),
        shown=ExposureHistory.from_minutes(settings.exposures, shown),
        popularity=fields.get("popularity", {}),
        counted=fields["counted"],
    )


def unpack_second_version(fields: Mapping[str, Any], columns: bytes, popularities: bytes) -> StoredItems:
    """Return the items of a state of the second version."""
    ids = fields["ids"]
    planes = np.frombuffer(columns[len(ids) :], np.uint8).reshape(TIME_BYTES, -1)
    times = to_times(np.ascontiguousarray(planes.T).view(np.int64).ravel(), fields["unit"])
    entries = [(time, UNPLACED) for time in times]
    popularity = np.frombuffer(restore_byte(popularities, 4, LOWEST_BYTE), "<f4").tolist()
    return StoredItems(ids, columns[: len(ids)], fields["own"], entries, popularity)


def _unplaced(size: int, times: Any) -> NewestItems:
    """Return items with their times. `times`: an object, or a list of pairs."""
    return NewestItems.from_entries(size, {item_id: (time, UNPLACED) for item_id, time in dict(times).items()})
