"""All settings of all services."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from eddyline.settings.access import IdentitySettings
from eddyline.settings.affinity import AffinitySettings
from eddyline.settings.encoder import EncoderSettings
from eddyline.settings.events import EventSettings
from eddyline.settings.feeds import FeedFetchSettings, FeedSettings
from eddyline.settings.images import ImageSettings
from eddyline.settings.insights import InsightsSettings
from eddyline.settings.journal import JournalSettings
from eddyline.settings.kafka import KafkaSettings
from eddyline.settings.profile import ProfileSettings
from eddyline.settings.qdrant import QdrantSettings
from eddyline.settings.ranking import RankingSettings
from eddyline.settings.reader import ReaderSettings
from eddyline.settings.rules import PromotionSettings, RuleSettings
from eddyline.settings.server import ServerSettings
from eddyline.settings.strategies import STRATEGIES, StrategySettings

BUILT_IN_FILTERS = frozenset(
    {
        "item_id",
        "category",
        "tag",
        "tags",
        "language",
        "language_detected",
        "published_at",
        "expires_at",
        "price",
        "rating",
        "available",
        "popularity",
    },
)
"""What every item can be filtered by; an own attribute of the same name could never be."""


class AttributeKind(StrEnum):
    """The type of a declared item attribute, and so of its index."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"


class Settings(BaseSettings):
    """All settings of all services."""

    model_config = SettingsConfigDict(
        env_prefix="EDDYLINE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    data_dir: Path = Path(".eddyline")
    """Where the embedded mode keeps its data."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    log_format: Literal["console", "json"] = "console"
    """`json` for machines: one object a line."""
    attributes: Mapping[str, AttributeKind] = {}
    """Own item attributes that can be filtered on, e.g. {brand = "keyword"}: keyword, integer, float or bool."""
    timezone: str = "UTC"
    """Time zone that rules go by, as an IANA name, unless a request says otherwise (`context.timezone`)."""
    segments: Mapping[str, Mapping[str, Any]] = {}
    """Segments by a person's attributes: name = conditions, e.g. {pros = {plan = "pro"}}."""
    rules: tuple[RuleSettings, ...] = ()
    """What changes in a situation, e.g. [{name = "new", when = {weekday = "sunday"}, weights = {freshness = 2}}]."""
    promotions: tuple[PromotionSettings, ...] = ()
    """Items with positions of their own, e.g. [{name = "sale", filter = {tag = "sale"}, share = 0.2}]."""
    feed: tuple[FeedSettings, ...] = ()
    """Feeds that are read (docs/sources.md), e.g. [{name = "blog", url = "https://example.org/feed", every = "15m"}].
    In a file: a table [[feed]] each."""
    feeds: FeedFetchSettings = FeedFetchSettings()
    server: ServerSettings = ServerSettings()
    keys_file: Path = Path("keys.toml")
    """File of the keys, if it exists (docs/security.md): then every request needs one. It is read again when it
    changes."""
    identity: IdentitySettings = IdentitySettings()
    api_key: SecretStr | None = None
    """Key that commands send to a running Eddyline. Give it by the environment: EDDYLINE_API_KEY."""
    kafka: KafkaSettings = KafkaSettings()
    journal: JournalSettings = JournalSettings()
    qdrant: QdrantSettings = QdrantSettings()
    encoder: EncoderSettings = EncoderSettings()
    images: ImageSettings = ImageSettings()
    events: EventSettings = EventSettings()
    profile: ProfileSettings = ProfileSettings()
    affinity: AffinitySettings = AffinitySettings()
    ranking: RankingSettings = RankingSettings()
    strategies: Mapping[str, StrategySettings] = STRATEGIES
    """By name, merged over the built-in ones (docs/ranking.md has their weights); a new name is a new strategy."""
    reader: ReaderSettings = ReaderSettings()
    insights: InsightsSettings = InsightsSettings()
    experiments_file: Path = Path("experiments.toml")
    """File of the experiments, if it exists (docs/experiments.md). It is read again when it changes."""

    @field_validator("attributes")
    @classmethod
    def _names(cls, value: Mapping[str, AttributeKind]) -> Mapping[str, AttributeKind]:
        for name in value:
            if not name.replace("_", "a").isalnum() or not name.isascii():
                raise ValueError(f"{name!r}: use ASCII letters, digits and _")
            if name in BUILT_IN_FILTERS:
                raise ValueError(f"{name!r} is what every item can be filtered by already; use another name")
        return value

    @field_validator("strategies", mode="before")
    @classmethod
    def _merged(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        built_in = {name: strategy.model_dump() for name, strategy in STRATEGIES.items()}
        given = {name: one.model_dump() if isinstance(one, StrategySettings) else one for name, one in value.items()}
        changed = {
            name: {**built_in.get(name, {}), **one} if isinstance(one, Mapping) else one for name, one in given.items()
        }
        return {**built_in, **changed}

    @property
    def learns_strategies(self) -> bool:
        """Whether people's choices are learnt from: where the usual strategy, or that of a rule, is a learned one,
        unless `ranking.learning` says so."""
        if self.ranking.learning is not None:
            return self.ranking.learning
        usual = {self.ranking.strategy, *(rule.strategy for rule in self.rules if rule.strategy)}
        return any(self.strategies[name].learned for name in usual if name in self.strategies)

    @model_validator(mode="after")
    def _knows_its_strategy(self) -> Settings:
        if self.ranking.strategy not in self.strategies:
            known = ", ".join(self.strategies)
            raise ValueError(f"ranking.strategy {self.ranking.strategy!r} is not one of the strategies: {known}")
        return self

    @model_validator(mode="after")
    def _declares_what_is_capped(self) -> Settings:
        unknown = sorted(self.ranking.per_attribute.keys() - self.attributes.keys())
        if unknown:
            raise ValueError(f"ranking.per_attribute names {', '.join(unknown)}, which [attributes] doesn't declare")
        return self

    @field_validator("rules", "promotions", "feed")
    @classmethod
    def _differ_in_name(
        cls, value: tuple[RuleSettings | PromotionSettings | FeedSettings, ...]
    ) -> tuple[RuleSettings | PromotionSettings | FeedSettings, ...]:
        names = [one.name for one in value]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"more than one is called {', '.join(sorted(twice))}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes over what is given (the TOML file)."""
        return (env_settings, init_settings)
