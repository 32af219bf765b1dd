"""The fold of insights, against counting the whole log anew: in any order, in any batches, after any crash."""

from __future__ import annotations

import inspect
import random
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.support.recount import recount
from tests.support.rows import MemoryTables

from eddyline.adapters.kafka import Record, partition_of
from eddyline.errors import TooManyDeadLetters
from eddyline.insights import handler as handler_module
from eddyline.insights.handler import PartitionHandler
from eddyline.insights.impression_attribution import Contribution, measure_contribution
from eddyline.insights.moments import Moments
from eddyline.insights.person_log import PersonLog
from eddyline.insights.rows import Cell, CellKey, PartitionProgress, VariantKey, parse_row, parse_row_key
from eddyline.insights.write_plan import PLAN_KEY, PLANS, WINDOWS, WritePlan, last_plan
from eddyline.model.events import Erased, ImpressionReport, Interaction, RecordOrigin, ServedItem, ServedList
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.offsets import LogPosition
from eddyline.model.placed_time import UNPLACED, place_of
from eddyline.settings import InsightsSettings

NOW = 1_790_000_000.0
LOGS = {"impressions": "log-a", "interactions": "log-b"}
ITEMS = [f"item-{number}" for number in range(6)]
CATEGORIES = ["", "news", "sport"]
VISITORS_PURCHASE: dict[str, Any] = {
    "type": "purchase",
    "value": 5.0,
    "request_id": "r",
    "user_id": None,
    "anonymous_id": "visitor",
}


class Killed(Exception):
    pass


class MortalTables(MemoryTables):
    """`survives`: how many more writes until the worker is killed; -1: all."""

    survives = -1

    def put(self, table: str, key: bytes, value: bytes | None) -> None:
        if self.survives == 0:
            raise Killed
        self.survives -= 1
        super().put(table, key, value)


class Partition:
    """A partition's worker, which can be killed and started again."""

    def __init__(self, settings: InsightsSettings, now: float = NOW + 3600) -> None:
        self.settings, self.now = settings, now
        self.tables = MortalTables()
        self.dead_letters: list[tuple[Record, str, str]] = []
        self.handler = self._start()

    def _start(self) -> PartitionHandler:
        last = last_plan(self.tables)
        if last is not None:
            last.write(self.tables)
        return PartitionHandler(self.settings, 1, LOGS, last, self._write_dead_letter, lambda: self.now)

    def _write_dead_letter(self, record: Record, reason: str, detail: str) -> None:
        self.dead_letters.append((record, reason, detail))

    def take(
        self, records: Sequence[Record], kill_after: int | None = None, finished: Set[str] = frozenset(LOGS)
    ) -> bool:
        """Whether it came through; else it was killed after so many writes, and has started again."""
        self.tables.survives = -1 if kill_after is None else kill_after
        try:
            for plan in self.handler.plans(self.tables, records, finished):
                self.tables.put(PLANS, PLAN_KEY, plan.to_bytes())
                plan.write(self.tables)
        except Killed:
            self.tables.survives = -1
            self.handler = self._start()
            return False
        self.tables.survives = -1
        return True

    def cells(self) -> dict[CellKey, Cell]:
        return {key: row for key, row in self.parsed() if isinstance(key, CellKey) and isinstance(row, Cell)}

    def moments(self) -> dict[VariantKey, Moments]:
        return {key: row for key, row in self.parsed() if isinstance(key, VariantKey) and isinstance(row, Moments)}

    def counts(self) -> dict[str, int]:
        (progress,) = (row for _, row in self.parsed() if isinstance(row, PartitionProgress))
        return dict(progress.counts)

    def parsed(self) -> list[tuple[Any, Any]]:
        rows = self.tables.rows.get(WINDOWS, {})
        return [(parse_row_key(key), parse_row(parse_row_key(key), value)) for key, value in rows.items()]

    def total(self, size: str = "hour") -> Counter[str]:
        found: Counter[str] = Counter()
        for key, cell in self.cells().items():
            if key.size == size:
                found.update(cell.counts)
        return +found


