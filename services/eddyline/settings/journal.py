"""The log of the embedded mode."""

from __future__ import annotations

from eddyline.settings.section import Count, Section


class JournalSettings(Section):
    """The log that the embedded mode keeps in the data directory. With a Kafka cluster this section is ignored."""

    max_bytes: Count = 10_000_000_000
    """Most that it may hold. Beyond nine tenths the oldest handled records go before their time; where that isn't
    enough, intake is refused."""
