"""Proofs of who someone is: made by an application's back end, which knows, and sent by its pages and apps.

A proof is `<expiry>.<signature>`: an epoch second, and HMAC-SHA256(secret, "<expiry>.<typed person key>") in hex.
"""

from __future__ import annotations

import hashlib
import hmac

from eddyline.model.ids import Person

MAX_SECONDS = 86_400
"""How long a proof may be valid: who has it can't be told to forget it."""


def sign_proof(secret: bytes, person: Person, expires: int) -> str:
    """Make the proof of a person, valid until `expires` (epoch seconds)."""
    return f"{expires}.{_signature(secret, person, str(expires))}"


def explain_invalid_proof(secret: bytes, person: Person, proof: str, now: float) -> str | None:
    """Say what is wrong with a proof of this person at `now` (epoch seconds); None where nothing is."""
    expires, _, signature = proof.partition(".")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
        return "is not a proof: <expiry>.<signature>"
    if not hmac.compare_digest(signature.encode(), _signature(secret, person, expires).encode()):
        return "doesn't prove this id"
    if int(expires) <= now:
        return "has expired"
    if int(expires) > now + MAX_SECONDS:
        return f"is valid for longer than {MAX_SECONDS // 3600} hours"
    return None


def _signature(secret: bytes, person: Person, expires: str) -> str:
    return hmac.new(secret, f"{expires}.{person.key}".encode(), hashlib.sha256).hexdigest()
