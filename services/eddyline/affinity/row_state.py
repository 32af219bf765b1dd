"""One item's row as it is stored: what it learnt, how far its log is folded into it, and what lists filter it by."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eddyline.adapters.kafka import Record
from eddyline.adapters.vectors import Point, Sparse
from eddyline.model import affinity
from eddyline.model.affinity import NO_ROW, AffinityRow
from eddyline.model.decay import add_to_decayed_count
from eddyline.model.events import Activity, Listing
from eddyline.model.ids import fingerprint, item_point_id
from eddyline.model.listing import row_listing
from eddyline.model.offsets import stored_offset
from eddyline.model.trends import TREND_HALF_LIVES, trend_tau
from eddyline.settings import AffinitySettings

VECTOR = "affinity"
SOURCES = 256
"""Newest records remembered per item, to recognise those that a profiler sends twice around a crash."""
_SOURCE_HASH_LENGTH = 8
"""Length of what stands for each: 48 bits of its source's hash in base64, half as long as in a list of numbers."""


@dataclass(frozen=True, slots=True)
class RowState:
    """A row, immutable, so that a failed write leaves what is cached as it was.

    `fields` (of `model.listing`, with their `source`) and `offer` are the embedder's; `log` and `offset` the watermark,
    `first` the first offset of that log that was applied, `first_count` how often the item had come before; `learnt`:
    whether it learnt of events (not only a seed).
    """

    fields: Mapping[str, Any]
    offer: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    row: AffinityRow = NO_ROW
    trend: Mapping[str, float] = field(default_factory=dict)
    learnt: bool = False
    seed: int = 0
    """Neighbours that it was seeded from."""
    log: str | None = None
    offset: int = -1
    first: int | None = None
    first_count: int = 0
    sources: Sequence[str] = ()
    epoch: float = 0.0
    """That it was stored under."""

    @property
    def item_id(self) -> str:
        """Return whose it is."""
        return str(self.fields["item_id"])

    @classmethod
    def from_point(cls, point: Point, settings: AffinitySettings) -> RowState:
        """Read what `to_point` has written."""
        payload = point.payload
        known: Mapping[str, Any] = payload.get("row") or {}
        sources: str = known.get("sources", "")
        return cls(
            {name: payload[name] for name in ("item_id", "language", "listed_at", "meta") if name in payload},
            payload.get("offer") or {},
            payload.get("source") or {},
            restored_row(known, point.vectors.get(VECTOR), settings),
            payload.get("trend") or {},
            bool(known.get("learnt")),
            known.get("seed", 0),
            known.get("log"),
            known.get("offset", -1),
            known.get("first"),
            known.get("first_count", 0),
            tuple(sources[at : at + _SOURCE_HASH_LENGTH] for at in range(0, len(sources), _SOURCE_HASH_LENGTH)),
            float(payload.get("epoch", 0.0)),
        )

    def to_point(self, settings: AffinitySettings, epoch: float) -> Point:
        """Return the point: the row over its divisor as the vector that is searched, all else as the payload."""
        row = {
            "count": self.row.count,
            "time": self.row.time,
            "divisor": affinity.divisor(self.row.count, settings),
            "unit": affinity.EVIDENCE_UNIT,
            "learnt": self.learnt,
            "seed": self.seed,
            "log": self.log,
            "offset": self.offset,
            "first": self.first,
            "first_count": self.first_count,
            "sources": "".join(self.sources),
        }
        payload = {**row_listing(self.fields, self.offer), "source": dict(self.source), "row": row, "epoch": epoch}
        if self.trend:
            payload["trend"] = dict(self.trend)
        vectors = {VECTOR: Sparse(self.row.indices, self.row.stored(settings))} if len(self.row.indices) else {}
        return Point(item_point_id(self.item_id), vectors, payload)


