"""Which addresses may be fetched from: public ones, and those that the settings allow."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from eddyline.errors import FetchRefused, FetchUnavailable

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
ResolveHost: TypeAlias = Callable[[str, int, float], Sequence[Address]]
"""(host, port, seconds) → its addresses. Raises `FetchUnavailable` where there are none, or no answer in time."""

_TRANSLATED = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_NOT_PUBLIC: tuple[tuple[str, Network], ...] = (
    ("carrier-grade NAT", IPv4Network("100.64.0.0/10")),
    ("a cloud's own service", IPv4Network("168.63.129.16/32")),  # Azure's host, at a public address
    ("set aside for protocols", IPv4Network("192.0.0.0/24")),  # older Pythons take some of it for public
    ("for documentation", IPv6Network("3fff::/20")),
    ("locally translated", IPv6Network("64:ff9b:1::/48")),
    ("site-local", IPv6Network("fec0::/10")),
)
_KINDS = ("is_loopback", "is_link_local", "is_multicast", "is_unspecified", "is_reserved", "is_private")


class AddressPolicy:
    """Decides whether an address may be connected to."""

    def __init__(self, hosts: Sequence[str] = (), networks: Sequence[str] = (), section: str = "images") -> None:
        """`hosts`: names whose addresses are all allowed; `networks`: allowed whatever the name, as CIDR; `section`: of
        the settings, where they are set."""
        self._section = section
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._networks = tuple(ip_network(network) for network in networks)

    def check(self, host: str, addresses: Sequence[Address]) -> None:
        """Raise `FetchRefused` unless every one of the host's addresses may be connected to.

        One bad address refuses the host: it is an attempt, or a mistake that shows itself only now and then.
        """
        if host.lower().rstrip(".") in self._hosts:
            return
        for address in addresses:
            kind = why_not_public(address)
            if kind and not self._allows(address):
                # Not which address: whoever sent the item reads this, and would learn what our names resolve to.
                raise FetchRefused(
                    "private_address",
                    f"{host} has an address that is {kind.partition(' (')[0]}: give a public address, or "
                    f"allow this one by {self._section}.allowed_hosts or {self._section}.allowed_networks",
                )

    def _allows(self, address: Address) -> bool:
        inner = embedded_ipv4(address) or address
        return any(inner in network or address in network for network in self._networks)


def why_not_public(address: Address) -> str | None:
    """Name the kind of an address; None for one that the whole internet reaches.

    An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64, 6to4, Teredo) is of the latter's kind.
    """
    inner = embedded_ipv4(address)
    if inner is not None:
        kind = why_not_public(inner)
        return f"{kind} ({inner})" if kind else None
    for name, network in _NOT_PUBLIC:
        if address in network:
            return name
    for attribute in _KINDS:
        if getattr(address, attribute):
            return attribute.removeprefix("is_").replace("_", "-")
    return None if address.is_global else "not public"


def embedded_ipv4(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for; None where there is none."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFFFFFF
    if address in _TRANSLATED or (address in _COMPATIBLE and low > 1):  # `::` and `::1` are themselves
        return IPv4Address(low)
    return None


def resolve(host: str, port: int, seconds: float) -> list[Address]:
    """Resolve a name by the system's resolver, which has no time-out: its thread is abandoned after `seconds`."""
    answer: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    threading.Thread(target=_resolve_into, args=(host, port, answer), name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        raise FetchUnavailable("timeout", f"the name {host} wasn't resolved within {seconds:.1f} s") from None
    if isinstance(found, OSError):
        raise FetchUnavailable("unresolved", f"the name {host} can't be resolved ({found.strerror}): is it right?")
    return found


def _resolve_into(host: str, port: int, answer: queue.SimpleQueue[list[Address] | OSError]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        answer.put(error)
    except UnicodeError:  # a label that is empty or too long
        answer.put(OSError(socket.EAI_NONAME, "not a name"))
    else:
        answer.put(list(dict.fromkeys(ip_address(str(where[0])) for *_, where in found)))
