"""What a data directory of a version without a log holds in files is in the log after the first start."""

from __future__ import annotations

from base64 import b64encode
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from eddyline.adapters.kafka import (
    DeadLetter,
    EmbeddedBroker,
    KafkaProducer,
    LogReader,
    TopicDeadLetterStore,
    TopicDeadLetterWriter,
)
from eddyline.errors import Misconfigured
from eddyline.model.experiments.verdicts import Verdict, parse_verdict
from eddyline.runtime.former_data import take_in_former_data

LETTER = {
    "reason": "unknown_item",
    "detail": "item 'ferry' didn't arrive",
    "topic": "interactions",
    "partition": "2",
    "offset": "7",
    "log": "an earlier log",
    "timestamp": "1700000000000",
    "attempt": "3",
    "at": "1780000000500",
    "key": b64encode(b"u:ada").decode(),
    "value": None,
    "headers": [["trace", b64encode(b"\xfe").decode()]],
}


def take_in(place: Path, broker: EmbeddedBroker) -> list[DeadLetter]:
    with closing(KafkaProducer(broker.options)) as producer:
        take_in_former_data(place, producer, TopicDeadLetterWriter(producer))
        with closing(TopicDeadLetterStore(broker.options, producer)) as box:
            return [letter for log in box.logs() for letter in log.read() if isinstance(letter, DeadLetter)]


def test_dead_letters_are_what_they_were_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "dead-letters"
    folder.mkdir()
    line = orjson.dumps(LETTER) + b"\n"
    (folder / "interactions.jsonl").write_bytes(line + b"{half a li")
    (folder / "users.jsonl").write_bytes(orjson.dumps({**LETTER, "topic": "users"}) + b"\n")
    with closing(EmbeddedBroker(tmp_path / "journal")) as broker:
        for _ in range(2):
            users, interactions = sorted(take_in(tmp_path, broker), key=lambda one: one.record.topic, reverse=True)
        assert (users.record.topic, interactions.record.topic) == ("users", "interactions")
        record = interactions.record
        assert (record.partition, record.offset, record.log) == (2, 7, "an earlier log")
        assert (record.key, record.value, record.headers) == (b"u:ada", None, (("trace", b"\xfe"),))
        assert (interactions.reason, interactions.attempt) == ("unknown_item", 3)
        assert interactions.given_up_at == 1780000000500
    assert [path.name for path in folder.iterdir()] == ["interactions.taken"], "with the line that can't be read"


def test_variants_that_were_stopped_stay_stopped(tmp_path: Path) -> None:
    stopped = Verdict(
        experiment="films",
        revision="1",
        variant="bold",
        metric="ctr",
        value=0.01,
        bound=0.02,
        at=1_790_000_000.0,
        reason="too few clicks",
    )
    path = tmp_path / "insights" / "verdicts.json"
    path.parent.mkdir()
    with closing(EmbeddedBroker(tmp_path / "journal")) as broker, closing(LogReader(broker.options)) as log:
        path.write_bytes(orjson.dumps([stopped.to_bytes().decode()]))
        for _ in range(2):
            take_in(tmp_path, broker)
        (kept,) = [one for n, bounds in log.bounds("verdicts").items() for one in log.read("verdicts", n, *bounds)]
        assert (kept.key, parse_verdict(kept.value)) == (b"films/bold", stopped)
        path.write_bytes(b"[7]")
        with pytest.raises(Misconfigured, match="doesn't hold verdicts"):
            take_in(tmp_path, broker)
