"""`eddyline dlq`, as an operator has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.kafka import KafkaForTest
from typer.testing import CliRunner, Result

from eddyline.adapters.kafka import EmbeddedBroker, KafkaProducer, LogReader, Outgoing, Record, TopicDeadLetterWriter
from eddyline.cli import app
from eddyline.errors import Misconfigured, NotFound

BURIED = 1_780_000_000.5
CLICK = {"type": "click", "item_id": "ferry", "user_id": "ada"}


def a_record(offset: int, value: Any = None, *, topic: str = "interactions", key: bytes | None = b"u:ada") -> Record:
    content = orjson.dumps(value) if isinstance(value, dict) else value
    return Record(topic, 2, offset, key, content, 1_700_000_000_000, "cluster/log", (("trace", b"\xfe"),))


class Place:
    """A data directory with dead letters, in use by a running Eddyline, and the command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "data"
        self.broker = EmbeddedBroker(self.directory / "journal")
        self.producer = KafkaProducer(self.broker.options)
        self.letters = TopicDeadLetterWriter(self.producer, lambda: self.now)
        self.now = BURIED

    def close(self) -> None:
        self.producer.close()
        self.broker.close()

    def bury(self, *records: Record, reason: str = "invalid_event", detail: str = "type: is needed") -> None:
        for record in records:
            self.letters.put(record, reason, detail)

    def dlq(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["dlq", *arguments, "--data-dir", str(self.directory)])

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        result = self.dlq("list", "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        return [orjson.loads(line) for line in result.stdout.splitlines()]

    def offsets(self) -> list[int]:
        return [each["offset"] for each in self.listed()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path)
    yield it
    it.close()


def test_the_list_counts_and_shows_the_newest(place: Place) -> None:
    place.bury(*(a_record(n, CLICK) for n in range(25)))
    place.now += 0.25
    place.bury(a_record(7, topic="users"), reason="odd", detail="nobody knows")
    shown = place.dlq("list").stdout
    rows = [line.split() for line in shown.splitlines()]
    assert ["interactions", "invalid_event", "25"] in rows
    assert ["users", "odd", "1"] in rows
    assert "The newest 20; 6 more with --limit" in shown
    [row] = [line for line in shown.splitlines() if line.startswith("users:2:7@")]
    assert row.split() == [row.split()[0], "odd", "2026-05-28T20:26:40Z", "nobody", "knows"]
    assert len([line for line in place.dlq("list", "--limit", "100").stdout.splitlines() if ":2:" in line]) == 26
    assert len([line for line in place.dlq("list", "--topic", "users.dlq").stdout.splitlines() if ":2:" in line]) == 1


def test_programs_get_the_whole_letter(place: Place) -> None:
    place.bury(a_record(7, CLICK), a_record(8, b"\xff", key=None))
    text, binary = place.listed()
    assert text == {
        "id": text["id"],
        "reason": "invalid_event",
        "detail": "type: is needed",
        "given_up_at": "2026-05-28T20:26:40.500Z",
        "attempt": 1,
        "topic": "interactions",
        "partition": 2,
        "offset": 7,
        "log": "cluster/log",
        "arrived": "2023-11-14T22:13:20.000Z",
        "key": "u:ada",
        "value": orjson.dumps(CLICK).decode(),
        "headers": [["trace", {"base64": "/g=="}]],
    }
    assert (binary["key"], binary["value"]) == (None, {"base64": "/w=="})
    assert len(place.listed("--limit", "1")) == 1


def test_one_letter_is_shown_whole(place: Place) -> None:
    place.bury(a_record(7, CLICK), a_record(8, b"\x00\xff" * 9), a_record(9, b"plain"), a_record(10))
    shown = place.dlq("show", "interactions:2:7").stdout
    for line in (
        "reason    invalid_event",
        "detail    type: is needed",
        "source    interactions, partition 2, offset 7, log cluster/log",
        "arrived   2023-11-14T22:13:20.000Z",
        "given up  2026-05-28T20:26:40.500Z, at attempt 1",
        "key       u:ada",
        "header    trace: base64 /g==",
        '  "item_id": "ferry",',
    ):
        assert line in shown.splitlines()
    assert "00000010  00 ff " in place.dlq("show", "interactions:2:8").stdout
    assert place.dlq("show", "interactions:2:9").stdout.endswith("5 bytes\nplain\n")
    assert "tombstone" in place.dlq("show", place.listed()[-1]["id"]).stdout
    missing = place.dlq("show", "interactions:2:77")
    assert isinstance(missing.exception, NotFound)


def test_a_picture_in_a_letter_is_not_poured_over_the_terminal(place: Place) -> None:
    address = "data:image/jpeg;base64," + "A" * 300_000
    place.bury(a_record(7, {"item_id": "a", "image_url": address}, topic="content"))
    shown = place.dlq("show", "content:2:7").stdout
    assert len(shown) < 2_000
    assert "data:image/jpeg;base64,AAAA" in shown
    assert "characters; `eddyline dlq list --json` has them all)" in shown
    assert '"item_id": "a",' in shown
    assert address in place.listed()[0]["value"]


def test_no_letter_talks_to_the_terminal(place: Place) -> None:
    place.bury(a_record(7, b"\x1b[2J\x9b", key=b"\x1b[2J"), detail="[red]\x1b[2J\r")
    place.bury(a_record(8, orjson.dumps({"a": "\x9b"}).replace(b"\\u009b", "\x9b".encode())))
    for arguments in (["list"], ["show", "interactions:2:7"], ["show", "interactions:2:8"]):
        shown = place.dlq(*arguments).stdout
        assert not set("\x1b\r\x9b") & set(shown)
    assert "[red]\\x1b[2J\\r" in place.dlq("list").stdout


def test_what_cannot_be_read_is_mentioned_shown_and_kept(place: Place) -> None:
    place.bury(a_record(7))
    place.producer.send_all([Outgoing("interactions.dlq", b"u:ada", b"{oops")])
    (odd,) = [each["id"] for each in place.listed() if each["id"].startswith("interactions.dlq:")]
    assert f"{odd}: it says that it is from topic None" in place.dlq("list").stdout
    assert place.dlq("show", odd).stdout.endswith("{oops\n")
    dropped = place.dlq("drop", "--yes")
    assert "Removed 1 dead letter\n" in dropped.stdout
    listed = place.dlq("list")
    assert "No dead letters in" in listed.stdout
    assert "it says that it is from topic None" in listed.stdout


def test_dropping_is_selective(place: Place) -> None:
    place.bury(*(a_record(n) for n in range(4)))
    place.bury(a_record(4, key=b"u:bob"), reason="odd")
    assert "Would remove 5 dead letters for good" in place.dlq("drop", "--dry-run").stdout
    assert place.offsets() == [0, 1, 2, 3, 4]
    place.dlq("drop", "--yes", "--place", "interactions:2:1", "--place", place.listed()[3]["id"])
    assert place.offsets() == [0, 2, 4]
    place.dlq("drop", "--yes", "--key", "u:bob")
    assert place.offsets() == [0, 2]
    place.dlq("drop", "--yes", "--until", "2026-05-28T20:26:40Z")
    assert place.offsets() == [0, 2]
    place.dlq("drop", "--yes", "--since", "1780000000", "--reason", "invalid_event", "--topic", "interactions")
    assert place.offsets() == []
    assert "No dead letters" in place.dlq("drop", "--yes").stdout


@pytest.mark.parametrize("command", ["drop", "replay"])
def test_nothing_is_removed_unasked(place: Place, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place.bury(a_record(7, CLICK))
    unattended = place.dlq(command)
    assert isinstance(unattended.exception, Misconfigured)
    assert "--yes" in str(unattended.exception)
    monkeypatch.setattr("eddyline.cli.dead_letter_commands._is_attended", lambda: True)
    declined = CliRunner().invoke(app, ["dlq", command, "--data-dir", str(place.directory)], input="n\n")
    assert "Nothing was done" in declined.stdout
    assert place.offsets() == [7]
    agreed = CliRunner().invoke(app, ["dlq", "drop", "--data-dir", str(place.directory)], input="y\n")
    assert agreed.exit_code == 0
    assert place.offsets() == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--topic", "clicks"], "'clicks' is none of content, availability, users"),
        (["--since", "yesterday"], "Invalid value for --since: 'yesterday' is not RFC 3339"),
        (["--until", "2026-01-01T00:00:00"], "Invalid value for --until: .*offset"),
    ],
)
def test_a_wrong_option_is_named(place: Place, arguments: list[str], reason: str) -> None:
    refused = place.dlq("list", *arguments)
    assert refused.exit_code == 2
    assert re.search(reason, " ".join(refused.stderr.replace("│", "").split()))


