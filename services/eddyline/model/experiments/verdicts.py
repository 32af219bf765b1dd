"""The record of a broken guardrail, because of which a variant gets no traffic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eddyline.model import events
from eddyline.model.events import Finite, Short, Timestamp, WireModel

Text = Annotated[str, Field(min_length=1, max_length=1000)]


class Verdict(WireModel):
    """Internal, topic `verdicts`, key `<experiment>/<variant>`: a guardrail stopped this variant; a tombstone lets it
    go on. It holds for one revision of the experiment: once that is changed, all variants get traffic again."""

    experiment: Short
    revision: Short
    variant: Short
    metric: Short
    """The guardrail's."""
    value: Finite
    """What was measured."""
    bound: Finite
    """What it must not pass."""
    at: Timestamp
    reason: Text
    """In a sentence."""

    @property
    def key(self) -> str:
        """The record's: of each variant the latest is kept, whatever else the topic's compaction drops."""
        return f"{self.experiment}/{self.variant}"


def parse_verdict(data: bytes | None) -> Verdict:
    """Parse one record's value. Raises `InvalidEvent` with the field and the reason."""
    return events.parse_event(Verdict, data)
