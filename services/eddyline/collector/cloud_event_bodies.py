"""CloudEvents over HTTP (HTTP binding 1.0.2): structured, in batches, and binary, whose attributes are headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
_PREFIX = "ce-"


def content_mode(headers: Mapping[str, str]) -> str | None:
    """Return the content type of a body of CloudEvents, `binary` for one in binary mode; None where it is none."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in (STRUCTURED, BATCH):
        return kind
    return "binary" if f"{_PREFIX}specversion" in headers else None


def binary_envelope(headers: Mapping[str, str], data: Any) -> dict[str, Any]:
    """Return the envelope of what came in binary mode. `headers` by lower-case name."""
    attributes = {
        name.removeprefix(_PREFIX): unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)
    }
    return {**attributes, "data": data}
