"""Who may call the HTTP API: keys with scopes, and what proves that someone is who they say."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, field_validator

from eddyline.settings.section import Name, Positive, Secret, Section


class Scope(StrEnum):
    """What a key may be used for."""

    EVENTS = "events"
    """Send what people do: the only scope that is safe in a browser."""
    CATALOGUE = "catalogue"
    """Write items and their availability."""
    LISTS = "lists"
    """Read recommendations and other lists, and nothing of people beyond them."""
    PEOPLE = "people"
    """Read, identify and erase people; it speaks for everyone."""
    OPERATE = "operate"
    """Read metrics, what isn't ready, the API's description, insights."""


class KeySettings(Section):
    """A key: whose it is, what it may be used for, and its hash. The key itself is kept nowhere."""

    name: Annotated[Name, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    """Whose key it is, in logs and metrics."""
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the key. A slow hash would protect what can be guessed; a key has 256 random bits."""
    expires: AwareDatetime | None = None
    """From when on it is refused."""
    requests_per_second: Positive | None = None
    """Most requests a second in each process, and at once; none set: no limit."""


class KeyFile(Section):
    """The file of the keys."""

    keys: Annotated[tuple[KeySettings, ...], Field(min_length=1)]

    @field_validator("keys")
    @classmethod
    def _differ(cls, keys: tuple[KeySettings, ...]) -> tuple[KeySettings, ...]:
        for what in ("name", "hash"):
            values = [getattr(key, what) for key in keys]
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"more than one has the {what} {', '.join(twice)}")
        return keys


class IdentitySettings(Section):
    """Proofs that someone is who a request says (docs/security.md)."""

    secret: Secret | None = None
    """Shared with the applications' back ends, which sign proofs with it; also signs cursors. At least 32 characters,
    the same for all processes. Unset, nobody needs a proof."""
