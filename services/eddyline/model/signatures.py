"""Signatures of records that only services write, so that whoever may write interactions can't forge them.

What people and apps do and what the services tell each other (an erasure, a transfer, a forwarded event) is in one
topic, since its order is what delivery rests on; so no access list of Kafka's can tell them apart. A signature can: it
is the HMAC-SHA256 (RFC 2104) of the key, the value and the headers of forwarding, by a secret that services alone hold.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from eddyline.errors import InvalidEvent
from eddyline.model.events import INTERNAL_EVENTS, PersonEvent
from eddyline.model.events.wire import event_type
from eddyline.model.forwarding import HEADERS, ORIGIN

SIGNATURE = "eddyline-signature"
INTERNAL_TYPES = frozenset(event_type(event.ce_name).encode() for event in INTERNAL_EVENTS)
"""Of CloudEvents, as headers have them."""
Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class RecordSigner:
    """Signs with the first of the secrets, and knows the signatures of all. `accept_unsigned`: for a while, since what
    was written before there was a secret has none."""

    secrets: tuple[str, ...] = field(repr=False)
    accept_unsigned: bool = False

    def signed(self, key: bytes | None, value: bytes | None, headers: Headers) -> Headers:
        """Return the headers of a record with its signature, where it is one that only services write."""
        by_name = dict(headers)
        if ORIGIN not in by_name and by_name.get("ce_type") not in INTERNAL_TYPES:
            return headers
        unsigned = tuple(header for header in headers if header[0] != SIGNATURE)
        return (*unsigned, (SIGNATURE, _sign(self.secrets[0], key, value, by_name)))

    def trusts(self, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Tell whether one of our services has signed a record, or needn't have."""
        if self.accept_unsigned:
            return True
        by_name = dict(headers)
        signature = by_name.get(SIGNATURE)
        return signature is not None and any(
            hmac.compare_digest(signature, _sign(secret, key, value, by_name)) for secret in self.secrets
        )


def require_author(event: PersonEvent | None, headers: Iterable[tuple[str, bytes]], is_trusted: bool) -> None:
    """Check that what only services write was written by one. Raises `InvalidEvent`."""
    if is_trusted:
        return
    if isinstance(event, INTERNAL_EVENTS) or any(name == ORIGIN for name, _ in headers):
        raise InvalidEvent(
            "only Eddyline's services may write this, and no secret of kafka.signing_secrets has signed it", "type"
        )


def _sign(secret: str, key: bytes | None, value: bytes | None, headers: Mapping[str, bytes]) -> bytes:
    parts = (key, value, *(headers.get(name) for name in HEADERS))
    lengths = b",".join(b"-" if part is None else b"%d" % len(part) for part in parts)
    return hmac.digest(secret.encode(), b"\n".join((lengths, *(part or b"" for part in parts))), "sha256")
