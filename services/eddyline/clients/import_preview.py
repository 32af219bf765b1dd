"""What an import would send, checked without a running Eddyline."""

from __future__ import annotations

from dataclasses import dataclass, field

from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.clients.sources import Source
from eddyline.errors import InvalidEvent
from eddyline.model.events import Content, Identify, ImpressionReport, Interaction, User, WireModel, validate_event

FIRST = 10
_EVENTS: dict[str, type[WireModel]] = {"identify": Identify, "impression": ImpressionReport}


@dataclass(slots=True)
class ImportPreview:
    """The first lines as they would be sent, counts by stage of all, and what would be refused."""

    first: list[SourceLine] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    refused: list[RefusedLine] = field(default_factory=list)


def check_source(source: Source) -> ImportPreview:
    """Read all of a source and check it as the HTTP API does, but for what only its settings know (the event types)."""
    preview = ImportPreview(refused=list(source.refused()))
    for what, lines in (("items", source.items), ("users", source.users), ("events", source.events)):
        preview.counts[what] = 0
        for line in lines():
            try:
                validate_event(_model(what, line), line.value)
            except InvalidEvent as error:
                preview.refused.append(RefusedLine.at(line.where, error.field, error.reason, line.value))
                continue
            preview.counts[what] += 1
            if len(preview.first) < FIRST:
                preview.first.append(line)
    return preview


def _model(what: str, line: SourceLine) -> type[WireModel]:
    if what == "items":
        return Content
    return User if what == "users" else _EVENTS.get(str(line.value.get("type")), Interaction)
