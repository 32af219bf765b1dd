"""The rows that insights keeps: their keys, their contents, and how both are written.

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

from eddyline.insights.moments import Moments

Size: TypeAlias = Literal["minute", "hour", "day"]
SECONDS: Final[Mapping[Size, int]] = {"minute": 60, "hour": 3600, "day": 86_400}
DAY = SECONDS["day"]
MILLIONTHS = 1_000_000
RETURN_DAYS = (1, 7)
"""After how many days it is counted who comes back."""
MAX_SUM = 2**63 - 1
"""Largest sum: what JSON's numbers hold here."""
LATENCIES_MS: Final = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
"""Upper bounds of the buckets of response times; a last one has no bound."""
SKETCH_LG_K = 11
"""2^11 registers: a relative standard error of 1.04 / 2^5.5 = 2.3 %, and exact up to a few dozens."""


def window_start(time: float, size: Size) -> int:
    """The start of the window that a time is in, both in epoch seconds."""
    return int(time // SECONDS[size]) * SECONDS[size]


class Dimensions(NamedTuple):
    """The surface, experiment and so on of a list; empty where there is none."""

    surface: str = ""
    strategy: str = ""
    experiment: str = ""
    variant: str = ""
    category: str = ""


class CellKey(NamedTuple):
    """The key of a cell. `start`: epoch seconds, a multiple of the window's size."""

    size: Size
    start: int
    dimensions: Dimensions

    def to_bytes(self) -> bytes:
        """Serialize the key of the row."""
        return orjson.dumps([self.size, self.start, *self.dimensions])


class VariantKey(NamedTuple):
    """The key of the moments of a variant's people. `revision`: of the experiment's definition."""

    experiment: str
    revision: str
    variant: str

    def to_bytes(self) -> bytes:
        """Serialize the key of the row."""
        return orjson.dumps(["variant", *self])


PROGRESS_KEY = orjson.dumps(["progress"])


class ProgressKey(NamedTuple):
    """The key of a partition's `PartitionProgress`."""


RowKey: TypeAlias = CellKey | VariantKey | ProgressKey


def parse_row_key(data: bytes) -> RowKey:
    """Parse a row's key. Raises something for what is none: anybody who may write to a changelog can put it there."""
    parts = orjson.loads(data)
    if parts[0] == "progress":
        return ProgressKey()
    if parts[0] == "variant":
        return VariantKey(*parts[1:])
    if parts[0] not in SECONDS:
        raise ValueError(f"{data!r} is no key of a row")
    key = CellKey(parts[0], parts[1], Dimensions(*parts[2:]))
    if not (isinstance(key.start, int) and all(isinstance(name, str) for name in key.dimensions)):
        raise ValueError(f"{data!r} is no key of a cell: a time and names are needed")
    return key


class Sketch:
    """An estimate of how many different names there are: the HyperLogLog of Apache DataSketches."""

    def __init__(self, data: bytes | None = None) -> None:
        self._union = datasketches.hll_union(SKETCH_LG_K)
        if data is not None:
            self._union.update(datasketches.hll_sketch.deserialize(data))

    def add(self, names: Iterable[str]) -> None:
        """Count names; each counts once, however often it is added."""
        for name in names:
            self._union.update(name)

    def merge(self, other: Sketch) -> None:
        """Count every name of the other one."""
        self._union.update(other._union.get_result())

    @property
    def estimate(self) -> float:
        """The estimated number of different names."""
        return float(self._union.get_estimate())

    def to_bytes(self) -> bytes:
        """Serialize: at most about 2 KB, a few bytes a name while there are few."""
        return bytes(self._union.get_result(datasketches.tgt_hll_type.HLL_4).serialize_compact())


@dataclass(slots=True)
class CellSums:
    """What is summed in a cell. `took`: responses by bucket of `LATENCIES_MS`; `shown`, `clicked`: items by rank.

    `counts` has the measures of the same names in `Kpis`, and what those are made of: `empty` and `degraded` lists,
    impressions of `new_items`, `dwells` and their `dwell_ms` (whole milliseconds), people who `returned_1` and
    `returned_7`. `revenue` and `organic_revenue` are in millionths. `requests`, `empty`, `degraded`, `visitors`,
    `returned_*` and latencies belong to no item: they are in the cell without a category.
    """

    counts: Counter[str] = field(default_factory=Counter)
    took: Counter[int] = field(default_factory=Counter)
    shown: Counter[int] = field(default_factory=Counter)
    clicked: Counter[int] = field(default_factory=Counter)

    def add_sums(self, other: CellSums) -> None:
        """Add all sums of the other one."""
        self.counts.update(other.counts)
        self.took.update(other.took)
        self.shown.update(other.shown)
        self.clicked.update(other.clicked)


@dataclass(slots=True)
class CellAddition(CellSums):
    """What is to be added to a cell, with the names of the people and the ids of the items that it is about."""

    people: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)

    def add_change(self, before: CellAddition, after: CellAddition) -> None:
        """Add what `after` has beyond `before`."""
        self.add_sums(after)
        self.counts.subtract(before.counts)
        self.took.subtract(before.took)
        self.shown.subtract(before.shown)
        self.clicked.subtract(before.clicked)
        self.people |= after.people - before.people
        self.items |= after.items - before.items


