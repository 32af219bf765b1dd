"""Dead letters for the console: counted by reason, opened, sent again, dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from eddyline.adapters.kafka import DeadLetter, DeadLetterStore, Producer
from eddyline.errors import clip
from eddyline.maintenance.dead_letters import (
    DeadLetterSelection,
    TopicDestination,
    drop,
    replay,
    summarise_dead_letters,
)
from eddyline.model.events import format_timestamp

SHOWN: Final = 100
MAX_VALUE: Final = 4000
"""Characters of a value that are shown."""


class DeadLetterQuery(BaseModel):
    """Which dead letters to show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: Annotated[str, Field(max_length=100)] | None = None
    reason: Annotated[str, Field(max_length=200)] | None = None


class DeadLetterChoice(BaseModel):
    """Which dead letters to send again, or to drop: those with these ids."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ids: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(min_length=1, max_length=1000)]


class DeadLetterDesk:
    """The dead letters of a deployment. Each method reads all that it is asked about: call it from a thread."""

    def __init__(self, store: DeadLetterStore, producer: Producer) -> None:
        self._store, self._producer = store, producer

    def summary(self, query: DeadLetterQuery, with_people: bool) -> dict[str, Any]:
        """Count the letters by topic and reason, and show the newest of those asked for; without keys, values and
        headers unless `with_people`. Raises `Unavailable`."""
        everything = summarise_dead_letters(self._store.logs(), DeadLetterSelection())
        chosen = DeadLetterSelection(query.topic, query.reason)
        found = summarise_dead_letters(self._store.logs(query.topic), chosen, SHOWN)
        return {
            "total": everything.total,
            "counts": [
                {"topic": topic, "reason": reason, "count": count}
                for (topic, reason), count in everything.counts.most_common(100)
            ],
            "unreadable": len(everything.unreadable),
            "letters": [_shown(letter, with_people) for letter in found.newest],
        }

    def replay(self, choice: DeadLetterChoice) -> dict[str, Any]:
        """Send letters again, and remove those that were taken. Raises `Unavailable`."""
        outcome = replay(
            self._store.logs(), DeadLetterSelection(places=tuple(choice.ids)), TopicDestination(self._producer), _ignore
        )
        return {"accepted": outcome.accepted, "refused": [[letter.id, why] for letter, why in outcome.refused]}

    def drop(self, choice: DeadLetterChoice) -> dict[str, Any]:
        """Remove letters for good. Raises `Unavailable`."""
        return {"dropped": drop(self._store.logs(), DeadLetterSelection(places=tuple(choice.ids)), _ignore)}


def _ignore(_count: int) -> None:
    """Show no progress."""


def _shown(letter: DeadLetter, with_people: bool) -> dict[str, Any]:
    record = letter.record
    personal: dict[str, Any] = {"key": None, "value": None, "headers": []}
    if with_people:
        headers: Sequence[tuple[str, bytes]] = record.headers
        personal = {
            "key": _text(record.key),
            "value": _text(record.value),
            "headers": [[name, _text(value)] for name, value in headers[:50]],
        }
    return {
        "id": letter.id,
        "topic": record.topic,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempt": letter.attempt,
        "at": format_timestamp(letter.given_up_at / 1000),
        **personal,
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else clip(data[: 4 * MAX_VALUE].decode(errors="replace"), MAX_VALUE)
