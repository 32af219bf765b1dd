"""The generated documents: JSON Schemas, AsyncAPI, OpenAPI, and the table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import orjson
from pydantic.json_schema import models_json_schema

from eddyline import __version__, console, reader, settings
from eddyline.adapters.http import AccessControl, create_app, pages
from eddyline.adapters.http.app import Application
from eddyline.adapters.telemetry import Metrics
from eddyline.collector import schemas as collector
from eddyline.collector.api import Collector
from eddyline.feeds import api as feeds
from eddyline.model.events import (
    Activity,
    Availability,
    Content,
    Erased,
    Exposure,
    Identify,
    ImpressionReport,
    Interaction,
    Listing,
    Onboarded,
    ServedList,
    Transfer,
    User,
    WireModel,
)
from eddyline.model.experiments.verdicts import Verdict

MODELS: Mapping[str, type[WireModel]] = {
    "content": Content,
    "availability": Availability,
    "user": User,
    "interaction": Interaction,
    "onboarded": Onboarded,
    "erased": Erased,
    "identify": Identify,
    "transfer": Transfer,
    "shown": Exposure,
    "impression": ServedList,
    "seen": ImpressionReport,
    "activity": Activity,
    "listing": Listing,
    "verdict": Verdict,
}

CHANNELS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "content": ("The latest full state of an item; a tombstone deletes it", "item_id", ("content",)),
    "availability": ("Price and stock alone; the last writer wins", "item_id", ("availability",)),
    "users": ("Onboarding and attributes; a tombstone erases the person", "user_id", ("user",)),
    "interactions": (
        "What people did; and, written by Eddyline's own services, what else changes a profile",
        "u:<user_id> or a:<anonymous_id>",
        ("interaction", "identify", "onboarded", "erased", "transfer", "shown"),
    ),
    "impressions": (
        "What was served, by a reader; and what of it, or of another system's lists, was seen",
        "u:<user_id> or a:<anonymous_id>",
        ("impression", "seen"),
    ),
    "activity": (
        "Internal: what an item's row learns, from profilers; and what lists filter it by, from the embedder",
        "item_id",
        ("activity", "listing"),
    ),
    "verdicts": (
        "Internal: a guardrail stopped a variant; a tombstone lets it go on",
        "<experiment>/<variant>",
        ("verdict",),
    ),
}


def schema_files() -> dict[str, bytes]:
    """Generate all files of `schemas/`, by name."""
    files = {f"{name}.schema.json": _dump(_schema(name)) for name in MODELS}
    return files | {"asyncapi.json": _dump(_asyncapi()), "openapi.json": _dump(describe_api().openapi())}


def settings_table() -> str:
    """Write docs/configuration.md's table."""
    lines = ["| setting | environment | default | |", "| --- | --- | --- | --- |"]
    for path, variable, default, text in settings.describe():
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{path}` | `{variable}` | {shown} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def access_table() -> str:
    """Write docs/security.md's table: which scopes may call which route."""
    scopes = list(settings.Scope)
    lines = [f"| | {' | '.join(f'`{scope}`' for scope in scopes)} | no key |", "| --- |" + " :-: |" * (len(scopes) + 1)]
    for method, path, access in sorted(describe_api().access_rules(), key=lambda rule: (rule[1], rule[0])):
        cells = ["✓" if scope in access.scopes or not access.scopes else "" for scope in scopes]
        lines.append(f"| `{method} {path}` | {' | '.join(cells)} | {'' if access.scopes else '✓'} |")
    return "\n".join(lines)


def strategies_table() -> str:
    """Write docs/ranking.md's table: the built-in strategies' weights in the middle of a visit and at its beginning."""
    lines = [f"| | {' | '.join(f'`{name}`' for name in settings.STRATEGIES)} |"]
    lines.append("| --- |" + " --- |" * len(settings.STRATEGIES))
    for field in settings.StrategySettings.model_fields:
        if field in ("session_start", "learned"):
            continue
        cells = [_weight(one, field) for one in settings.STRATEGIES.values()]
        lines.append(f"| `{field}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def mappings_table() -> str:
    """Write docs/sources.md's table: what events of other systems mean."""
    lines = ["| ours | theirs, by name |", "| --- | --- |"]
    by_type: dict[str, list[str]] = {}
    for name, mapping in settings.EVENT_MAPPINGS.items():
        by_type.setdefault(mapping.type, []).append(name)
    lines += [f"| `{kind}` | {', '.join(names)} |" for kind, names in by_type.items()]
    return "\n".join(lines)


