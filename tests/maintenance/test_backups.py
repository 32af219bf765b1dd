"""Backups of a data directory: consistent while it is written, whole or not there, put back only where nothing is."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from eddyline.adapters.kafka import (
    EmbeddedBroker,
    KafkaProducer,
    LogReader,
    OffsetAndMetadata,
    Outgoing,
    TopicPartition,
)
from eddyline.adapters.kafka.embedded.store_hold import store_held
from eddyline.adapters.vectors import CollectionSpec, EdgeStore, Point
from eddyline.errors import AlreadyRunning, EddylineError, Misconfigured, Unavailable
from eddyline.maintenance import backups
from eddyline.maintenance.backups import MANIFEST, make_backup, restore_backup
from eddyline.maintenance.data_directory import UNFINISHED_RESTORE, check_restored
from eddyline.topics import CONTENT

GROUP = "folder"
COLLECTION = "watermarks"
POINT = str(uuid.UUID(int=1))


@dataclass
class Installation:
    """A broker and a store on a data directory, as `eddyline up` has them."""

    data_dir: Path
    broker: EmbeddedBroker
    store: EdgeStore

    @classmethod
    def open(cls, data_dir: Path) -> Installation:
        store = EdgeStore(data_dir / "vectors", flush_every_seconds=0.05)
        broker = EmbeddedBroker(data_dir / "journal", partitions=1, topics=[CONTENT], rewinds=True)
        store.on_flush(broker.checkpoint)
        broker.hold_store_with(store.held)
        store.ensure(CollectionSpec(COLLECTION, {}, sparse=("none",)))
        return cls(data_dir, broker, store)

    def close(self) -> None:
        self.store.flush()
        self.broker.close()
        self.store.close()

    def watermark(self) -> int:
        """The last offset that the store says it has."""
        found = self.store.retrieve(COLLECTION, [POINT])
        return int(found[POINT].payload["offset"]) if found else -1

    def goes_on_at(self) -> int:
        """Where the group goes on, and the end of the log."""
        with closing(LogReader(self.broker.options)) as log:
            found = log.committed(GROUP, CONTENT)[0]
            return 0 if found is None else found.offset

    def end(self) -> int:
        with closing(LogReader(self.broker.options)) as log:
            return log.bounds(CONTENT)[0].high


class Folder(threading.Thread):
    """Does what a service does: appends, stores how far it is, then commits; until it is told to stop."""

    def __init__(self, place: Installation) -> None:
        super().__init__(daemon=True)
        self._place, self.over = place, threading.Event()
        self.acknowledged = -1

    def run(self) -> None:
        options = self._place.broker.options
        with closing(KafkaProducer(options)) as producer, closing(LogReader(options)) as log:
            while not self.over.is_set():
                self.acknowledged = producer.send_all([Outgoing(CONTENT, b"key", b"value")])[0].offset
                self._place.store.upsert(COLLECTION, [Point(POINT, payload={"offset": self.acknowledged})])
                log.commit(GROUP, {TopicPartition(CONTENT, 0): OffsetAndMetadata(self.acknowledged + 1, "")})

    def stop(self) -> None:
        self.over.set()
        self.join()

    def await_more(self, records: int = 5) -> int:
        """Wait until it has come on; return what is acknowledged then."""
        begun, deadline = self.acknowledged, time.monotonic() + 20
        while self.acknowledged < begun + records:
            assert time.monotonic() < deadline, "it stands still"
            time.sleep(0.005)
        return self.acknowledged


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation.open(tmp_path / "data")
    yield installation
    installation.close()


@pytest.mark.slow(10)
def test_in_a_backup_no_watermark_is_ahead_of_the_log_and_no_group_ahead_of_the_store(
    place: Installation, tmp_path: Path
) -> None:
    folder = Folder(place)
    folder.start()
    for number in range(2):
        before = folder.await_more()
        make_backup(place.data_dir, tmp_path / f"backup-{number}")
        restore_backup(tmp_path / f"backup-{number}", tmp_path / f"restored-{number}")
        restored = Installation.open(tmp_path / f"restored-{number}")
        watermark, goes_on_at, end = restored.watermark(), restored.goes_on_at(), restored.end()
        restored.close()
        assert before < end
        assert watermark < end
        assert goes_on_at <= watermark + 1
    folder.stop()


def test_a_backup_of_what_nobody_runs_is_made_and_goes_on_where_it_was(tmp_path: Path) -> None:
    place = Installation.open(tmp_path / "data")
    folder = Folder(place)
    folder.start()
    folder.await_more()
    folder.stop()
    place.close()
    made = make_backup(tmp_path / "data", tmp_path / "backup")
    assert (made.points, made.records) == ({COLLECTION: 1}, {CONTENT: folder.acknowledged + 1})
    assert restore_backup(tmp_path / "backup", tmp_path / "restored") == made
    restored = Installation.open(tmp_path / "restored")
    found = (restored.watermark() + 1, restored.goes_on_at(), restored.end())
    restored.close()
    assert found == (folder.acknowledged + 1,) * 3


def test_a_failed_backup_leaves_nothing(place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(vectors: Path) -> dict[str, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backups, "_count_points", fail)
    with pytest.raises(EddylineError, match="No space left"):
        make_backup(place.data_dir, tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_what_a_killed_backup_left_is_no_backup_and_in_nobodys_way(place: Installation, tmp_path: Path) -> None:
    remains = tmp_path / ".backup.unfinished"
    (remains / "vectors").mkdir(parents=True)
    (remains / "journal.db").touch()
    with pytest.raises(Misconfigured, match="no whole backup"):
        restore_backup(remains, tmp_path / "restored")
    make_backup(place.data_dir, tmp_path / "backup")
    assert not remains.exists()
    restore_backup(tmp_path / "backup", tmp_path / "restored")


def test_a_backup_overwrites_nothing(place: Installation, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "mine").touch()
    with pytest.raises(Misconfigured, match=r"not empty \(it holds mine\)"):
        make_backup(place.data_dir, tmp_path / "backup")


def test_what_is_no_data_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no data directory of an embedded Eddyline"):
        make_backup(tmp_path, tmp_path / "backup")
    assert not list(tmp_path.iterdir())


def test_a_damaged_backup_is_refused_and_restores_nothing(place: Installation, tmp_path: Path) -> None:
    make_backup(place.data_dir, tmp_path / "backup")
    database = tmp_path / "backup" / "journal" / "journal.db"
    data = bytearray(database.read_bytes())
    data[-1] ^= 1
    database.write_bytes(data)
    with pytest.raises(Misconfigured, match=r"journal\.db is not what was backed up"):
        restore_backup(tmp_path / "backup", tmp_path / "restored")
    assert not list((tmp_path / "restored").iterdir())
    manifest = orjson.loads((tmp_path / "backup" / MANIFEST).read_bytes())
    manifest["files"]["../outside"] = [0, ""]
    (tmp_path / "backup" / MANIFEST).write_bytes(orjson.dumps(manifest))
    with pytest.raises(Misconfigured, match=r"a file that is not in it, \.\./outside"):
        restore_backup(tmp_path / "backup", tmp_path / "restored")
    (tmp_path / "backup" / MANIFEST).write_bytes(b"{")
    with pytest.raises(Misconfigured, match="can't be read"):
        restore_backup(tmp_path / "backup", tmp_path / "restored")


def test_a_backup_is_put_only_where_nothing_is(place: Installation, tmp_path: Path) -> None:
    make_backup(place.data_dir, tmp_path / "backup")
    with pytest.raises(Misconfigured, match=r"not empty .*--data-dir"):
        restore_backup(tmp_path / "backup", place.data_dir)


def test_nothing_starts_on_what_is_half_restored(place: Installation, tmp_path: Path) -> None:
    make_backup(place.data_dir, tmp_path / "backup")
    restored = tmp_path / "restored"
    (restored / UNFINISHED_RESTORE).mkdir(parents=True)
    with pytest.raises(Misconfigured, match="only half restored"):
        check_restored(restored)
    restore_backup(tmp_path / "backup", restored)
    check_restored(restored)


def test_one_who_holds_the_store_and_goes_away_holds_it_no_longer(place: Installation) -> None:
    class Gone(Exception):
        pass

    journal = place.data_dir / "journal"
    with pytest.raises(Gone), store_held(journal):
        raise Gone
    deadline = time.monotonic() + 10
    while True:
        try:
            with store_held(journal):
                break
        except Unavailable:  # until the other's connection has ended
            assert time.monotonic() < deadline
    place.store.upsert(COLLECTION, [Point(POINT, payload={"offset": 0})])


def test_a_hold_that_did_not_last_fails_the_backup(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eddyline.adapters.kafka.embedded.store_hold.MAX_SECONDS", 0.0)
    with pytest.raises(Unavailable, match=r"copying it took longer: .*stop Eddyline"):
        make_backup(place.data_dir, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_two_backups_at_once_are_one_too_many(place: Installation, tmp_path: Path) -> None:
    with store_held(place.data_dir / "journal"), pytest.raises(Unavailable, match="another backup"):
        make_backup(place.data_dir, tmp_path / "backup")


def test_a_command_that_uses_the_journal_alone_is_no_eddyline_to_ask(tmp_path: Path) -> None:
    place = Installation.open(tmp_path / "data")
    place.store.close()
    with pytest.raises(AlreadyRunning):
        make_backup(tmp_path / "data", tmp_path / "backup")
    place.broker.close()
