"""Whether a caller may speak for someone.

A key with the scope `people` speaks for everyone: it is the back end's. Anyone else needs a proof of the one they speak
for, in a header (or, for `sendBeacon`, in a query parameter), once there is a secret that proofs are signed with.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import Request
from pydantic import SecretStr

from eddyline.adapters.http.access import caller_of, query_parameter
from eddyline.errors import Forbidden
from eddyline.model.ids import Person
from eddyline.model.proofs import explain_invalid_proof
from eddyline.settings import Scope

PROOF_HEADER, PROOF_PARAMETER = "eddyline-proof", "proof"


class IdentityCheck:
    """Checks proofs by `secret`; None: nobody needs one. `clock` in epoch seconds."""

    def __init__(self, secret: SecretStr | None, clock: Callable[[], float] = time.time) -> None:
        self._secret = None if secret is None else secret.get_secret_value().encode()
        self._clock = clock

    def require_proof(self, request: Request, person: Person) -> None:
        """Raise `Forbidden` where whoever sends the request must prove to be this person, and doesn't."""
        if self._secret is None:
            return
        caller = caller_of(request.scope)
        if caller.name is not None and Scope.PEOPLE in caller.scopes:
            return
        proof = request.headers.get(PROOF_HEADER) or query_parameter(request.scope, PROOF_PARAMETER)
        if not proof:
            raise Forbidden("needs a proof (Eddyline-Proof), which the application's back end signs: identity.secret")
        if reason := explain_invalid_proof(self._secret, person, proof, self._clock()):
            raise Forbidden(f"Eddyline-Proof {reason}")

    def require_identity(self, request: Request, user: Person) -> None:
        """Raise `Forbidden` where whoever sends the request may not say that someone anonymous is this user."""
        if self._secret is None and Scope.PEOPLE not in caller_of(request.scope).scopes:
            raise Forbidden("needs a key with the scope people, or a proof where identity.secret is set")
        self.require_proof(request, user)
