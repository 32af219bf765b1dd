"""librdkafka's settings of a secured cluster, translated for Faust's client."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from eddyline.errors import Misconfigured

_USABLE = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
}
_MECHANISMS = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}


def credentials(client: Mapping[str, str]) -> CredentialsT | None:
    """Translate `kafka.client`; None: the cluster asks for no credentials.

    Raises `Misconfigured` for a security setting that Faust's client can't follow; settings of other kinds are
    librdkafka's own business.
    """
    unknown = sorted(name for name in client if name.startswith(("security.", "sasl.", "ssl.")) and name not in _USABLE)
    if unknown:
        raise Misconfigured(
            f"kafka.client: the insights worker can't use {', '.join(unknown)}; it takes {', '.join(sorted(_USABLE))}. "
            "Set insights.enabled = false, and run no insights role, to do without it"
        )
    protocol = client.get("security.protocol", "plaintext").upper()
    context = _context(client) if protocol in ("SSL", "SASL_SSL") else None
    if protocol in ("SASL_PLAINTEXT", "SASL_SSL"):
        mechanism = client.get("sasl.mechanism", client.get("sasl.mechanisms", "PLAIN")).upper()
        if mechanism not in _MECHANISMS:
            raise Misconfigured(
                f"kafka.client: the insights worker can't use sasl.mechanism {mechanism}; it takes "
                f"{', '.join(sorted(_MECHANISMS))}"
            )
        return SASLCredentials(
            username=client.get("sasl.username"),
            password=client.get("sasl.password"),
            ssl_context=context,
            mechanism=mechanism,
        )
    return None if context is None else SSLCredentials(context)


def _context(client: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=client.get("ssl.ca.location"))
        if "ssl.certificate.location" in client:
            context.load_cert_chain(
                client["ssl.certificate.location"], client.get("ssl.key.location"), client.get("ssl.key.password")
            )
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"kafka.client: the certificates can't be read: {error}") from None
    if client.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    return context
