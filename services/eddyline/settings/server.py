"""Where a process listens, and what it takes in over HTTP."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from eddyline.settings.section import Count, Section


class ServerSettings(Section):
    """The HTTP side of any process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one."""
    insecure: bool = False
    """Listen elsewhere than on this machine although there are no keys: whoever reaches the port may do everything."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may call this host by, e.g. ["eddyline.example"]. Without keys an address, or a name without
    a dot, is always one; with keys, and none set, any name is."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from, e.g. ["https://shop.example"]; none by default."""
    max_body_bytes: Count = 1_048_576
    """Largest request body accepted; a longer one is a 413."""
    max_batch: Count = 1000
    """Most events or items in one request."""
    max_in_flight_bytes: Count = 67_108_864
    """Most bytes taken in and not yet acknowledged by the broker; beyond, a 503. (Small events take about ten times as
    much memory.)"""

    @model_validator(mode="after")
    def _takes_a_whole_body(self) -> ServerSettings:
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise ValueError("max_in_flight_bytes must be at least max_body_bytes, or such a body could never be taken")
        return self
