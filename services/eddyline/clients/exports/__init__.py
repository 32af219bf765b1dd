"""Exports of other systems, by name: how a file of theirs is recognised, and read as our own lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eddyline.clients.exports import event_archives, merchant, shopify_csv
from eddyline.clients.lines import RefusedLine, SourceLine
from eddyline.clients.text_files import read_lines
from eddyline.errors import InvalidInput
from eddyline.settings import EventSettings

_LOOKED_AT = 5
"""Lines by which a file is recognised."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export of another system. `recognise` gets a file's first lines."""

    recognise: Callable[[list[str]], bool]
    read: Callable[[Path, EventSettings], Iterator[SourceLine | RefusedLine]]


EXPORTS: Mapping[str, ExportFormat] = {
    "shopify": ExportFormat(shopify_csv.recognise, lambda file, _: shopify_csv.read(file)),
    "merchant-xml": ExportFormat(merchant.recognise_xml, lambda file, _: merchant.read_xml(file)),
    "merchant-tsv": ExportFormat(merchant.recognise_tsv, lambda file, _: merchant.read_tsv(file)),
    "ga4": ExportFormat(event_archives.recognise_ga4, event_archives.read_ga4),
    "segment": ExportFormat(event_archives.recognise_segment, event_archives.read_segment),
}
"""By the name that `--format` takes."""
AUTO, OWN = "auto", "own"


def export_format(name: str, file: Path) -> ExportFormat | None:
    """Return the format of a file, recognised where `name` is auto; None for our own. Raises `InvalidInput`."""
    if name == OWN:
        return None
    if name != AUTO:
        if name not in EXPORTS:
            raise InvalidInput(f"there is no format {name!r}: take {AUTO}, {OWN}, {', '.join(EXPORTS)}", "format")
        return EXPORTS[name]
    try:
        first = list(islice((line for line in read_lines(file) if line.strip()), _LOOKED_AT))
    except InvalidInput:  # reading it will say why
        return None
    return next((one for one in EXPORTS.values() if one.recognise(first)), None)
