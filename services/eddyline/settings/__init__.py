"""Every setting, with its default, its unit and what it is for.

Read from the environment (`EDDYLINE_KAFKA__BOOTSTRAP_SERVERS`) over a TOML file (`[kafka] bootstrap_servers`) over the
defaults. A wrong or unknown one is refused by name. `docs/configuration.md` is generated from these classes.
"""

from eddyline.settings.access import IdentitySettings, KeyFile, KeySettings, Scope
from eddyline.settings.affinity import AffinitySettings
from eddyline.settings.encoder import EncoderSettings, TemplateSettings
from eddyline.settings.events import RESERVED_EVENT_TYPES, EventSettings
from eddyline.settings.feeds import FeedFetchSettings, FeedFormat, FeedSettings
from eddyline.settings.images import ImageSettings
from eddyline.settings.insights import InsightsSettings
from eddyline.settings.journal import JournalSettings
from eddyline.settings.kafka import KafkaSettings
from eddyline.settings.loader import describe, effective, load
from eddyline.settings.mappings import EVENT_MAPPINGS, EventMapping
from eddyline.settings.profile import ProfileSettings
from eddyline.settings.qdrant import QdrantSettings
from eddyline.settings.ranking import RankingSettings
from eddyline.settings.reader import ReaderSettings
from eddyline.settings.redaction import mask_credentials
from eddyline.settings.root import BUILT_IN_FILTERS, AttributeKind, Settings
from eddyline.settings.rules import BoostSettings, PromotionSettings, RuleSettings
from eddyline.settings.server import ServerSettings
from eddyline.settings.strategies import STRATEGIES, TERMS, StrategySettings, Term

__all__ = [
    "BUILT_IN_FILTERS",
    "EVENT_MAPPINGS",
    "RESERVED_EVENT_TYPES",
    "STRATEGIES",
    "TERMS",
    "AffinitySettings",
    "AttributeKind",
    "BoostSettings",
    "EncoderSettings",
    "EventMapping",
    "EventSettings",
    "FeedFetchSettings",
    "FeedFormat",
    "FeedSettings",
    "IdentitySettings",
    "ImageSettings",
    "InsightsSettings",
    "JournalSettings",
    "KafkaSettings",
    "KeyFile",
    "KeySettings",
    "ProfileSettings",
    "PromotionSettings",
    "QdrantSettings",
    "RankingSettings",
    "ReaderSettings",
    "RuleSettings",
    "Scope",
    "ServerSettings",
    "Settings",
    "StrategySettings",
    "TemplateSettings",
    "Term",
    "describe",
    "effective",
    "load",
    "mask_credentials",
]
