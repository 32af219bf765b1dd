"""An embedded installation copied to a cluster: offsets, times and names of logs, wherever they are kept."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer as LibraryProducer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from tests.support.kafka import KafkaForTest
from tests.support.memory_store import MemoryStore

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    KafkaOptions,
    LogReader,
    OffsetAndMetadata,
    TopicPartition,
    ensure_topics,
    log_identities,
)
from eddyline.adapters.kafka.ownership import commit_metadata, is_from_log
from eddyline.adapters.kafka.topic_admin import create_topics_to_fill, finish_topics
from eddyline.adapters.vectors import EdgeStore, Point, generations
from eddyline.errors import Misconfigured
from eddyline.maintenance.cluster_move import Destination, Origin, move_to_cluster
from eddyline.model.distance import Distance
from eddyline.model.forwarding import ForwardedFrom
from eddyline.model.ids import Person, item_point_id, person_point_id
from eddyline.model.offsets import LogPosition
from eddyline.model.profile import Profile, decode_profile, pack_profile
from eddyline.profiler import to_profile_point
from eddyline.runtime.collection_setup import create_collections
from eddyline.settings import Settings
from eddyline.topics import ACTIVITY, CONTENT, INTERACTIONS, USERS

SETTINGS = Settings()
AGO = int(time.time() * 1000) - 5 * 86_400_000
ADA = Person("u", "ada")
CUT = 3
"""Records at the beginning of each log that it doesn't hold any more."""