class RowUpdate:
    """What a batch makes of one row. `state` None: there is none, so nothing is learnt, until the item is listed."""

    def __init__(self, state: RowState | None, settings: AffinitySettings) -> None:
        self._settings = settings
        self._state = state
        self._updates: list[AffinityRow] = []
        self.changed = False
        self.applied = 0
        """Activities that were learnt from."""
        self.samples: list[Activity] = []
        """Those of them that weights are fitted to."""

    def apply(self, event: Activity | Listing, record: Record) -> None:
        """Apply a record, unless it was applied before: by its offset, or sent again by a profiler that crashed."""
        state, log = self._state, f"{record.log}:{record.partition}"
        if state is not None and log == state.log and record.offset <= state.offset:
            return
        changes: dict[str, Any] = {}
        if isinstance(event, Listing):
            self._list(event)
        elif state is None:
            return
        else:
            changes = self._learn(event, state)
        self.changed = True
        if self._state is not None:
            if state is None or state.log != log or state.first is None:
                came_before = 0 if state is None else int(state.trend.get("count", 0))
                changes |= {"first": record.offset, "first_count": came_before}
            self._state = replace(self._state, log=log, offset=record.offset, **changes)

    def result(self) -> RowState | None:
        """Return the row after all of it; None where the item is gone."""
        if self._state is None or not self._updates:
            return self._state
        learnt = self._state.learnt or any(len(update.indices) for update in self._updates)
        row = affinity.fold(self._state.row, self._updates, self._settings)
        return replace(self._state, row=row, learnt=learnt)

    def _list(self, event: Listing) -> None:
        """Take what the embedder wrote, unless it is older than what is known: of the content by its place in the log,
        of price and stock by the time at which they were so."""
        if event.origin is not None and self._state is not None:
            known = stored_offset(self._state.source, event.origin.position)
            if known is not None and event.origin.offset < known:
                return
        if event.gone:
            self._state = None
            self._updates.clear()
            return
        if event.fields is not None:
            source = {} if event.origin is None else event.origin.position._asdict()
            state = self._state or RowState(event.fields)
            self._state = replace(state, fields={"item_id": event.item_id, **event.fields}, source=source)
        if event.offer is not None and self._state is not None and not _is_older(event.offer, self._state.offer):
            self._state = replace(self._state, offer=event.offer)

    def _learn(self, event: Activity, state: RowState) -> dict[str, Any]:
        """Note what the row learns; return what it changes beside."""
        source = _source_hash(event.source)
        if source in state.sources:
            return {}
        self.applied += 1
        if event.before is not None:
            self.samples.append(event)
        trend = state.trend
        if event.position is None:
            self._updates.append(affinity.forward_update(event.dimensions, event.timestamp))
            trend = _counted(trend, event.timestamp)
        else:
            self._updates += [
                affinity.backward_update(follower, event.position, event.timestamp)
                for follower in event.dimensions.tolist()
            ]
        return {"sources": (*state.sources, source)[-SOURCES:], "trend": trend}


def restored_row(known: Mapping[str, Any], vector: object, settings: AffinitySettings) -> AffinityRow:
    """Return the row of a stored point, from its payload object `row` and its vector."""
    count, time = float(known.get("count", 0.0)), float(known.get("time", 0.0))
    if not isinstance(vector, Sparse):
        return AffinityRow.from_weights({}, count, time)
    divided_by = float(known.get("divisor", affinity.divisor(0.0, settings)))
    return affinity.restore_row(vector.indices, vector.values, divided_by, count, time, known.get("unit"))


def _counted(trend: Mapping[str, float], time: float) -> dict[str, float]:
    windows = {
        window: add_to_decayed_count(trend.get(window), 1.0, time, trend_tau(window)) for window in TREND_HALF_LIVES
    }
    return {**windows, "count": trend.get("count", 0) + 1}


def _is_older(offer: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return bool(offer.get("at", 0.0) < known.get("at", 0.0))


def _source_hash(source: str) -> str:
    return b64encode((fingerprint(source) & 0xFFFF_FFFF_FFFF).to_bytes(6, "big")).decode()
