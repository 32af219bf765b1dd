"""Every Kafka topic: its name, how long it keeps records and how large they may be, who writes it and who reads it.

Names are logical: on the cluster, `kafka.prefix` goes before them. All topics have `kafka.partitions` partitions: so
`content`, `availability` and `users` are co-partitioned, as the embedder's `range` assignor needs, and a changelog is
partitioned as what its table is made from. `adapters.kafka.topic_admin` creates and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

CONTENT = "content"
"""States of items. From collectors and other producers to the embedder, the image embedder and the audit."""
AVAILABILITY = "availability"
"""Price and stock of items. From collectors and other producers to the embedder."""
USERS = "users"
"""Onboarding answers and attributes. From collectors and other producers to the embedder."""
INTERACTIONS = "interactions"
"""What people do. From collectors, other producers, the embedder (answers, erasures), readers (exposures) and profilers
(what they forward to each other) to profilers and insights."""
IMPRESSIONS = "impressions"
"""Served lists, from readers; what was seen of them, from collectors. To insights."""
ACTIVITY = "activity"
"""What an item learns of those chosen before it. From profilers to the affinity service."""
VERDICTS = "verdicts"
"""Variants that a guardrail has stopped. From insights to readers and to insights itself."""
FEEDS = "feeds"
"""Feeds: their definitions, how reading them goes, and what was read. From the feed service to itself."""
INSIGHTS = "insights"
"""Consumer group of the insights worker, and the first part of its changelogs' names."""

DEAD_LETTER_SUFFIX = ".dlq"
CHANGELOG_SUFFIX = "-changelog"
RECORD_BYTES = 1_000_000
"""Largest record that is produced: Kafka's default is a little more."""
LARGE_RECORD_BYTES = 4_000_000
"""Largest record of a changelog."""
DEAD_LETTER_BYTES = 1_200_000
"""Largest dead letter: whatever a topic holds, and why it is dead."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be. `retention_ms` None: kept for ever (compacted); `max_record_bytes` None: the broker's."""

    name: str
    cleanup: Literal["compact", "delete"]
    retention_ms: int | None = None
    max_record_bytes: int | None = None


def changelog_topic(table: str) -> str:
    """Name the topic that holds a table of insights: `people`, `windows` or `progress`."""
    return f"{INSIGHTS}-{table}{CHANGELOG_SUFFIX}"


def dead_letter_topic(topic: str) -> str:
    """Name the topic of a source's dead letters, which its consumers write and `eddyline dlq` reads."""
    return topic + DEAD_LETTER_SUFFIX


SOURCE_TOPICS: tuple[TopicSpec, ...] = (
    TopicSpec(CONTENT, "compact"),
    TopicSpec(AVAILABILITY, "compact"),
    TopicSpec(USERS, "compact"),
    TopicSpec(INTERACTIONS, "delete", 90 * DAY_MS),
    TopicSpec(IMPRESSIONS, "delete", 7 * DAY_MS),
    TopicSpec(ACTIVITY, "delete", DAY_MS),
)
"""What consumers read; each has a topic of dead letters."""

STATE_TOPICS: tuple[TopicSpec, ...] = (
    *(
        TopicSpec(changelog_topic(table), "compact", max_record_bytes=LARGE_RECORD_BYTES)
        for table in ("people", "windows", "progress")
    ),
    TopicSpec(VERDICTS, "compact"),
    TopicSpec(FEEDS, "compact"),
)
"""What services keep in Kafka for themselves."""

TOPIC_SPECS: Mapping[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        *SOURCE_TOPICS,
        *STATE_TOPICS,
        *(
            TopicSpec(dead_letter_topic(source.name), "delete", 30 * DAY_MS, DEAD_LETTER_BYTES)
            for source in SOURCE_TOPICS
        ),
    )
}
"""Every topic by its name."""
