"""What versions without a log kept in files of the data directory: taken into the log once, then removed."""

from __future__ import annotations

from pathlib import Path

import orjson
import structlog

from eddyline.adapters.kafka import Outgoing, Producer, TopicDeadLetterWriter, read_dead_letter_file
from eddyline.errors import InvalidEvent, Misconfigured
from eddyline.model.experiments.verdicts import parse_verdict
from eddyline.topics import VERDICTS

log = structlog.get_logger("eddyline")


def take_in_former_data(data_dir: Path, producer: Producer, dead_letters: TopicDeadLetterWriter) -> None:
    """Write dead letters and verdicts to their topics. After a crash some are there twice, which changes nothing.

    Raises `Misconfigured` for a file that can't be read, and `Unavailable`.
    """
    for path in sorted((data_dir / "dead-letters").glob("*.jsonl")):
        letters, unreadable = read_dead_letter_file(path)
        dead_letters.put_letters(letters)
        log.info("took dead letters into the log", file=path.name, letters=len(letters), unreadable=unreadable)
        path.replace(path.with_suffix(".taken")) if unreadable else path.unlink()
    _take_in_verdicts(data_dir / "insights" / "verdicts.json", producer)
    (data_dir / "clean-stop.json").unlink(missing_ok=True)


def _take_in_verdicts(path: Path, producer: Producer) -> None:
    if not path.exists():
        return
    try:
        kept = [parse_verdict(one.encode()) for one in orjson.loads(path.read_bytes())]
    except (ValueError, AttributeError, InvalidEvent) as error:
        raise Misconfigured(
            f"{path} doesn't hold verdicts ({error}): fix it, or delete it to let all variants go on"
        ) from None
    producer.send_all([Outgoing(VERDICTS, one.key.encode(), one.to_bytes()) for one in kept])
    path.unlink()