@pytest.mark.slow(10)
@pytest.mark.topics
def test_on_a_cluster_letters_go_back_to_their_topics(
    kafka: KafkaForTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDDYLINE_KAFKA__BOOTSTRAP_SERVERS", kafka.options.bootstrap_servers)
    monkeypatch.setenv("EDDYLINE_KAFKA__PREFIX", kafka.options.prefix)
    letters = TopicDeadLetterWriter(kafka.producer(), lambda: BURIED)
    for record in (a_record(1, CLICK), a_record(2, b"\xff", key=None), a_record(3, CLICK), a_record(4, topic="users")):
        letters.put(record, "invalid_event", "why")
    place = Place(tmp_path)
    place.close()
    assert sorted(place.offsets()) == [1, 2, 3, 4]
    assert "Removed 1 dead letter\n" in place.dlq("drop", "--yes", "--place", "interactions:2:1").stdout
    done = place.dlq("replay", "--yes", "--topic", "interactions")
    assert (done.exit_code, "Sent 2 dead letters again\n" in done.stdout) == (0, True)
    assert place.offsets() == [4]
    reader = LogReader(kafka.options)
    sent = [
        record
        for partition, bounds in reader.bounds("interactions").items()
        for record in reader.read("interactions", partition, *bounds)
    ]
    reader.close()
    assert {(record.key, record.headers) for record in sent} == {
        (b"u:ada", (("trace", b"\xfe"),)),
        (None, (("trace", b"\xfe"),)),
    }
    [nobodys] = [record for record in sent if record.key is None]
    assert (nobodys.partition, nobodys.value) == (2, b"\xff")
    [adas] = [record for record in sent if record.key is not None]
    assert orjson.loads(adas.value or b"")["event_id"] == "cluster/log:2:3"
