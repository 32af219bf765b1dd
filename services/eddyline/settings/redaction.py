"""What of the settings may be shown: what is known to be harmless."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

MASK = "**********"
HARMLESS_CLIENT_SETTINGS = frozenset(
    {
        "broker.address.family",
        "client.dns.lookup",
        "client.id",
        "client.rack",
        "compression.codec",
        "compression.type",
        "debug",
        "enable.ssl.certificate.verification",
        "log_level",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.oauthbearer.method",
        "security.protocol",
        "socket.keepalive.enable",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
    }
)
HARMLESS_ENDINGS = (".location", ".ms", ".bytes", ".kbytes", ".messages")
_CREDENTIALS = re.compile(r"(?<=//)[^/?#\s]*@")


def mask_credentials(text: str) -> str:
    """Replace the user and the password of every URL in a text."""
    return _CREDENTIALS.sub("***@", text)


def mask_client_setting(name: str, value: str) -> str:
    """Mask an option of librdkafka unless it is known to hold no secret: there are hundreds, and plugins have more."""
    return value if _is_harmless_client_setting(name) else MASK


def mask_urls(value: Any) -> Any:
    """Mask the credentials of URLs, in JSON of any depth."""
    if isinstance(value, dict):
        return {name: mask_urls(one) for name, one in value.items()}
    if isinstance(value, list):
        return [mask_urls(one) for one in value]
    return mask_credentials(value) if isinstance(value, str) else value


def refuse_credentials(url: str, key: str) -> str:
    """Return a URL. Raises `ValueError` where it holds a user or a password; `key`: the setting for what they are."""
    if _CREDENTIALS.search(url):
        raise ValueError(f"holds a user or a password, which would be in every log: leave them out, and set {key}")
    return url


def is_harmless(root: type[BaseModel], location: tuple[int | str, ...]) -> bool:
    """Whether what was given for the setting at `location` may be shown: not a secret, nor part of what isn't known."""
    if location[:2] == ("kafka", "client"):
        return _is_harmless_client_setting(".".join(map(str, location[2:])))
    kind: Any = root
    for part in location:
        if not _is_section(kind):
            return True  # inside of a list or a table
        field = kind.model_fields.get(str(part))
        if field is None or _holds_secret(field.annotation):
            return False
        kind = field.annotation
    return not _is_section(kind)


def _is_harmless_client_setting(name: str) -> bool:
    return name in HARMLESS_CLIENT_SETTINGS or name.endswith(HARMLESS_ENDINGS)


def _holds_secret(annotation: Any) -> bool:
    """Tell whether a secret is of this type, or somewhere in what it is made of."""
    return annotation is SecretStr or any(map(_holds_secret, get_args(annotation)))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
