"""The rows that insights keeps: what they are called, what is in them, and how they are written.

A *cell* is one tumbling window of one combination of dimensions. All its measures but the two sketches are sums, so a
coarser cell is the sum of finer ones, and the cells of several partitions add up. Rows are kept by partition: a reader
of the table sums those of the same key.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import datasketches
import orjson

from eddyline.model.experiments.moments import Moments
from eddyline.settings import InsightsSettings

Size: TypeAlias = Literal["minute", "hour", "day"]
SECONDS: Final[Mapping[Size, int]] = {"minute": 60, "hour": 3600, "day": 86_400}
DAY = 86_400


def retention_seconds(settings: InsightsSettings) -> dict[Size, float]:
    """How long windows of each size are kept once they are over."""
    return {
        "minute": settings.minutes_kept_hours * SECONDS["hour"],
        "hour": settings.hours_kept_days * DAY,
        "day": settings.days_kept * DAY,
    }


MEASURES: Final[Mapping[str, str]] = {
    "requests": "lists served; those made ahead once they are opened",
    "empty": "lists without any item",
    "degraded": "lists from a cache, while the vector store didn't answer",
    "served": "items of those lists",
    "impressions": "items that were seen: as the app says, else all that were served",
    "clicks": "items of a list that were clicked, each once a list",
    "new_items": "impressions of items that were new",
    "dwells": "events with a dwell time on an item of a list",
    "dwell_ms": "their dwell times together, in whole milliseconds",
    "conversions": "conversions of an item of a list",
    "revenue": "their values together, in millionths",
    "organic_clicks": "clicks on what no list had shown",
    "organic_conversions": "conversions of what no list had shown",
    "organic_revenue": "their values together, in millionths",
    "visitors": "people, counted exactly; in windows of a day only",
    "returned_1": "of them: those who were there on the next day too",
    "returned_7": "of them: those who were there on the seventh day after",
}
"""Every sum of a cell. `requests`, `empty`, `degraded`, `visitors`, `returned_*` and latencies belong to no item, and
are in the cell without a category."""
MILLIONTHS = 1_000_000
MOST = 2**63 - 1
"""Largest sum: what JSON's numbers hold here."""
LATENCIES_MS: Final = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
"""Upper bounds of the buckets of the time to answer; a last one has no bound."""
SKETCH_LG_K = 11
"""2^11 registers: a relative standard error of 1.04 / 2^5.5 = 2.3 %, and exact up to a few dozens."""


class Dimensions(NamedTuple):
    """The surface, experiment and so on of a list; empty where there is none."""

    surface: str = ""
    strategy: str = ""
    experiment: str = ""
    variant: str = ""
    category: str = ""


class CellKey(NamedTuple):
    """Names a cell. `start`: epoch seconds, a multiple of the window's size."""

    size: Size
    start: int
    dimensions: Dimensions

    def to_bytes(self) -> bytes:
        """The key of its row."""
        return orjson.dumps([self.size, self.start, *self.dimensions])


class VariantKey(NamedTuple):
    """Names what is known of a variant's people. `revision`: of the experiment's definition."""

    experiment: str
    revision: str
    variant: str

    def to_bytes(self) -> bytes:
        """The key of its row."""
        return orjson.dumps(["variant", *self])


PROGRESS_KEY = orjson.dumps(["progress"])
"""Key of the row that says how far a partition has got: see `PartitionProgress`."""


class ProgressKey(NamedTuple):
    """Names a partition's `PartitionProgress`."""


RowKey: TypeAlias = CellKey | VariantKey | ProgressKey


def parse_row_key(data: bytes) -> RowKey:
    """Read a row's key. Raises ValueError when it isn't one."""
    parts = orjson.loads(data)
    if parts[0] == "progress":
        return ProgressKey()
    if parts[0] == "variant":
        return VariantKey(*parts[1:])
    if parts[0] not in SECONDS:
        raise ValueError(f"{data!r} is no key of a row")
    key = CellKey(parts[0], parts[1], Dimensions(*parts[2:]))
    if not (isinstance(key.start, int) and all(isinstance(name, str) for name in key.dimensions)):
        raise ValueError("a cell's key has a time and names")
    return key


