"""Where a process listens, and what it takes in over HTTP."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, IPvAnyNetwork, model_validator

from eddyline.settings.section import Count, Positive, Section


def _require_text(value: Any) -> Any:
    """Refuse a number: 1 would be the network 0.0.0.1/32."""
    if isinstance(value, bool | int):
        raise ValueError("is an address or a network as a text, like 10.0.4.0/24")
    return value


_Network = Annotated[IPvAnyNetwork, BeforeValidator(_require_text)]


class ServerSettings(Section):
    """The HTTP side of any process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one."""
    operations_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    """Port of their own for metrics and for what isn't ready, with the same keys; `port` then answers only whether the
    process is alive, and ready. None set: `port` answers all of it."""
    operations_host: str = ""
    """Address to listen on with `operations_port`; empty: `host`."""
    trusted_proxies: tuple[_Network, ...] = (ip_network("127.0.0.1"), ip_network("::1"))
    """Addresses and networks of reverse proxies, e.g. ["10.0.4.0/24"]: theirs is the word (`X-Forwarded-For`) on which
    client a limit counts for. From anywhere else it is ignored."""
    insecure: bool = False
    """Listen elsewhere than on this machine although there are no keys: whoever reaches the port may do everything."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may call this host by, e.g. ["eddyline.example"]. Without keys an address, or a name without
    a dot, is always one; with keys, and none set, any name is."""
    playground: bool | None = None
    """Whether `/play` answers, where both collector and reader run. Where this isn't set, it does in a process that
    runs everything, as `eddyline up` does. With keys, it asks who opens it for one."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from, e.g. ["https://shop.example"]; none by default."""
    max_body_bytes: Count = 1_048_576
    """Largest request body accepted; a longer one is a 413."""
    max_batch: Count = 1000
    """Most events or items in one request."""
    max_in_flight_bytes: Count = 67_108_864
    """Most bytes taken in and not yet acknowledged by the broker; beyond, a 503. (Small events take about ten times as
    much memory.) As many more may be in bodies that haven't come whole, half of them from one client."""
    max_header_bytes: Count = 32_768
    """Largest headers of a request, with its address; beyond, a 431. Chunk extensions and trailers may take as much."""
    header_seconds: Positive = 10.0
    """How long headers may take to come; longer is a 408."""
    body_seconds: Positive = 60.0
    """How long a body may take to come; longer is a 408."""
    max_connections: Count = 512
    """Most connections at once; beyond, a 503. One address may have half of them, a trusted proxy all."""
    max_requests: Count = 256
    """Most requests that are being answered at once, not counting those whose bodies haven't come whole; beyond, a 503.
    One client may have half of them."""

    @model_validator(mode="after")
    def _takes_a_whole_body(self) -> ServerSettings:
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise ValueError("max_in_flight_bytes must be at least max_body_bytes, or such a body could never be taken")
        return self