@dataclass(slots=True)
class Cell(CellSums):
    """What is known of a cell."""

    people: Sketch = field(default_factory=Sketch)
    items: Sketch = field(default_factory=Sketch)

    def merge(self, other: Cell) -> None:
        """Add all of the other one."""
        self.add_sums(other)
        self.people.merge(other.people)
        self.items.merge(other.items)

    def add(self, addition: CellAddition) -> None:
        """Add what people did."""
        self.add_sums(addition)
        self.people.add(sorted(addition.people))
        self.items.add(sorted(addition.items))

    def to_bytes(self) -> bytes:
        """Serialize the value of the row."""
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
        """Parse what `to_bytes` wrote."""
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
    """How far a partition is measured. `at`, `newest`: epoch seconds of the last write, and of the newest event in
    it."""

    at: float
    newest: float
    counts: Mapping[str, int]
    """`records`, `late`, `unreadable`, `failed`, `missed` (dropped by the log before they were read) and `cut` (what
    exceeded a person's bound), since the beginning."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    """The last offset handled of the partition, by topic."""
    read: float | None = None
    """Epoch seconds: what reached either topic until then is in the rows; the time of the write where nothing is left
    to read. None where it isn't known. No guardrail judges a window that ends later: its clicks may still be unread."""

    def to_bytes(self) -> bytes:
        """Serialize the value of the row."""
        return orjson.dumps(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> PartitionProgress:
        """Parse what `to_bytes` wrote."""
        return cls(**orjson.loads(data))


Row: TypeAlias = Cell | Moments | PartitionProgress


def parse_row(key: RowKey, data: bytes) -> Row:
    """Parse a row's value. Raises something for what is none, or can't be added up."""
    if isinstance(key, CellKey):
        return _checked(Cell.from_bytes(data))
    if isinstance(key, VariantKey):
        return Moments.from_bytes(data)
    return PartitionProgress.from_bytes(data)


def _checked(cell: Cell) -> Cell:
    counters = (cell.counts, cell.took, cell.shown, cell.clicked)
    if not all(isinstance(count, int) for counter in counters for count in counter.values()):
        raise ValueError("counts are whole numbers")
    return cell


def _set(counter: Counter[Any]) -> dict[Any, int]:
    return {name: max(-MAX_SUM, min(MAX_SUM, count)) for name, count in counter.items() if count}


def _by_number(plain: Mapping[str, int]) -> Counter[int]:
    return Counter({int(number): count for number, count in plain.items()})