def mapping_table() -> str:
    """Write docs/sources.md's table: the fields of a mapping, and where each looks by default."""
    lines = ["| | looks in | |", "| --- | --- | --- |"]
    for name, field in settings.EventMapping.model_fields.items():
        places = ", ".join(f"`{path}`" for path in field.default) if isinstance(field.default, tuple) else ""
        lines.append(f"| `{name}` | {places} | {' '.join((field.description or '').split())} |")
    return "\n".join(lines)


def drifted(files: Mapping[str, bytes], directory: Path) -> list[str]:
    """Name the files that aren't what they should be."""
    return [
        name
        for name, content in files.items()
        if not (directory / name).exists() or (directory / name).read_bytes() != content
    ]


def write(files: Mapping[str, bytes], directory: Path) -> list[str]:
    """Write the files that differ, and return their names."""
    directory.mkdir(parents=True, exist_ok=True)
    changed = drifted(files, directory)
    for name in changed:
        (directory / name).write_bytes(files[name])
    return changed


def _weight(strategy: settings.StrategySettings, field: str) -> str:
    """Write a cell; nothing for 0."""
    running = f"{getattr(strategy, field):g}" if getattr(strategy, field) else ""
    at_start = next((weight for name, weight in strategy.session_start.items() if name == field), None)
    return running if at_start is None else f"{running or 0} ({at_start:g})"


def _schema(name: str) -> dict[str, Any]:
    schema = MODELS[name].model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:eddyline:schema:{name}:v1",
        **schema,
    }


def _asyncapi() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in MODELS.values()], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Eddyline",
            "version": __version__,
            "description": "Eddyline's topics. Values are JSON; CloudEvents 1.0 attributes travel as ce_* headers.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            topic: {
                "address": topic,
                "description": text,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
                "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
            }
            for topic, (text, _, names) in CHANNELS.items()
        },
        "operations": {
            f"write-{topic}": {"action": "receive", "channel": {"$ref": f"#/channels/{topic}"}, "summary": text}
            for topic, (text, _, _) in CHANNELS.items()
            if topic in ("content", "availability", "users", "interactions", "impressions")
        },
        "components": {
            "messages": {
                name: {
                    "name": MODELS[name].__name__,
                    "title": MODELS[name].__name__,
                    "summary": (MODELS[name].__doc__ or "").strip().split("\n", maxsplit=1)[0],
                    "payload": {"$ref": f"#/components/schemas/{MODELS[name].__name__}"},
                    "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
                }
                for topic, (_, key, names) in CHANNELS.items()
                for name in names
            },
            "schemas": dict(sorted(definitions["$defs"].items())),
        },
    }


def describe_api(access: AccessControl | None = None) -> Application:
    """Build a process with all of the API, as a description: nothing is connected, so that no route does anything."""
    from eddyline.insights import api as insights  # whose libraries are an extra

    defaults, metrics, nothing = settings.Settings(), Metrics(), cast(Any, None)
    routers = [
        Collector(nothing, defaults.events, defaults.server, metrics).router(),
        reader.router(reader.Reader(nothing, defaults, metrics), defaults.server.max_body_bytes),
        insights.router(nothing, nothing),
        feeds.router(nothing, nothing, defaults.server.max_body_bytes),
        pages.router(playground=True, console=True),
        console.router(
            console.Console(console.MetricsHistory(metrics), nothing, nothing, None, None, lambda: True),
            defaults.server.max_body_bytes,
        ),
    ]
    return create_app(routers, {}, metrics, (*collector.BODIES, *reader.BODIES, *feeds.BODIES), access=access)


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"
