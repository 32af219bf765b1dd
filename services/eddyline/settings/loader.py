"""Load the settings from a file and the environment, and show them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from eddyline.errors import Misconfigured, clip
from eddyline.settings.redaction import is_harmless, mask_client_setting, mask_credentials, mask_urls
from eddyline.settings.root import Settings
from eddyline.settings.section import Section

CONFIG_VARIABLE = "EDDYLINE_CONFIG"
DEFAULT_FILE = Path("eddyline.toml")
QUOTED = 300
"""Most characters of what is wrong, in a message."""


def load(file: Path | None = None) -> Settings:
    """Read the settings: `file`, else $EDDYLINE_CONFIG, else ./eddyline.toml where it exists; the environment over it.

    Raises `Misconfigured` naming every setting that is wrong or unknown.
    """
    named = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = named or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    given = _read(path) if path else {}
    known = set(_variables())
    unknown = [
        name for name in os.environ if name.upper().startswith("EDDYLINE_") and not _is_known(name.upper(), known)
    ]
    if unknown:
        raise Misconfigured(
            f"unknown environment variable {', '.join(sorted(unknown))}: `eddyline config` lists them all"
        )
    try:
        return Settings(**given)
    except ValidationError as error:
        source = f"the environment or {path}" if path else "the environment"
        lines = [f"  {clip(_where(e['loc'], given), QUOTED)}: {_message(e)}" for e in error.errors(include_url=False)]
        raise Misconfigured(f"wrong settings in {source}:\n" + "\n".join(lines)) from None
    except ValueError as error:  # pydantic-settings: a variable that isn't the JSON it should be
        raise Misconfigured(f"wrong settings in the environment: {error}") from None


def effective(settings: Settings) -> dict[str, Any]:
    """Return the settings in force, as plain JSON types, with all masked that may be a secret."""
    shown: dict[str, Any] = mask_urls(settings.model_dump(mode="json"))
    client = shown["kafka"]["client"]
    shown["kafka"]["client"] = {name: mask_client_setting(name, value) for name, value in client.items()}
    return shown


def describe(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield every setting: (TOML path, environment variable, default, description)."""
    for key, field in section.model_fields.items():
        name, kind = prefix + key, field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from describe(kind, f"{name}.")
        else:
            variable = f"EDDYLINE_{name.replace('.', '__')}".upper()
            yield name, variable, _shown(field.default), " ".join((field.description or "").split())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(k if isinstance(v, Section) else f"{k} = {v}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(v) for v in value) + "]"
    return "" if value is None else str(value)


def _variables() -> Iterator[str]:
    yield CONFIG_VARIABLE
    for _, variable, _, _ in describe():
        yield variable


def _is_known(name: str, known: set[str]) -> bool:
    parents = (
        "EDDYLINE_ATTRIBUTES__",
        "EDDYLINE_ENCODER__TEMPLATE__",
        "EDDYLINE_EVENTS__WEIGHTS__",
        "EDDYLINE_KAFKA__CLIENT__",
        "EDDYLINE_STRATEGIES__",
    )
    sections = {f"EDDYLINE_{name}".upper() for name in Settings.model_fields}
    return name in known or name in sections or name.startswith(parents)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"there is no settings file {path}") from None
    except OSError as error:
        raise Misconfigured(f"the settings file {path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, or brackets that deep
        raise Misconfigured(f"{path} is not valid TOML: {clip(str(error), QUOTED)}") from None


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _where(location: tuple[int | str, ...], given: Mapping[str, Any]) -> str:
    """Return the dotted path; for a rule or a promotion of the file with its name, which its number doesn't tell."""
    table, index = (*location, None, None)[:2]
    if (
        table in ("rules", "promotions", "feed")
        and isinstance(index, int)
        and f"EDDYLINE_{table}".upper() not in os.environ
    ):
        name = given[table][index].get("name") if isinstance(given[table][index], Mapping) else None
        return f"{_dotted(location)} ({name!r})" if name else _dotted(location)
    return _dotted(location)


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such setting"
    shown = error.get("input") if is_harmless(Settings, error["loc"]) else None
    quoted = f" (it is {clip(repr(shown), QUOTED)})" if isinstance(shown, str | int | float | bool) else ""
    return mask_credentials(clip(error["msg"], QUOTED) + quoted)