@dataclass
class Here:
    """The installation that is moved."""

    options: KafkaOptions
    store: EdgeStore
    logs: dict[str, str]

    @property
    def origin(self) -> Origin:
        return Origin(self.options, self.store)

    def send(self, topic: str, *values: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        """Send records to partition 1, each as of a second after the one before."""
        producer = LibraryProducer({"bootstrap.servers": self.options.bootstrap_servers})
        for number, value in enumerate(values):
            producer.produce(
                topic, value, f"k{number}", partition=1, timestamp=AGO + 1000 * number, headers=list(headers)
            )
        assert producer.flush(10) == 0

    def cut(self, topic: str) -> None:
        """Have a log begin at `CUT`."""
        admin = AdminClient({"bootstrap.servers": self.options.bootstrap_servers})
        (future,) = admin.delete_records([KafkaPartition(topic, 1, CUT)]).values()
        future.result(10)

    def at(self, topic: str, offset: int) -> LogPosition:
        return LogPosition(self.logs[topic], 1, offset)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    broker, store = EmbeddedBroker(tmp_path / "journal"), EdgeStore(tmp_path / "vectors")
    create_collections(store, SETTINGS, 4, Distance.COSINE)
    yield Here(broker.options, store, log_identities(broker.options, [CONTENT, USERS, INTERACTIONS, ACTIVITY]))
    store.close()
    broker.close()


@pytest.fixture
def there(real_kafka: KafkaForTest) -> KafkaOptions:
    return replace(real_kafka.options, prefix=f"moved-{uuid.uuid4().hex[:8]}.")


def profile(here: Here) -> Profile:
    """Somebody whose profile names places in three logs."""
    made = Profile(ADA, SETTINGS.profile, events=2, last_seen=1.0)
    made.delivery.advance(here.at(INTERACTIONS, 4))
    made.delivery.check_sequence(ForwardedFrom(here.at(INTERACTIONS, 3)))
    made.delivery.users_position = here.at(USERS, 5)
    return made


@pytest.mark.slow(30)
def test_everything_is_where_it_was_and_every_log_goes_by_its_new_name(here: Here, there: KafkaOptions) -> None:
    payload, vectors = pack_profile(profile(here), 1)
    transfer = {"type": "transfer", "user_id": "ada", "payload": payload, "vectors": vectors}
    origin = ForwardedFrom(here.at(INTERACTIONS, 3), 2)
    listing = {"type": "listing", "item_id": "i", "origin": here.at(CONTENT, 4)._asdict()}
    here.send(CONTENT, *(b'{"n": %d}' % n for n in range(6)))
    here.send(USERS, *(b"{}" for n in range(6)))
    here.send(ACTIVITY, *(orjson.dumps(listing) for n in range(6)))
    sent = (b"{}", b"{}", b"{}", b'{"n": 3}', b'{"n": 4}', orjson.dumps(transfer))
    here.send(INTERACTIONS, *sent, headers=origin.headers())
    for topic in (CONTENT, USERS, INTERACTIONS):
        here.cut(topic)
    item = {"item_id": "i", "source": here.at(CONTENT, 5)._asdict(), "meta": {"title": "I"}}
    here.store.upsert("items", [Point(item_point_id("i"), payload=item)])
    row = {"item_id": "i", "row": {"log": f"{here.logs[ACTIVITY]}:1", "offset": 5}, "epoch": 2.0}
    here.store.upsert("rows", [Point(item_point_id("i"), payload=row)])
    here.store.upsert("profiles", [replace(to_profile_point(profile(here), 1), id=person_point_id(ADA))])
    with closing(LogReader(here.options)) as log:
        for group, topic in (("embedder", CONTENT), ("profiler", INTERACTIONS)):
            position = OffsetAndMetadata(5, commit_metadata(7, here.logs[topic]))
            log.commit(group, {TopicPartition(topic, 1): position})

    store = MemoryStore()
    move_to_cluster(here.origin, Destination(there, store), lambda _: None)

    logs = log_identities(there, here.logs)
    with closing(LogReader(there)) as log:
        kept = list(log.read(INTERACTIONS, 1, CUT, 6))
        assert log.bounds(INTERACTIONS)[1] == (CUT, 6)
        assert [(one.offset, one.key, one.timestamp) for one in kept] == [
            (n, b"k%d" % n, AGO + 1000 * n) for n in range(CUT, 6)
        ]
        assert [one.value for one in kept[:2]] == list(sent[3:5])
        forwarded = ForwardedFrom.from_headers(kept[0].headers)
        assert forwarded == ForwardedFrom(LogPosition(logs[INTERACTIONS], 1, 3), 2)
        carried = decode_profile(ADA, orjson.loads(kept[2].value or b"")["payload"], {}, SETTINGS.profile)
        content = list(log.read(CONTENT, 1, 0, 3))
        assert [(one.value, one.timestamp) for one in content] == [
            (b'{"n": %d}' % n, AGO + 1000 * n) for n in (3, 4, 5)
        ]
        (listed, *_) = log.read(ACTIVITY, 1, 5, 6)
        assert orjson.loads(listed.value or b"")["origin"] == LogPosition(logs[CONTENT], 1, 4 - CUT)._asdict()
        for group, topic, offset in (("embedder", CONTENT, 5 - CUT), ("profiler", INTERACTIONS, 5)):
            committed = log.committed(group, topic)[1]
            assert committed is not None
            assert (committed.offset, is_from_log(logs[topic], committed.metadata)) == (offset, True)
            assert is_from_log(here.logs[topic], committed.metadata) is False
    moved = store.retrieve("profiles", [person_point_id(ADA)])[person_point_id(ADA)]
    for one in (decode_profile(ADA, moved.payload, moved.vectors, SETTINGS.profile), carried):
        delivery = one.delivery
        assert delivery.watermarks == delivery.first == {logs[INTERACTIONS]: {1: 4}}
        assert delivery.origins == {logs[INTERACTIONS]: {1: 3}}
        assert delivery.users_position == LogPosition(logs[USERS], 1, 5 - CUT)
    point = item_point_id("i")
    assert store.retrieve("items", [point])[point].payload["source"] == LogPosition(logs[CONTENT], 1, 2)._asdict()
    assert store.retrieve("rows", [point])[point].payload == {**row, "row": {"log": f"{logs[ACTIVITY]}:1", "offset": 5}}
    assert generations.live(store) == generations.live(here.store)
    assert not any(ensure_topics(there).values())


@pytest.mark.slow(20)
def test_no_service_starts_on_topics_that_are_still_being_filled(there: KafkaOptions) -> None:
    create_topics_to_fill(there)
    with pytest.raises(Misconfigured, match=r"message\.timestamp\.type is CreateTime"):
        ensure_topics(there)
    finish_topics(there)
    assert not any(ensure_topics(there).values())


def test_what_is_on_the_cluster_already_is_left_alone(here: Here, embedded_cluster: KafkaOptions) -> None:
    store = MemoryStore()
    with pytest.raises(Misconfigured, match=r"a topic activity already: choose a prefix .*EDDYLINE_KAFKA__PREFIX"):
        move_to_cluster(here.origin, Destination(embedded_cluster, store), lambda _: None)
    create_collections(store, SETTINGS, 4, Distance.COSINE)
    elsewhere = replace(embedded_cluster, prefix="other.")
    with pytest.raises(Misconfigured, match=r"a collection blends already: .*EDDYLINE_QDRANT__PREFIX"):
        move_to_cluster(here.origin, Destination(elsewhere, store), lambda _: None)


def test_partitions_must_be_as_many_there_as_here(here: Here, embedded_cluster: KafkaOptions) -> None:
    more = replace(embedded_cluster, prefix="other.", partitions=6)
    with pytest.raises(Misconfigured, match=r"4 partitions here.*set EDDYLINE_KAFKA__PARTITIONS=4"):
        move_to_cluster(here.origin, Destination(more, MemoryStore()), lambda _: None)


@pytest.fixture
def embedded_cluster(tmp_path: Path) -> Iterator[KafkaOptions]:
    """A cluster with Eddyline's topics."""
    broker = EmbeddedBroker(tmp_path / "cluster")
    yield broker.options
    broker.close()