class Log:
    """Appends events to two topics, and gives the records. They arrive when they happen, unless told otherwise."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._next = Counter[str]()

    def add(self, topic: str, value: bytes | None, arrived: float) -> Record:
        record = Record(topic, 0, self._next[topic], b"u:ann", value, round(arrived * 1000), LOGS[topic])
        self._next[topic] += 1
        self.records.append(record)
        return record

    def served(
        self, request_id: str, at: float, items: Sequence[str], arrived: float | None = None, **more: Any
    ) -> Record:
        given = {"user_id": "ann", "surface": "home", "strategy": "eddyline"} | more
        event = ServedList(request_id=request_id, items=ranked(items), timestamp=at, **given)
        return self.add("impressions", event.to_bytes(), at if arrived is None else arrived)

    def seen(self, request_id: str, at: float, **more: Any) -> Record:
        event = ImpressionReport(request_id=request_id, user_id="ann", timestamp=at, **more)
        return self.add("impressions", event.to_bytes(), at)

    def did(self, event_id: str, item_id: str, at: float, arrived: float | None = None, **more: Any) -> Record:
        given = {"type": "click", "user_id": "ann"} | more
        event = Interaction(event_id=event_id, item_id=item_id, timestamp=at, **given)
        return self.add("interactions", event.to_bytes(), at if arrived is None else arrived)

    def plain(self) -> list[tuple[str, bytes | None, float]]:
        return [(record.topic, record.value, record.timestamp / 1000) for record in self.records]


def ranked(items: Sequence[str]) -> list[ServedItem]:
    return [ServedItem(item_id=item, rank=rank) for rank, item in enumerate(items, start=1)]


# -- any history, any order, any crash ------------------------------------------------------------------------------

people = st.sampled_from(["ann", "bob", "cleo"])
moments = st.one_of(  # some at the same time
    st.integers(0, 3).map(lambda minutes: NOW - 60 * minutes + 0.5),
    st.integers(0, 3 * 86_400).map(lambda seconds: NOW - seconds + 0.5),
)
requests = st.integers(0, 5).map(lambda number: f"r{number}")
places = st.lists(
    st.tuples(st.sampled_from(ITEMS), st.sampled_from(CATEGORIES)), max_size=4, unique_by=lambda one: one[0]
)


@st.composite
def a_served(draw: Callable[..., Any]) -> tuple[str, bytes, float]:
    at = draw(moments)
    is_in = draw(st.booleans())
    said = ServedList(
        request_id=draw(requests),
        user_id=draw(people),
        surface=draw(st.sampled_from(["home", None])),
        strategy="eddyline",
        experiment="x" if is_in else None,
        variant=draw(st.sampled_from(["a", "b"])) if is_in else None,
        revision="1" if is_in else None,
        forced=draw(st.booleans()) and draw(st.booleans()),
        batch=draw(st.booleans()) and draw(st.booleans()),
        degraded=draw(st.booleans()),
        items=[
            ServedItem(item_id=item, rank=rank, category=category or None)
            for rank, (item, category) in enumerate(draw(places), start=1)
        ],
        timestamp=at,
    )
    return "impressions", said.to_bytes(), at + draw(st.sampled_from([0.0, 5.0, 5000.0]))


@st.composite
def a_seen(draw: Callable[..., Any]) -> tuple[str, bytes, float]:
    at = draw(moments)
    said = ImpressionReport(
        request_id=draw(requests),
        user_id=draw(people),
        positions=draw(st.none() | st.lists(st.integers(1, 5), min_size=1, max_size=3)),
        timestamp=at,
    )
    return "impressions", said.to_bytes(), at + draw(st.sampled_from([0.0, 5.0]))


@st.composite
def a_deed(draw: Callable[..., Any]) -> tuple[str, bytes, float]:
    at = draw(moments)
    kind = draw(st.sampled_from(["click", "view", "purchase", "like"]))
    said = Interaction(
        type=kind,
        user_id=draw(people),
        item_id=draw(st.sampled_from(ITEMS)),
        event_id=f"e{draw(st.integers(0, 40))}",
        request_id=draw(st.none() | requests),
        value=draw(st.sampled_from([1.25, 0.1, 10.0])) if kind == "purchase" else None,
        dwell_ms=draw(st.none() | st.sampled_from([10.0, 1234.4])) if kind == "view" else None,
        timestamp=at,
    )
    return "interactions", said.to_bytes(), at + draw(st.sampled_from([0.0, 5.0, 5000.0]))


histories = st.lists(a_served() | a_seen() | a_deed(), max_size=25)


@pytest.mark.slow(20)
@hypothesis_settings(max_examples=150)
@given(history=histories, seed=st.integers(0, 2**32))
def test_the_windows_equal_a_recount_in_any_order_in_any_batches_and_after_any_kill(
    history: list[tuple[str, bytes, float]], seed: int
) -> None:
    chance = random.Random(seed)
    settings = InsightsSettings(minute_retention_hours=24 * 30)
    # Request ids, of which the first record counts, are of one record each; so are event ids: as in life.
    history = _unlike(history)
    by_topic = {topic: [one for one in history if one[0] == topic] for topic in LOGS}
    log = Log()
    for topic, ones in by_topic.items():
        for _, value, arrived in sorted(ones, key=lambda one: one[2]):
            log.add(topic, value, arrived)
    queues = {topic: [record for record in log.records if record.topic == topic] for topic in LOGS}
    partition = Partition(settings)
    read = dict.fromkeys(LOGS, 0)
    while any(read[topic] < len(queue) for topic, queue in queues.items()):
        batch: list[Record] = []
        for topic in chance.sample(sorted(LOGS), 2):
            count = chance.randint(0, 4)
            batch += queues[topic][read[topic] : read[topic] + count]
        finished = {
            topic for topic, queue in queues.items() if read[topic] + sum(r.topic == topic for r in batch) == len(queue)
        }
        if partition.take(batch, chance.choice([None, None, 0, 1, 2, 5, 9]), finished):
            for record in batch:
                read[record.topic] = max(read[record.topic], record.offset + 1)
        if chance.random() < 0.3:  # what was committed last may be older than what was taken
            read = {topic: max(0, place - chance.randint(0, 3)) for topic, place in read.items()}
            partition.handler = partition._start()
    assert not partition.dead_letters
    expected = recount(log.plain(), settings)
    expected.assert_equal(partition.cells())
    moments = partition.moments()
    assert moments.keys() == expected.totals.keys()
    for variant, totals in expected.totals.items():
        found = moments[variant]
        assert found.people == len(totals)
        for name in ("requests", "impressions", "clicks"):
            assert found.total(name) == sum(each[name] for each in totals.values())
            assert found.product(name, "clicks") == pytest.approx(
                sum(each[name] * each["clicks"] for each in totals.values())
            )


def _unlike(history: list[tuple[str, bytes, float]]) -> list[tuple[str, bytes, float]]:
    known: set[tuple[str, str, str]] = set()
    kept = []
    for topic, value, arrived in history:
        said = orjson.loads(value)
        kind = said["type"] if topic == "impressions" else "deed"
        name = (said["user_id"], kind, said["request_id"] if topic == "impressions" else said["event_id"])
        if kind != "impression" and name in known:
            continue
        known.add(name)
        kept.append((topic, value, arrived))
    return kept


# -- what it says in words ------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Log:
    return Log()


def folded(log: Log, settings: InsightsSettings | None = None, **more: Any) -> Partition:
    partition = Partition(settings or InsightsSettings(), **more)
    assert partition.take(log.records)
    return partition


def test_a_click_that_is_read_before_its_list_finds_it(log: Log) -> None:
    log.did("e1", "item-1", NOW + 2, request_id="r")
    partition = Partition(InsightsSettings())
    partition.take(log.records)
    assert partition.total() == Counter(organic_clicks=1)
    log.served("r", NOW, ["item-0", "item-1"])
    partition.take(log.records[1:])
    assert partition.total() == Counter(requests=1, served=2, impressions=2, clicks=1)


def test_without_a_request_id_a_click_goes_to_the_last_list_that_showed_the_item(log: Log) -> None:
    log.served("r1", NOW - 100, ["item-1"], strategy="one")
    log.served("r2", NOW - 50, ["item-1"], strategy="two")
    log.served("r3", NOW - 20, ["item-2"], strategy="three")
    log.did("e1", "item-1", NOW)
    clicked = {key.dimensions.strategy for key, cell in folded(log).cells().items() if cell.counts["clicks"]}
    assert clicked == {"two"}


def test_of_lists_of_the_same_time_the_last_is_the_last_in_the_log(log: Log) -> None:
    log.served("r9", NOW - 50, ["item-1"], strategy="one")
    log.served("r1", NOW - 50, ["item-1"], strategy="two")
    log.did("e1", "item-1", NOW)
    clicked = {key.dimensions.strategy for key, cell in folded(log).cells().items() if cell.counts["clicks"]}
    assert clicked == {"two"}


def test_a_person_too_large_to_keep_loses_what_came_first_of_the_same_time() -> None:
    known, settings = PersonLog(), InsightsSettings()
    for number, name in enumerate("dcba"):
        event = Interaction(type="click", user_id="ann", item_id=name, timestamp=NOW)
        known.add_action(event, name, NOW, place_of(0, number), settings)
    known = PersonLog.from_bytes(known.to_bytes())
    known.shrink()
    assert list(known.actions) == ["b", "a"]


def test_a_row_from_before_places_were_kept_is_read(log: Log) -> None:
    log.served("r", NOW, ["item-1"])
    log.did("e1", "item-1", NOW + 2)
    partition = folded(log)
    (row,) = partition.tables.rows["people"].values()
    plain = orjson.loads(row)
    for one in (*plain["lists"].values(), *plain["deeds"].values()):
        del one[-1]
    former, now = PersonLog.from_bytes(orjson.dumps(plain)), PersonLog.from_bytes(row)
    assert (former.lists["r"].items, former.lists["r"].place) == (now.lists["r"].items, UNPLACED)
    [(name, action)] = now.actions.items()
    assert former.actions[name] == action._replace(place=UNPLACED)


def test_what_was_seen_takes_the_place_of_what_was_served(log: Log) -> None:
    log.served("r", NOW, ITEMS)
    log.seen("r", NOW + 1, positions=[1, 2])
    log.did("e1", ITEMS[3], NOW + 3, request_id="r")
    # Whoever clicked on the fourth has seen it.
    assert folded(log).total() == Counter(requests=1, served=6, impressions=3, clicks=1)


def test_a_list_made_ahead_counts_once_it_is_opened_and_then(log: Log) -> None:
    log.served("mail", NOW - 40 * 3600, ["item-1"], batch=True)
    partition = folded(log)
    assert not partition.total()
    log.seen("mail", NOW)
    partition.take(log.records[1:])
    (hour,) = {key.start for key, cell in partition.cells().items() if key.size == "hour" and cell.counts["requests"]}
    assert hour == NOW // 3600 * 3600
    assert partition.total() == Counter(requests=1, served=1, impressions=1)


def test_another_systems_list_is_served_and_seen_at_once(log: Log) -> None:
    log.seen("theirs", NOW, items=ranked(["item-1", "item-2"]), variant="current", experiment="takeover")
    log.did("e1", "item-2", NOW + 1, request_id="theirs")
    partition = folded(log)
    assert partition.total() == Counter(requests=1, served=2, impressions=2, clicks=1)
    assert partition.moments()[VariantKey("takeover", "", "current")].total("clicks") == 1


def test_a_forced_variant_is_measured_nowhere(log: Log) -> None:
    log.served("r", NOW, ["item-1"], forced=True, experiment="x", variant="b")
    log.did("e1", "item-1", NOW + 1, request_id="r")
    partition = folded(log)
    assert not partition.total()
    assert not partition.moments()


def test_a_late_record_is_counted_as_late_and_not_measured(log: Log) -> None:
    log.served("r", NOW - 3601, ["item-1"], arrived=NOW)
    log.served("s", NOW - 3599, ["item-1"], arrived=NOW)
    partition = folded(log)
    assert partition.total() == Counter(requests=1, served=1, impressions=1)
    assert partition.counts()["late"] == 1


def test_rubbish_becomes_a_dead_letter_and_the_rest_is_measured(log: Log) -> None:
    log.add("impressions", b'{"no', NOW)
    log.add("impressions", b'{"type": "served"}', NOW)
    log.add("impressions", None, NOW)
    log.add("interactions", b"\xff", NOW)
    log.served("r", NOW, ["item-1"])
    partition = folded(log)
    assert partition.total()["requests"] == 1
    assert partition.counts()["unreadable"] == 4
    # What can't be read of `interactions` is the profiler's dead letter.
    assert [(record.topic, reason) for record, reason, _ in partition.dead_letters] == [
        ("impressions", "invalid_event")
    ] * 3
    assert "is needed" in partition.dead_letters[1][2]


def test_rubbish_among_the_rows_stops_nobody(log: Log) -> None:
    log.served("r", NOW, ["item-1"])
    partition = folded(log)
    for rows in partition.tables.rows.values():
        for key in rows:
            rows[key] = b"{rubbish"
    partition.handler = partition._start()
    log.served("s", NOW + 1, ["item-1"])
    assert partition.take(log.records[1:])
    assert partition.total()["requests"] == 1
    assert not partition.dead_letters


def test_a_person_whose_records_cannot_be_folded_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    real = measure_contribution

    def breaks(person: str, log: PersonLog, settings: InsightsSettings) -> Contribution:
        if any(action.item_id == "item-5" for action in log.actions.values()):
            raise ZeroDivisionError("a bug")
        return real(person, log, settings)

    monkeypatch.setattr("eddyline.insights.handler.measure_contribution", breaks)
    monkeypatch.setattr("eddyline.insights.row_updates.measure_contribution", breaks)
    log = Log()
    log.did("e1", "item-5", NOW, user_id="bad")
    log.did("e2", "item-1", NOW)
    partition = folded(log)
    assert partition.total() == Counter(organic_clicks=1)
    assert [(reason, detail) for _, reason, detail in partition.dead_letters] == [
        ("handler_failed", "ZeroDivisionError: a bug")
    ]


@pytest.mark.parametrize("fails", ["clamp_event_time", "ForwardedFrom", "partition_of"])
def test_a_record_that_breaks_the_handler_becomes_a_dead_letter_and_the_rest_goes_on(
    log: Log, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Wherever that is, and whatever is in the same batch."""
    real: Any = getattr(handler_module, fails)

    class Breaks:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, *args: Any) -> Any:
            self._look()
            return real(*args)

        def from_headers(self, *args: Any) -> Any:
            self._look()
            return real.from_headers(*args)

        def _look(self) -> None:
            frame = inspect.currentframe()
            while frame is not None:
                if frame.f_locals.get("record") is poison:
                    raise ZeroDivisionError("a bug")
                frame = frame.f_back

    monkeypatch.setattr(handler_module, fails, Breaks())
    for number in range(40):
        log.did(f"e{number}", "item-1", NOW)
    poison = log.records[17]
    partition = folded(log)
    assert partition.total() == Counter(organic_clicks=39)
    assert [(record.offset, reason) for record, reason, _ in partition.dead_letters] == [(17, "handler_failed")]
    assert partition.counts() == {"records": 40, "failed": 1}


