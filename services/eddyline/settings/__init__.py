"""Every setting, with its default, its unit and what it is for.

Read from the environment (`EDDYLINE_KAFKA__BOOTSTRAP_SERVERS`) over a TOML file (`[kafka] bootstrap_servers`) over the
defaults. A wrong or unknown one is refused by name. `docs/configuration.md` is generated from these classes.
"""

from eddyline.settings.connections import Kafka, Qdrant, Server
from eddyline.settings.encoders import Encoder, Images, Template
from eddyline.settings.learning import RESERVED_EVENT_TYPES, Affinity, Events, Profile
from eddyline.settings.loading import describe, effective, load
from eddyline.settings.ranking import STRATEGIES, TERMS, Boost, Promotion, Ranking, Rule, Strategy, Term
from eddyline.settings.reading import Insights, Reader
from eddyline.settings.root import BUILT_IN_FILTERS, AttributeKind, Settings

__all__ = [
    "BUILT_IN_FILTERS",
    "RESERVED_EVENT_TYPES",
    "STRATEGIES",
    "TERMS",
    "Affinity",
    "AttributeKind",
    "Boost",
    "Encoder",
    "Events",
    "Images",
    "Insights",
    "Kafka",
    "Profile",
    "Promotion",
    "Qdrant",
    "Ranking",
    "Reader",
    "Rule",
    "Server",
    "Settings",
    "Strategy",
    "Template",
    "Term",
    "describe",
    "effective",
    "load",
]
