"""The base of every section of the settings, and the types of its numbers and names."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
MIN_SECRET_CHARACTERS = 32


def _check_length(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_CHARACTERS:
        raise ValueError(
            f"must have at least {MIN_SECRET_CHARACTERS} characters: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )
    return secret


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network)  # its ValueError says what is wrong
    return networks


Secret = Annotated[SecretStr, AfterValidator(_check_length)]
Networks = Annotated[tuple[str, ...], AfterValidator(_check_networks)]


class Section(BaseModel):
    """A table of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
