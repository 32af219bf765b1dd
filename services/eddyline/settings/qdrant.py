"""The Qdrant server."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from eddyline.settings.redaction import refuse_credentials
from eddyline.settings.section import Positive, Section


class QdrantSettings(Section):
    """The Qdrant server. The embedded mode keeps Qdrant Edge in the data directory and ignores this section."""

    url: str = ""
    """REST address, e.g. http://qdrant:6333."""
    api_key: SecretStr | None = None
    """Sent as the `api-key` header."""
    timeout_seconds: Positive = 5.0
    """A call that takes longer counts as unavailable."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Prefix of both collections' names."""

    @field_validator("url")
    @classmethod
    def _holds_no_credentials(cls, url: str) -> str:
        return refuse_credentials(url, "qdrant.api_key (EDDYLINE_QDRANT__API_KEY)")
