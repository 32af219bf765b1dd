"""The keys of a process, and whether it may listen where it is told to."""

from __future__ import annotations

from ipaddress import ip_address

from eddyline.adapters.http import AccessControl, KeyRing, load_keys
from eddyline.adapters.http.keys import serving_key
from eddyline.adapters.telemetry import Metrics
from eddyline.errors import Misconfigured
from eddyline.runtime.startup_checks import ENCODER_ROLE
from eddyline.settings import KeySettings, Settings


def open_keys(settings: Settings, roles: tuple[str, ...], metrics: Metrics) -> KeyRing:
    """Read the keys that hold in a process with these roles. Raises `Misconfigured` for wrong ones."""
    return KeyRing(settings.keys_file, metrics, _serving_keys(settings, roles))


def access_control(settings: Settings, ring: KeyRing) -> AccessControl:
    """Build what admits requests."""
    return AccessControl(ring, settings.server.allowed_hosts, settings.server.cors_origins)


def check_address(settings: Settings, roles: tuple[str, ...]) -> None:
    """Raise `Misconfigured` where anyone would be answered from elsewhere than this machine."""
    server = settings.server
    hosts = [server.host, *([server.operations_host] if server.operations_host else [])]
    elsewhere = [host for host in hosts if not _is_loopback(host)]
    if server.insecure or not elsewhere:
        return
    if load_keys(settings.keys_file) or _serving_keys(settings, roles):
        return
    raise Misconfigured(
        f"there are no keys ({settings.keys_file}), and whoever reaches {elsewhere[0] or 'this port'} could read and "
        "erase everybody: make one with `eddyline keys new --name … --scope … >> keys.toml`, or listen on 127.0.0.1; "
        "or, where the network itself keeps others out, add --insecure (EDDYLINE_SERVER__INSECURE=true)"
    )


def _serving_keys(settings: Settings, roles: tuple[str, ...]) -> list[KeySettings]:
    secret = settings.encoder.serving_key
    return [serving_key(secret.get_secret_value())] if roles == (ENCODER_ROLE,) and secret is not None else []


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