class Sketch:
    """About how many different ones there were: HyperLogLog, of Apache DataSketches."""

    def __init__(self, data: bytes | None = None) -> None:
        self._union = datasketches.hll_union(SKETCH_LG_K)
        if data is not None:
            self._union.update(datasketches.hll_sketch.deserialize(data))

    def add(self, names: Iterable[str]) -> None:
        """Count these."""
        for name in names:
            self._union.update(name)

    def merge(self, other: Sketch) -> None:
        """Count all that the other one has."""
        self._union.update(other._union.get_result())

    @property
    def estimate(self) -> float:
        """How many there are, about."""
        return float(self._union.get_estimate())

    def to_bytes(self) -> bytes:
        """At most about 2 KB; a few bytes each while there are few."""
        return bytes(self._union.get_result(datasketches.tgt_hll_type.HLL_4).serialize_compact())


@dataclass(slots=True)
class Cell:
    """What is counted in a cell. `took`: answers by bucket of `LATENCIES_MS`; `shown`, `clicked`: by rank."""

    counts: Counter[str] = field(default_factory=Counter)
    took: Counter[int] = field(default_factory=Counter)
    shown: Counter[int] = field(default_factory=Counter)
    clicked: Counter[int] = field(default_factory=Counter)
    people: Sketch = field(default_factory=Sketch)
    items: Sketch = field(default_factory=Sketch)

    def merge(self, other: Cell) -> None:
        """Add all of the other one."""
        self.counts.update(other.counts)
        self.took.update(other.took)
        self.shown.update(other.shown)
        self.clicked.update(other.clicked)
        self.people.merge(other.people)
        self.items.merge(other.items)

    def to_bytes(self) -> bytes:
        """The value of its row."""
        return orjson.dumps(
            {
                "counts": _set(self.counts),
                "took": _set(self.took),
                "shown": _set(self.shown),
                "clicked": _set(self.clicked),
                "people": b64encode(self.people.to_bytes()).decode(),
                "items": b64encode(self.items.to_bytes()).decode(),
            },
            option=orjson.OPT_NON_STR_KEYS,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Cell:
        """The inverse of `to_bytes`."""
        plain = orjson.loads(data)
        return cls(
            Counter(plain["counts"]),
            _by_number(plain["took"]),
            _by_number(plain["shown"]),
            _by_number(plain["clicked"]),
            Sketch(b64decode(plain["people"])),
            Sketch(b64decode(plain["items"])),
        )


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a partition has got. `at`, `newest`: epoch seconds of the last write, and of the newest event in it."""

    at: float
    newest: float
    counts: Mapping[str, int]
    """`records`, `late`, `unreadable`, `failed`, `missed` (dropped by the log before they were read) and `cut` (what
    exceeded a person's bound), since the beginning."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    """The last one taken of the partition, by topic."""
    read: float | None = None
    """Epoch seconds: what reached either topic until then is in the rows; the time of the write where nothing is left
    to read. None where it isn't known. No guardrail judges a window that ends later: its clicks may still be unread."""

    def to_bytes(self) -> bytes:
        """The value of its row."""
        return orjson.dumps(
            {
                "at": self.at,
                "newest": self.newest,
                "counts": dict(self.counts),
                "offsets": dict(self.offsets),
                "read": self.read,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PartitionProgress:
        """The inverse of `to_bytes`."""
        return cls(**orjson.loads(data))


def parse_row(key: RowKey, data: bytes) -> Cell | Moments | PartitionProgress:
    """Read a row's value. Raises something for what is none, or can't be added up: anybody who may write to a changelog
    can put it there."""
    if isinstance(key, CellKey):
        return _checked(Cell.from_bytes(data))
    if isinstance(key, VariantKey):
        return Moments() + Moments.from_plain(orjson.loads(data))
    return PartitionProgress.from_bytes(data)


def _checked(cell: Cell) -> Cell:
    counters = (cell.counts, cell.took, cell.shown, cell.clicked)
    if not all(isinstance(count, int) for counter in counters for count in counter.values()):
        raise ValueError("counts are whole numbers")
    return cell


def _set(counter: Counter[Any]) -> dict[Any, int]:
    return {name: max(-MOST, min(MOST, count)) for name, count in counter.items() if count}


def _by_number(plain: Mapping[str, int]) -> Counter[int]:
    return Counter({int(number): count for number, count in plain.items()})
