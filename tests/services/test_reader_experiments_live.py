"""What a reader knows of experiments while it runs: a file that changes, and variants that are stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.kafka import KafkaForTest, wait_until

from eddyline.adapters.kafka import Outgoing, Record, TopicTail
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.model.experiments.verdicts import Verdict, parse_verdict
from eddyline.reader import ExperimentsWatcher, StoppedVariants
from eddyline.settings import Settings
from eddyline.topics import VERDICTS

LOG = "a-log"


def written(name: str) -> str:
    return f'[[experiment]]\nname = "{name}"\n' + "".join(
        f'[[experiment.variant]]\nname = "{variant}"\n' for variant in ("control", "other")
    )


class Living:
    """A file, and what is known of it; looked at when it is told to."""

    def __init__(self, path: Path, text: str | None = written("one")) -> None:
        self.path, self.metrics = path / "experiments.toml", Metrics()
        self._time = 1_790_000_000
        if text is not None:
            self.write(text)
        self.live = ExperimentsWatcher(Settings(experiments_file=self.path), self.metrics)

    def write(self, text: str) -> None:
        """At another time than before."""
        self.path.write_text(text, encoding="utf-8")
        self._time += 1
        os.utime(self.path, (self._time, self._time))

    def look(self, times: int = 2) -> list[str]:
        """What is in force after so many looks."""
        for _ in range(times):
            self.live.reload_if_changed()
        return [experiment.name for experiment in self.live.current().experiments]

    @property
    def refused(self) -> float | None:
        return self.metrics.registry.get_sample_value("eddyline_reader_experiments_refused")


@pytest.fixture
def it(tmp_path: Path) -> Living:
    return Living(tmp_path)


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_changed_file_is_in_force_without_a_restart(it: Living) -> None:
    assert it.look(0) == ["one"]
    it.write(written("two"))
    assert it.look() == ["two"]


def test_a_file_that_is_still_being_written_is_left_alone(it: Living) -> None:
    it.write(written("two")[:-30])
    assert it.look(1) == ["one"]
    it.write(written("two"))
    assert it.look(1) == ["one"]
    assert it.look(1) == ["two"]
    assert it.refused == 0


def test_a_file_that_does_not_change_is_not_read_again(it: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    assert it.look(5) == ["one"]


def test_a_wrong_file_is_refused_once_and_what_was_in_force_stays(it: Living) -> None:
    it.write(written("two") + "share = 5\n")
    with capture_logs() as logged:
        assert it.look(5) == ["one"]
    (line,) = logged
    assert (line["log_level"], it.refused) == ("error", 1)
    assert "experiment 'two', variant 'other', share: there is no such key" in line["reason"]
    it.write(written("three"))
    assert (it.look(), it.refused) == (["three"], 0)


def test_a_wrong_file_at_the_start_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"experiments\.toml is not valid TOML"):
        Living(tmp_path, "[[")


def test_a_file_that_comes_and_one_that_goes(tmp_path: Path) -> None:
    it = Living(tmp_path, None)
    assert it.look() == []
    it.write(written("one"))
    assert it.look() == ["one"]
    it.path.unlink()
    assert it.look() == []
    assert it.refused == 0


@pytest.mark.slow(10)
def test_it_looks_by_itself_until_it_is_closed(it: Living) -> None:
    it.live.start()
    it.write(written("two"))
    wait_until(lambda: it.look(0) == ["two"], "the file is read anew")
    it.live.close()
    it.live.close()


# -- the verdicts ------------------------------------------------------------------------------------------------------


def verdict(variant: str = "other", revision: str = "0123abcd", experiment: str = "one") -> Verdict:
    return Verdict(
        experiment=experiment,
        revision=revision,
        variant=variant,
        metric="ctr",
        value=0.01,
        bound=0.02,
        at=1_790_000_000.0,
        reason="ctr was 0.01, under 0.02",
    )


def record(value: Verdict | bytes | None, key: str | None = None, log: str = LOG) -> Record:
    data = value.to_bytes() if isinstance(value, Verdict) else value
    named = key or (value.key if isinstance(value, Verdict) else "one/other")
    return Record(VERDICTS, 0, 0, named.encode(), data, 0, log)


@pytest.fixture
def board() -> StoppedVariants:
    return StoppedVariants(Metrics())


def test_a_verdict_is_what_it_is_written_as() -> None:
    assert parse_verdict(verdict().to_bytes()) == verdict()
    assert verdict().key == "one/other"


def test_each_stopped_variant_is_known(board: StoppedVariants) -> None:
    assert board.stopped() == frozenset()
    for one in (verdict(), verdict("third"), verdict(experiment="two")):
        board.apply(record(one))
    assert board.stopped() == {("one", "0123abcd", "other"), ("one", "0123abcd", "third"), ("two", "0123abcd", "other")}


def test_the_latest_verdict_of_a_variant_counts_and_a_tombstone_lets_it_go_on(board: StoppedVariants) -> None:
    board.apply(record(verdict()))
    board.apply(record(verdict(revision="89abcdef")))
    assert board.stopped() == {("one", "89abcdef", "other")}
    board.apply(record(verdict("third")))
    board.apply(record(None))
    assert board.stopped() == {("one", "0123abcd", "third")}
    board.apply(record(None, "one/nobody"))
    assert board.stopped() == {("one", "0123abcd", "third")}


def test_a_topic_that_was_created_anew_begins_anew(board: StoppedVariants) -> None:
    board.apply(record(verdict()))
    board.apply(record(verdict("third"), log="another log"))
    assert board.stopped() == {("one", "0123abcd", "third")}


@pytest.mark.parametrize("rubbish", [b"", b"\xff", b"{}", b"[]", b'{"experiment": 1}', verdict().to_bytes()[:-1]])
def test_rubbish_is_counted_and_changes_nothing(rubbish: bytes) -> None:
    metrics = Metrics()
    board = StoppedVariants(metrics)
    board.apply(record(verdict()))
    board.apply(record(rubbish))
    assert board.stopped() == {("one", "0123abcd", "other")}
    assert metrics.registry.get_sample_value("eddyline_reader_verdicts_ignored_total") == 1


@pytest.mark.topics("verdicts")
def test_verdicts_come_from_the_topic_those_of_before_and_those_to_come(kafka: KafkaForTest) -> None:
    producer, board = kafka.producer(), StoppedVariants(Metrics())

    def tell(one: Verdict, value: bytes | None) -> None:
        producer.send_all([Outgoing(VERDICTS, one.key.encode(), value)])

    tell(verdict(), verdict().to_bytes())
    tell(verdict("third"), b"rubbish")
    tail = TopicTail(kafka.options, VERDICTS, board.apply)
    tail.start()
    wait_until(lambda: tail.caught_up, "it has read what there was")
    assert board.stopped() == {("one", "0123abcd", "other")}
    tell(verdict("third"), verdict("third").to_bytes())
    wait_until(lambda: len(board.stopped()) == 2, "another is stopped")
    tell(verdict(), None)
    wait_until(lambda: board.stopped() == {("one", "0123abcd", "third")}, "the first goes on")
    tail.close()
