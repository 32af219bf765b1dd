"""Every setting, with its default, its unit and what it is for.

Read from the environment (`EDDYLINE_KAFKA__BOOTSTRAP_SERVERS`) over a TOML file (`[kafka] bootstrap_servers`) over the
defaults. A wrong or unknown one is refused by name. `docs/configuration.md` is generated from these classes.
"""

from eddyline.settings.encoders import EncoderSettings, ImageSettings, TemplateSettings
from eddyline.settings.infrastructure import KafkaSettings, QdrantSettings, ServerSettings
from eddyline.settings.loader import describe, effective, load
from eddyline.settings.profile import RESERVED_EVENT_TYPES, AffinitySettings, EventSettings, ProfileSettings
from eddyline.settings.reader import InsightsSettings, ReaderSettings
from eddyline.settings.root import BUILT_IN_FILTERS, AttributeKind, Settings
from eddyline.settings.strategies import (
    STRATEGIES,
    TERMS,
    BoostSettings,
    PromotionSettings,
    RankingSettings,
    RuleSettings,
    StrategySettings,
    Term,
)

__all__ = [
    "BUILT_IN_FILTERS",
    "RESERVED_EVENT_TYPES",
    "STRATEGIES",
    "TERMS",
    "AffinitySettings",
    "AttributeKind",
    "BoostSettings",
    "EncoderSettings",
    "EventSettings",
    "ImageSettings",
    "InsightsSettings",
    "KafkaSettings",
    "ProfileSettings",
    "PromotionSettings",
    "QdrantSettings",
    "RankingSettings",
    "ReaderSettings",
    "RuleSettings",
    "ServerSettings",
    "Settings",
    "StrategySettings",
    "TemplateSettings",
    "Term",
    "describe",
    "effective",
    "load",
]