def test_a_bug_that_hits_every_record_stops_it(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(handler_module, "parse_person_event", breaks)
    for number in range(200):
        log.did(f"e{number}", "item-1", NOW)
    with pytest.raises(TooManyDeadLetters, match="a bug"):
        folded(log)


def test_names_beyond_a_number_count_as_other(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eddyline.insights.known_names.MAX_COMBINATIONS", 3)
    monkeypatch.setattr("eddyline.insights.known_names.MAX_CATEGORIES", 2)
    for number in range(6):
        items = [ServedItem(item_id="item-1", rank=1, category=f"category-{number}")]
        log.seen(f"r{number}", NOW + number, items=items, surface=f"s{number}", experiment="e", variant=f"v{number}")
    partition = folded(log)
    assert partition.total()["requests"] == 6
    keys = [parse_row_key(key) for key in partition.tables.keys(WINDOWS)]
    cells = [key.dimensions for key in keys if isinstance(key, CellKey)]
    assert {cell.surface for cell in cells} == {"s0", "s1", "s2", "other"}
    assert {cell.category for cell in cells} == {"", "category-0", "category-1", "other"}
    variants = {key for key in keys if isinstance(key, VariantKey)}
    assert len(variants) == 4
    assert VariantKey("other", "other", "other") in variants
    partition.handler = partition._start()
    last = log.seen("again", NOW + 9, items=ranked(["item-1"]), surface="s1", experiment="e", variant="v1")
    assert partition.take([last])
    assert partition.total()["requests"] == 7
    keys = [parse_row_key(key) for key in partition.tables.keys(WINDOWS)]
    assert len({key.dimensions.surface for key in keys if isinstance(key, CellKey)}) == 4


def test_an_erased_person_is_forgotten_and_what_was_counted_stays(log: Log) -> None:
    log.served("r", NOW - 10, ["item-1"])
    log.did("e1", "item-1", NOW - 5, request_id="r")
    erased = Erased(user_id="ann", timestamp=NOW - 1, origin=RecordOrigin(log="users", partition=0, offset=0))
    log.add("interactions", erased.to_bytes(), NOW - 1)
    log.did("e2", "item-1", NOW - 2, arrived=NOW, request_id="r")
    partition = folded(log)
    assert partition.total() == Counter(requests=1, served=1, impressions=1, clicks=1)
    (row,) = partition.tables.rows["people"].values()
    assert b"item-1" not in row


def test_an_erasure_that_no_service_signed_erases_nobody(log: Log) -> None:
    log.served("r", NOW - 10, ["item-1"])
    erased = Erased(user_id="ann", timestamp=NOW - 1, origin=RecordOrigin(log="users", partition=0, offset=0))
    log.records.append(replace(log.add("interactions", erased.to_bytes(), NOW - 1), is_trusted=False))
    log.records.pop(-2)
    log.did("e1", "item-1", NOW, request_id="r")
    partition = folded(log)
    assert partition.total() == Counter(requests=1, served=1, impressions=1, clicks=1)
    assert partition.counts()["unreadable"] == 1


def test_what_the_log_dropped_before_it_was_read_is_counted_as_missed(log: Log) -> None:
    for number in range(5):
        log.served(f"r{number}", NOW, ["item-1"])
    partition = Partition(InsightsSettings())
    partition.take(log.records[:1])
    partition.take(log.records[3:])
    assert partition.counts()["missed"] == 2
    assert partition.counts()["records"] == 3


def test_a_log_that_was_made_anew_is_read_from_its_beginning(log: Log) -> None:
    log.served("r", NOW, ["item-1"])
    partition = folded(log)
    partition.handler = PartitionHandler(
        InsightsSettings(),
        1,
        LOGS | {"impressions": "another"},
        WritePlan.from_bytes(partition.tables.rows[PLANS][PLAN_KEY]),
        partition._write_dead_letter,
        lambda: NOW + 3600,
    )
    partition.take([replace(Log().served("r2", NOW + 1, ["item-1"]), log="another")])
    assert partition.total()["requests"] == 2


@pytest.mark.slow(20)
def test_a_plan_is_no_larger_than_a_record_may_be(log: Log) -> None:
    for number in range(400):
        items = [f"{number}-{rank}-" + "x" * 100 for rank in range(60)]
        log.served(f"r{number}", NOW, items, user_id=f"u{number}")
    partition = Partition(InsightsSettings())
    sizes = []
    for plan in partition.handler.plans(partition.tables, log.records):
        sizes.append(len(plan.to_bytes()))
        plan.write(partition.tables)
    assert len(sizes) > 1
    assert max(sizes) <= 900_000
    assert partition.total()["requests"] == 400


def test_a_person_without_end_is_cut_and_said_so(log: Log) -> None:
    for number in range(500):
        log.served(f"r{number}", NOW + number / 100, ["item-1"], arrived=NOW + 5)
    partition = folded(log)
    assert partition.total()["requests"] == 500
    assert partition.counts()["cut"] == 200
    (row,) = partition.tables.rows["people"].values()
    assert len(orjson.loads(row)["lists"]) == 300


@pytest.mark.parametrize("value", [1e300, -1e14, 1.1e9])
def test_a_value_that_is_no_price_becomes_a_dead_letter(log: Log, value: float) -> None:
    log.served("r", NOW, ["item-1"])
    log.did("e1", "item-1", NOW, type="purchase", value=value)
    log.did("e2", "item-1", NOW, type="purchase", value=2.5)
    partition = folded(log)
    assert (partition.total()["conversions"], partition.total()["revenue"]) == (1, 2_500_000)
    assert [reason for _, reason, _ in partition.dead_letters] == ["invalid_event"]
    assert "no price" in partition.dead_letters[0][2]


def test_sums_beyond_what_a_row_can_hold_stay_at_the_most() -> None:
    cell = Cell()
    cell.counts["revenue"] = 2**70
    assert Cell.from_bytes(cell.to_bytes()).counts["revenue"] == 2**63 - 1


@pytest.mark.extended  # a quarter of a minute of computing
@pytest.mark.slow(120)
def test_names_without_end_neither_stop_it_nor_grow_without_end(log: Log) -> None:
    for number in range(2500):
        surface = f"https://shop.example/{number}/" + "x" * 200
        names = {"surface": surface, "experiment": f"experiment-{number}", "variant": "a"}
        log.seen(f"r{number}", NOW, items=ranked(["item-1"]), **names)
    partition = folded(log)
    assert partition.total()["requests"] == 2500
    (row,) = partition.tables.rows["people"].values()
    assert len(row) < 300_000
    assert partition.take([log.served("last", NOW + 1, ["item-1"])])
    assert partition.total()["requests"] == 2501


@pytest.mark.slow(20)
def test_a_list_whose_rows_are_too_large_to_write_becomes_a_dead_letter(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.insights.handler.MAX_PLAN_BYTES", 2_000_000)

    for request_id, count in (("too wide", 1000), ("wide", 300)):
        items = [
            ServedItem(item_id=f"item-{rank}", rank=rank, category=f"{rank}-" + "é" * 250)
            for rank in range(1, count + 1)
        ]
        log.seen(request_id, NOW, items=items, surface="s" * 256)
    log.served("usual", NOW, ["item-1"])
    partition = folded(log)
    assert partition.total()["requests"] == 2
    assert [(record.offset, reason) for record, reason, _ in partition.dead_letters] == [(0, "handler_failed")]
    assert "bytes" in partition.dead_letters[0][2]
    assert partition.counts() == {"records": 3, "failed": 1}


def test_each_dead_letter_is_kept_once_however_a_batch_is_split(log: Log) -> None:
    for number in range(60):
        items = [f"{number}-{rank}-" + "x" * 100 for rank in range(100)]
        log.served(f"r{number}", NOW, items, user_id=f"u{number}")
        log.add("impressions", b"{rubbish", NOW)
    partition = folded(log)
    assert len(partition.dead_letters) == 60
    assert partition.counts()["unreadable"] == 60


def test_what_the_profiler_passes_on_counts_once(log: Log) -> None:
    log.served("r", NOW, ["item-1"], user_id=None, anonymous_id="visitor")
    original = log.did("e1", "item-1", NOW + 1, **VISITORS_PURCHASE)
    copy = log.did("e1", "item-1", NOW + 1, **(VISITORS_PURCHASE | {"user_id": "ann"}))
    origin = ForwardedFrom(original.position)
    partition = Partition(InsightsSettings())
    partition.take([log.records[0], original, replace(copy, headers=origin.headers())])
    assert partition.total()["conversions"] == 1
    assert partition.total()["organic_conversions"] == 0


@pytest.mark.parametrize(("by", "conversions"), [({}, 1), ({"user_id": "ann"}, 0)])
def test_what_comes_of_an_anonymous_list_belongs_to_it_under_the_anonymous_id_alone(
    log: Log, by: dict[str, str], conversions: int
) -> None:
    log.served("r", NOW, ["item-1"], user_id=None, anonymous_id="visitor")
    log.did("e1", "item-1", NOW + 1, **(VISITORS_PURCHASE | by))
    total = folded(log).total()
    assert (total["conversions"], total["organic_conversions"]) == (conversions, 1 - conversions)


def test_a_record_on_the_wrong_partition_counts_where_it_is_passed_on_to(log: Log) -> None:
    log.did("e1", "item-1", NOW)
    wrong = 1 - partition_of(b"u:ann", 2)
    for place, counted in ((wrong, 0), (1 - wrong, 1)):
        handler = PartitionHandler(InsightsSettings(), 2, LOGS, None, lambda *_: None, lambda: NOW)
        partition = Partition(InsightsSettings())
        partition.handler = handler
        origin = ForwardedFrom(LogPosition("log-b", wrong, 0))
        headers = () if place == wrong else origin.headers()
        partition.take([replace(log.records[0], partition=place, headers=headers)])
        assert partition.total()["organic_clicks"] == counted


def test_a_list_made_ahead_counts_once_however_late_it_is_clicked_again() -> None:
    hour = 3600.0
    log = Log()
    log.served("mail", NOW, ["item-1", "item-2"], batch=True)
    partition = folded(log, now=NOW + 50 * hour)
    for event_id, at in (("e1", NOW + hour), ("e2", NOW + 40 * hour)):
        partition.take([log.did(event_id, "item-1", at, request_id="mail")])
        partition.take([log.served(f"other-{event_id}", at + hour, ["item-9"])])
        partition.take([log.served(f"late-{event_id}", at + 28 * hour, [])])
    assert partition.total()["requests"] == 1 + 4
    assert partition.total()["clicks"] == 1


def test_a_click_stays_with_its_list_when_the_list_gets_old() -> None:
    hour = 3600.0
    log = Log()
    log.served("one", NOW, ["item-1"], strategy="one")
    log.served("two", NOW + 9 * hour, ["item-1"], strategy="two")
    clicks = (("e1", "one", NOW + 10 * hour), ("e2", "two", NOW + 26 * hour))
    partition = folded(log, now=NOW + 50 * hour)
    for event_id, request_id, at in clicks:
        partition.take([log.did(event_id, "item-1", at, request_id=request_id)])
        partition.take([log.served(f"r-{event_id}", at + 15.5 * hour, [])])
    assert partition.total()["clicks"] == 2


def test_catching_up_in_parts_loses_no_click() -> None:
    hour = 3600.0
    log = Log()
    first = log.served("r", NOW, ["item-1"])
    wide = [f"{rank}-" + "x" * 400 for rank in range(90)]
    lists = [log.served(f"w{number}", NOW + 60 * hour, wide, user_id=f"u{number}") for number in range(40)]
    click = log.did("e1", "item-1", NOW + 10, request_id="r")
    other = log.served("s", NOW + 60 * hour, ["item-2"])
    partition = Partition(InsightsSettings(), now=NOW + 60 * hour)
    assert partition.take([first, *lists, other, click])
    assert partition.total()["clicks"] == 1


def test_rows_that_can_be_decoded_and_not_added_up_stop_nobody(log: Log) -> None:
    log.served("r", NOW, ["item-1"], experiment="x", variant="a")
    log.did("e1", "item-1", NOW + 1)
    partition = folded(log)
    for key, value in partition.tables.rows[WINDOWS].items():
        plain = orjson.loads(value)
        if "clicked" in plain:
            plain["counts"]["clicks"] = "x"
        if "sums" in plain:
            plain["sums"] = [1.0]
        partition.tables.rows[WINDOWS][key] = orjson.dumps(plain)
    log.served("s", NOW + 2, ["item-1"], experiment="x", variant="a")
    assert partition.take(log.records[2:])
    assert partition.total()["requests"] == 1
    assert not partition.dead_letters


def test_who_signs_in_is_two_people_and_one_unit(log: Log) -> None:
    given: dict[str, Any] = {"experiment": "x", "revision": "1", "variant": "a"}
    log.served("r", NOW, ["item-1"], user_id=None, anonymous_id="visitor", **given)
    log.served("s", NOW + 1, ["item-1"], unit="a:visitor", **given)
    moments = folded(log).moments()[VariantKey("x", "1", "a")]
    assert (moments.people, moments.units) == (2, 1)


def test_somebody_who_comes_back_on_the_next_and_on_the_seventh_day_is_counted_on_the_first(log: Log) -> None:
    first = NOW // 86_400 * 86_400 + 100
    for day in (0, 1, 7):
        at = first + day * 86_400
        log.served(f"r{day}", at, ["item-1"])
    partition = folded(log, now=first + 8 * 86_400)
    counts = {
        (key.start - first + 100) // 86_400: cell.counts
        for key, cell in partition.cells().items()
        if key.size == "day" and cell.counts["visitors"]
    }
    assert [(day, one["visitors"], one["returned_1"], one["returned_7"]) for day, one in sorted(counts.items())] == [
        (0, 1, 1, 1),
        (1, 1, 0, 0),
        (7, 1, 0, 0),
    ]
