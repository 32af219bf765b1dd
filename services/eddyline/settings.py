"""Every setting, with its default, its unit and what it is for.

Read from the environment (`EDDYLINE_KAFKA__BOOTSTRAP_SERVERS`) over a TOML file (`[kafka] bootstrap_servers`) over the
defaults. A wrong or unknown one is refused by name. `docs/configuration.md` is generated from this file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from eddyline.errors import Misconfigured

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]

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
RESERVED_EVENT_TYPES = frozenset({"onboarded", "erased", "transfer", "identify", "shown"})
"""Types that only our own services write, or that have a meaning of their own."""


class AttributeKind(StrEnum):
    """The type of a declared item attribute, and so of its index."""

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Server(_Section):
    """The HTTP side of any process."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes any free one."""
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
    def _takes_a_whole_body(self) -> Server:
        if self.max_in_flight_bytes < self.max_body_bytes:
            raise ValueError("max_in_flight_bytes must be at least max_body_bytes, or such a body could never be taken")
        return self


UNSAFE = {"acks", "request.required.acks", "enable.idempotence"}
"""Settings of librdkafka on which the promise of delivery rests."""


class Kafka(_Section):
    """The Kafka cluster. The embedded mode brings its own broker and ignores this section."""

    bootstrap_servers: str = ""
    """host:port of one or more brokers, comma-separated."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Put before every topic and group name, so that two deployments can share a cluster."""
    partitions: Count = 4
    """Partitions of each topic, fixed at `eddyline init`."""
    replication_factor: Count = 1
    """Replicas of each topic that `init` creates; 3 in production."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """Rebalance protocol; `consumer` is KIP-848."""
    client: Mapping[str, str] = {}
    """Further librdkafka settings, e.g. {"security.protocol" = "SASL_SSL", "sasl.password" = "…"}; not those that would
    take records for written that may not be (`acks`, `enable.idempotence`)."""
    batch_size: Count = 500
    """Most records that a consumer handles at once."""
    dead_letter_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A consumer stops when more than this share of its recent records were dead letters."""

    @field_validator("client")
    @classmethod
    def _keeps_its_promise(cls, client: Mapping[str, str]) -> Mapping[str, str]:
        if unsafe := sorted(client.keys() & UNSAFE):
            raise ValueError(f"{', '.join(unsafe)} can't be set: a record counts as written once all replicas have it")
        return client


class Qdrant(_Section):
    """The Qdrant server. The embedded mode keeps Qdrant Edge in the data directory and ignores this section."""

    url: str = ""
    """REST address, e.g. http://qdrant:6333."""
    api_key: SecretStr | None = None
    """Sent as the `api-key` header."""
    timeout_seconds: Positive = 5.0
    """A call that takes longer counts as unavailable."""
    prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    """Put before both collections' names."""


TEMPLATE_FIELDS = ("title", "description", "category", "tags", "language")
"""What an item has that can be embedded, beside `attributes.<name>`."""
TEMPLATE_LABELS = {"category": "Category", "tags": "Tags"}
MOST_REPEATS = 20


class Template(_Section):
    """The text that stands for an item. Changing it means embedding every item again."""

    fields: Annotated[tuple[str, ...], Field(min_length=1)] = ("title", "description", "category", "tags")
    """What is embedded, in this order: title, description, category, tags, language, attributes.NAME."""
    labels: Mapping[str, str] = TEMPLATE_LABELS
    """What is put before a field, with a colon; an empty one for nothing. What is given is merged over the defaults."""
    weights: Mapping[str, Positive] = {}
    """What fields count for, e.g. {title = 2}; 1 where nothing is said."""
    mode: Literal["repeat", "average"] = "repeat"
    """`repeat`: one text, in which a field stands as often as its weight says. `average`: each field is embedded alone,
    and their vectors are averaged by weight."""

    @field_validator("labels", mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        return {**TEMPLATE_LABELS, **value} if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _names_fields(self) -> Template:
        for name in (*self.fields, *self.labels):
            if name not in TEMPLATE_FIELDS and not (name.startswith("attributes.") and len(name) > len("attributes.")):
                known = ", ".join(TEMPLATE_FIELDS)
                raise ValueError(f"there is no field {name!r}: there are {known}, and attributes.NAME")
        twice = sorted({name for name in self.fields if self.fields.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named more than once: give it a weight instead")
        for name, weight in self.weights.items():
            if name not in self.fields:
                raise ValueError(f"{name!r} has a weight, but is not one of the fields: {', '.join(self.fields)}")
            if self.mode == "repeat" and (weight != int(weight) or weight > MOST_REPEATS):
                raise ValueError(
                    f"{name!r} can't stand {weight:g} times in a text: take a whole number up to {MOST_REPEATS}, or "
                    'mode = "average"'
                )
        return self


class Encoder(_Section):
    """The text encoder. Changing the model means embedding every item again."""

    kind: Literal["local", "openai", "http"] = "local"
    """Where texts become vectors: `local` in this process by sentence-transformers; `openai` at an endpoint that speaks
    OpenAI's embeddings API; `http` in another process, `eddyline encoder` or one of your own."""
    model: str = "packaged"
    """`packaged` (all-MiniLM-L6-v2, from the package index), or any sentence-transformers model by name or path,
    e.g. sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2 for fifty languages. For `openai`, what the
    endpoint calls it, e.g. text-embedding-3-small."""
    device: str = "cpu"
    """Torch device."""
    batch_size: Count = 32
    """Texts encoded at once."""
    backend: Literal["torch", "onnx"] = "torch"
    """What runs a sentence-transformers model; `onnx` is ONNX Runtime, from the extra `eddyline[onnx]`."""
    precision: Literal["fp32", "int8"] = "fp32"
    """Of the model's weights; `int8` is for `onnx`, and is a space of its own."""
    long_text: Literal["pool", "cut"] = "pool"
    """A text longer than the model reads: `pool` reads it in overlapping windows and averages their vectors, `cut`
    reads its beginning alone. Changing it means embedding every item again."""
    long_text_windows: Count = 16
    """Most windows of a text; what comes after them isn't read. Changing it means embedding every item again."""
    distance: Literal["cosine", "dot", "euclid"] = "cosine"
    """How vectors are compared: `cosine` by direction; `dot` and `euclid` for models that were trained for them, whose
    vectors keep their length. Changing it means embedding every item again."""
    detect_language: bool = True
    """Detect the language of items of which none is said, so that they can be filtered by it."""
    template: Template = Template()
    url: str = ""
    """Of the endpoint, e.g. https://api.openai.com/v1, or of the other process, e.g. http://encoder:8000."""
    api_key: SecretStr | None = None
    """Sent as a bearer token. Give it by the environment: EDDYLINE_ENCODER__API_KEY."""
    serving_key: SecretStr | None = None
    """What others must send to `eddyline encoder` as a bearer token: their `api_key`. Unset, anyone is answered."""
    dimensions: Count | None = None
    """Asks an `openai` endpoint for vectors of this length, where the model can shorten them."""
    timeout_seconds: Positive = 30.0
    """A request to another process that takes longer is made again."""
    attempts: Count = 3
    """Most requests for a batch before it counts as unavailable; what consumes content goes on trying."""
    cache_entries: Annotated[int, Field(ge=0)] = 100_000
    """Most vectors of an `openai` endpoint kept on disk, by what was embedded, so that nothing is paid for twice; 0:
    none."""
    cache_dir: Path = Path("~/.cache/eddyline/encoders")
    """Where vectors that were paid for are kept, and a model that was exported to ONNX (which takes some seconds,
    once)."""

    @model_validator(mode="after")
    def _says_where(self) -> Encoder:
        if self.kind != "local" and not self.url:
            raise ValueError(f"kind = {self.kind!r} needs url (EDDYLINE_ENCODER__URL)")
        if self.kind == "openai" and self.model == "packaged":
            raise ValueError("kind = 'openai' needs model: what the endpoint calls it, e.g. text-embedding-3-small")
        if self.dimensions is not None and self.kind != "openai":
            raise ValueError("dimensions is for kind = 'openai': elsewhere they come from the model")
        return self

    @model_validator(mode="after")
    def _runs_as_set(self) -> Encoder:
        if self.precision == "int8" and self.backend == "torch":
            raise ValueError("precision 'int8' needs backend 'onnx': set encoder.backend, or precision to 'fp32'")
        if self.backend == "onnx" and self.device != "cpu":
            raise ValueError("backend 'onnx' runs on the CPU: set device to 'cpu', or encoder.backend to 'torch'")
        return self


class Images(_Section):
    """How items' images are fetched, and turned into vectors."""

    enabled: bool = False
    """Whether items' images are fetched and searched by; it needs `eddyline[embedder]`."""
    model: str = "sentence-transformers/clip-ViT-B-32"
    """Any CLIP model of sentence-transformers, by name or path."""
    device: str = "cpu"
    """Torch device of that model."""
    batch_size: Count = 16
    """Images encoded at once."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """Images fetched at once by each imager."""
    attempts: Count = 10
    """Attempts at an image whose host doesn't answer as it should; then it has failed, until its item is sent again."""
    backoff_seconds: Positive = 15.0
    """Pause before the second attempt; it doubles with each, up to an hour."""
    max_bytes: Count = 10_485_760
    """Largest image that is read from an address."""
    max_upload_bytes: Annotated[int, Field(ge=1, le=600_000)] = 262_144
    """Largest image that is taken with its item (`data:image/jpeg;base64,…`). In base64 it is a third larger, and
    must fit into a record of 1 MB, and into `server.max_body_bytes`, with all else that is said of the item."""
    max_pixels: Annotated[int, Field(ge=1, le=80_000_000)] = 25_000_000
    """Most pixels (width times height) of an image that is decoded; each takes up to nine bytes for a moment, of
    two images at a time."""
    step_timeout_seconds: Positive = 5.0
    """Longest that a look-up, a connection or a read of an image host may take."""
    total_timeout_seconds: Positive = 20.0
    """Longest that one image may take, redirects included."""
    allowed_hosts: tuple[str, ...] = ()
    """Hosts that images are fetched from whatever their address, e.g. ["images.internal"]. Others need a public one."""
    allowed_networks: tuple[str, ...] = ()
    """Internal networks that images are fetched from whatever the host's name, e.g. ["10.3.0.0/16"]."""

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)  # its ValueError says what is wrong
        return value


class Events(_Section):
    """What an event says about a person's taste."""

    weights: Mapping[str, Finite] = {
        "view": 1.0,
        "click": 1.0,
        "like": 3.0,
        "save": 3.0,
        "share": 4.0,
        "cart": 4.0,
        "purchase": 5.0,
        "rating": 1.0,
        "skip": -0.25,
        "dislike": -3.0,
        "hide": -3.0,
        "impression": 0.0,
    }
    """Strength of each event type; a type that isn't here is refused. What is given is merged over the defaults."""
    rating_neutral: Finite = 2.75
    """The rating that says nothing: one above attracts, one below pushes away."""
    rating_scale: Positive = 1.5
    """Strength of one point of rating above or below the neutral one."""
    dwell_seconds: Positive = 10.0
    """A view of this length counts once; a longer one up to twice, a shorter one down to a quarter."""

    @field_validator("weights", mode="before")
    @classmethod
    def _merge(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if name in RESERVED_EVENT_TYPES:
                raise ValueError(f"{name!r} is reserved and can't be given a weight")
        return {**cls.model_fields["weights"].default, **value}


class Profile(_Section):
    """How a profile remembers."""

    taste_half_life_days: Positive = 6.931471805599453
    """Half-life of `taste`: 10 days times ln 2, i.e. e^(-0.1 per day)."""
    session_half_life_minutes: Positive = 30.0
    """Half-life of `session`."""
    lifetime_half_life_days: Positive = 180.0
    """Half-life of `lifetime`, which still knows a person who comes back after months."""
    recents: Count = 100
    """Newest distinct items of positive events kept."""
    recents_half_life: Positive = 3.0
    """Positions after which a recent item's weight in `history` halves."""
    seen: Count = 500
    """Newest distinct items kept of those seen, bought, and judged, each."""
    shown: Count = 300
    """Newest showings kept: that an item was in a list of theirs, once a minute at most."""
    shown_half_life_days: Positive = 7.0
    """Half-life of what is held against an item that was shown and left alone."""
    event_ids: Count = 200
    """Newest event ids kept to recognise a producer's own retries."""
    pending: Count = 100
    """Most interactions of one person that wait for an item that isn't embedded yet."""
    pending_seconds: Positive = 900.0
    """How long an interaction waits for its item before it becomes a dead letter."""
    stub_days: Positive = 90.0
    """How long what is left of an erased or identified profile is kept after its last use, so that late events don't go
    astray. Not less than the retention of `interactions`."""
    cached_profiles: Count = 20_000
    """Profiles kept in a profiler's memory (about 8 KB each)."""
    cached_items: Count = 50_000
    """Item vectors kept in a profiler's memory (about 3 KB each)."""
    item_cache_seconds: Positive = 60.0
    """How long a cached item vector may be used before it is read again."""


class Affinity(_Section):
    """What an item learns from what people chose before it: its row of the item-to-item matrix."""

    recents_half_life: Positive = 3.0
    """Positions after which the weight halves with which an item learns a recent one."""
    slow_half_life: Positive = 20.0
    """Positions after which a second, slower weight halves, which is added to it."""
    slow_weight: NotNegative = 0.7
    """The slower weight of the newest recent item; 0 for none."""
    prior: Positive = 5.0
    """Added to an item's count where its row is divided by it, so that a rare item doesn't look certain."""
    power: Annotated[float, Field(ge=0, le=1)] = 0.7
    """A row is divided by (count + prior) to this power: 0 favours popular items, 1 rare ones."""
    half_life_days: Positive = 3650.0
    """Half-life of a row's weights and count. They fade only when the row is written: what is chosen seldom has little
    else to go by than what was learnt years ago."""
    entries: Count = 256
    """Largest weights that a row is cut to."""
    grown: Count = 512
    """Weights at which a row is cut, so that newcomers get a chance to grow."""
    reverse: NotNegative = 0.8
    """Weight with which recent items learn the one that came after them."""
    reverse_recents: Annotated[int, Field(ge=0, le=50)] = 3
    """How many of the newest recent items do; each costs a record of `activity`. 0 turns it off."""
    seed_neighbours: Annotated[int, Field(ge=0, le=100)] = 10
    """Items of the nearest content that a new item's row begins as the mean of; 0: it begins empty."""
    seed_weight: Positive = 1.0
    """What that beginning counts for: as if the item had come so many times, after what its neighbours come after."""

    @model_validator(mode="after")
    def _grows_before_it_is_cut(self) -> Affinity:
        if self.grown < self.entries:
            raise ValueError("grown must be at least entries: a row grows to the former and is cut to the latter")
        return self


Term: TypeAlias = Literal[
    "affinity", "taste", "session", "people", "popularity", "trending", "freshness", "rating", "price", "image"
]
TERMS: tuple[Term, ...] = get_args(Term)
"""What a strategy gives weights to."""
Share = Annotated[float, Field(ge=0, le=1)]


class Strategy(_Section):
    """A way of ranking: the weight of each term, which is in 0…1 before it, and how lists are varied."""

    affinity: NotNegative = 0.0
    """What people went on to after what this person chose lately."""
    taste: NotNegative = 0.0
    """Content close to the long-term taste (or, while behaviour is thin, to the onboarding answers)."""
    session: NotNegative = 0.0
    """Content close to the running session, at full evidence."""
    people: NotNegative = 0.0
    """What the people with the most similar history chose. Costs two more queries."""
    popularity: NotNegative = 0.0
    """What most people chose, over about a quarter."""
    trending: NotNegative = 0.0
    """What most people choose now: within `ranking.trending_window`."""
    freshness: NotNegative = 0.0
    """How new an item is."""
    rating: NotNegative = 0.0
    """How good people found it, by the items' `rating`: `ranking.rating_prior` for one without."""
    price: NotNegative = 0.0
    """How well its price fits those of what this person chose lately. With `image`, costs one more look-up."""
    image: NotNegative = 0.0
    """A picture that looks like those of what this person chose lately; only where images are enabled."""
    arrival: Mapping[Term, NotNegative] = {}
    """Weights of the first list of a visit, where they differ; they give way to the others as the visit goes on."""
    diversity: Share = 0.0
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    explore: Share = 0.0
    """Share of places, from the third on, for items that few people have chosen yet; on a visit's first list, less as
    the visit goes on."""
    rotation: NotNegative = 0.0
    """How much the order varies from one visit to the next. 0: not at all; at 0.3, an item half as good comes first
    about one time in ten."""

    def weights(self, pace: float) -> dict[str, float]:
        """The weight of each term; `pace`: 1 in the middle of a visit, 0 at its beginning."""
        running = {name: float(getattr(self, name)) for name in TERMS}
        return {name: pace * weight + (1 - pace) * self.arrival.get(name, weight) for name, weight in running.items()}


STRATEGIES: Mapping[str, Strategy] = {
    "eddyline": Strategy(
        affinity=1.0,
        taste=0.05,
        session=0.12,
        popularity=0.4,
        freshness=0.02,
        arrival={"popularity": 0.3, "trending": 0.05, "freshness": 0.05},
        explore=0.05,
        rotation=0.2,
    ),
    "articles": Strategy(taste=0.5, people=0.3, trending=0.2),
    "content": Strategy(taste=1.0, session=1.2),
    "affinity": Strategy(affinity=1.0),
    "trending": Strategy(trending=1.0),
}


class Ranking(_Section):
    """How candidates are found and scored, whatever the strategy."""

    strategy: str = "eddyline"
    """The one that is used unless a request or a rule names another."""
    recents_half_life: Positive = 2.0
    """Positions after which a recent item's weight in the affinity query halves, in a running visit."""
    recents_slow_half_life: Positive = 30.0
    """Positions after which the lasting part of that weight halves."""
    recents_slow_weight: NotNegative = 0.13
    """The lasting part, beside 1. On a visit's first list it is all there is."""
    evidence_power: Positive = 0.85
    """Affinity, over the largest on the list, is raised to this power: below 1, what comes behind the first few still
    counts."""
    popularity_damping: NotNegative = 0.3
    """A recent item's weight is divided by (its popularity + 1) to this power: what all choose says little."""
    visit_half_life_minutes: Positive = 15.0
    """Time since a person's last event after which half of a visit's pace is gone."""
    trending_window: Literal["hour", "day", "week"] = "week"
    """What `trending` goes by."""
    taste_evidence: Positive = 4.0
    """Decayed evidence at which the recent taste of someone known for long gets half of the long-term share."""
    session_evidence: Positive = 1.5
    """Decayed evidence at which the session gets half of its weight."""
    known_evidence: Positive = 5.0
    """Lifetime evidence at which behaviour gets half of the long-term share; the rest is the onboarding's."""
    freshness_half_life_hours: Positive = 72.0
    """Age at which an item's freshness is one half."""
    rating_prior: Share = 0.7
    """What an item without ratings is taken for, on the way from the worst (0) to the best possible value (1): 0.7 is
    3.5 of 5. Few ratings are drawn towards it."""
    rating_prior_count: Positive = 20.0
    """Ratings that this counts for: an item with as many is half-way between it and its own mean."""
    details_recents: Annotated[int, Field(ge=1, le=100)] = 20
    """Newest recent items that are looked up for `price` and `image`."""
    price_least_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 1.5
    """Prices of this ratio are never more than one standard deviation apart, however alike the known ones are."""
    price_wide_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 4.0
    """Ratio of prices that is one standard deviation while none is known."""
    price_evidence: Positive = 3.0
    """Known prices at which the variance is half their own, half that of `price_wide_ratio`."""
    fatigue_showings: Positive = 2.0
    """Decayed number of earlier showings without a click at which an item's score is halved."""
    fatigue_after_minutes: NotNegative = 60.0
    """A pause of this length ends a visit. Only what was shown in earlier ones counts, so that a list holds still
    within one."""
    rotation_hours: Positive = 6.0
    """How long one order holds; a request with a session_id holds it for the session."""
    cold_explore: Share = 0.2
    """`explore` of those of whom nothing is known, unless the strategy's is larger."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category in a list; none set: no limit."""
    people: Annotated[int, Field(ge=1, le=200)] = 30
    """People with a similar history who are asked, where `people` has a weight."""
    candidates: Annotated[int, Field(ge=10, le=1000)] = 100
    """Candidates asked of each source, beyond what paging needs."""


class Reader(_Section):
    """How answers are served."""

    hide: tuple[Literal["viewed", "purchased", "disliked"], ...] = ("viewed", "purchased", "disliked")
    """Seen items left out unless a request says otherwise."""
    trending_cache_seconds: NotNegative = 1.0
    """How long a list that is the same for everyone (popular, trending, latest) is reused."""
    stale_seconds: NotNegative = 300.0
    """How old a cached list may be when the vector store doesn't answer."""
    search: bool | None = None
    """Whether `/v1/search` answers. It needs the text encoder; where this isn't set, it answers in a process that runs
    the embedder too, as `eddyline up` does, and shares its encoder."""
    search_taste_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """A person's part in the order of what they search for, by their taste and session; the rest is relevance."""
    search_image_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """In a search `by=both`: the part of what pictures show; the rest is text."""
    similar_image_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Among substitutes of an item that has a picture: the part of what the pictures show; the rest is text. Only where
    images are enabled."""
    complement_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Among similar items of any relation: the part of what people went on to; the rest is content."""
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Cosine of two items' content from which they count as the same, so that neither complements the other."""
    shown: bool = True
    """Tell the profiles what was shown, so that what is left alone again and again makes room for a while. Needs Kafka:
    a reader without `kafka.bootstrap_servers` tells nobody."""


class Insights(_Section):
    """How what is served is measured."""

    impressions: bool = True
    """Readers tell what they served. Needs Kafka: a reader without `kafka.bootstrap_servers` tells nobody."""
    run: bool = True
    """Whether `eddyline up` runs the insights service too; it needs `eddyline[insights]`."""
    clicks: Annotated[tuple[Name, ...], Field(min_length=1)] = ("view", "click")
    """Event types that count as a click on an item of a list."""
    conversions: Annotated[tuple[Name, ...], Field(min_length=1)] = ("purchase",)
    """Event types that count as a conversion; their `value` is the revenue."""
    attribution_hours: Positive = 24.0
    """How long after a list was served what people do counts for it."""
    lateness_minutes: Positive = 60.0
    """A record that reaches the log later than this after it happened isn't measured."""
    new_item_days: Positive = 7.0
    """An item published (or first come) less than this before it was served is new."""
    positions: Annotated[int, Field(ge=1, le=100)] = 20
    """Positions that are measured one by one."""
    minutes_kept_hours: Positive = 6.0
    """How long windows of a minute are kept."""
    hours_kept_days: Positive = 14.0
    """How long windows of an hour are kept."""
    days_kept: Annotated[float, Field(ge=9)] = 400.0
    """How long windows of a day are kept; at least nine days, so that who comes back on the seventh still counts."""
    flush_seconds: Positive = 1.0
    """How often what was measured is written down."""
    settle_minutes: Positive = 10.0
    """How long after a window its clicks are waited for, before a guardrail judges its click-through rate, or a gauge
    shows it."""
    guard_seconds: Positive = 10.0
    """How often guardrails are looked at."""


class Boost(_Section):
    """Some items' scores multiplied."""

    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    factor: NotNegative
    """What their scores are multiplied by: above 1 raises, below 1 lowers."""


class Rule(_Section):
    """What changes in a situation. `model.rules` reads the conditions and the filters, and refuses wrong ones."""

    name: Name
    """What it is called in answers and errors."""
    when: Mapping[str, Any] = {}
    """Conditions on the situation; without any it always applies."""
    weights: Mapping[str, NotNegative] = {}
    """Factor of a ranking term's weight, by the term's name."""
    boost: Boost | None = None
    """Items whose scores are multiplied."""
    strategy: str | None = None
    """The strategy to rank by; of several rules that name one, the last decides."""

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        if not self.weights and self.boost is None and self.strategy is None:
            raise ValueError("does nothing: give weights, boost or strategy")
        return self


class Promotion(_Section):
    """Items that get places of their own for a while."""

    name: Name
    """What it is called in answers and errors."""
    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Most of a list's places that they get, e.g. 0.2: every fifth."""
    positions: Annotated[tuple[Annotated[int, Field(ge=1, le=500)], ...], Field(max_length=100)] = ()
    """Or the exact places that they get, counted from 1."""
    starts: AwareDatetime | None = None
    """Not before."""
    ends: AwareDatetime | None = None
    """Not from then on."""
    surface: str | None = None
    """Only on this surface."""
    when: Mapping[str, Any] = {}
    """Only in such situations; conditions as in rules."""

    @model_validator(mode="after")
    def _has_places(self) -> Promotion:
        if (self.share is None) == (not self.positions):
            raise ValueError("takes either share or positions")
        if len(set(self.positions)) < len(self.positions):
            raise ValueError("positions must differ")
        if self.starts is not None and self.ends is not None and self.ends <= self.starts:
            raise ValueError("ends must be after starts")
        return self


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
    """Least level that is logged."""
    log_format: Literal["console", "json"] = "console"
    """`json` for machines: one object a line."""
    attributes: Mapping[str, AttributeKind] = {}
    """Own item attributes that can be filtered on, e.g. {brand = "keyword"}: keyword, integer, float or bool."""
    timezone: str = "UTC"
    """Where the clock of rules is, as an IANA name, unless a request says otherwise (`context.timezone`)."""
    segments: Mapping[str, Mapping[str, Any]] = {}
    """Segments by what is known of a person: name = conditions on attributes, e.g. {pros = {plan = "pro"}}."""
    rules: tuple[Rule, ...] = ()
    """What changes in a situation, e.g. [{name = "new", when = {weekday = "sunday"}, weights = {freshness = 2}}]."""
    promotions: tuple[Promotion, ...] = ()
    """Items with places of their own, e.g. [{name = "sale", filter = {tag = "sale"}, share = 0.2}]."""
    server: Server = Server()
    kafka: Kafka = Kafka()
    qdrant: Qdrant = Qdrant()
    encoder: Encoder = Encoder()
    images: Images = Images()
    events: Events = Events()
    profile: Profile = Profile()
    affinity: Affinity = Affinity()
    ranking: Ranking = Ranking()
    strategies: Mapping[str, Strategy] = STRATEGIES
    """By name. What is given is merged over the built-in ones (docs/ranking.md has their weights); a new name is a new
    strategy."""
    reader: Reader = Reader()
    insights: Insights = Insights()
    experiments_file: Path = Path("experiments.toml")
    """Experiments, where the file exists (docs/experiments.md). It is read again when it changes."""

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
        given = {name: one.model_dump() if isinstance(one, Strategy) else one for name, one in value.items()}
        changed = {
            name: {**built_in.get(name, {}), **one} if isinstance(one, Mapping) else one for name, one in given.items()
        }
        return {**built_in, **changed}

    @model_validator(mode="after")
    def _knows_its_strategy(self) -> Settings:
        if self.ranking.strategy not in self.strategies:
            known = ", ".join(self.strategies)
            raise ValueError(f"ranking.strategy {self.ranking.strategy!r} is not one of the strategies: {known}")
        return self

    @field_validator("rules", "promotions")
    @classmethod
    def _differ_in_name(cls, value: tuple[Rule | Promotion, ...]) -> tuple[Rule | Promotion, ...]:
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


CONFIG_VARIABLE = "EDDYLINE_CONFIG"
DEFAULT_FILE = Path("eddyline.toml")


def load(file: Path | None = None) -> Settings:
    """Read the settings: `file`, else $EDDYLINE_CONFIG, else ./eddyline.toml where it exists; the environment over it.

    Raises `Misconfigured` naming every setting that is wrong or unknown.
    """
    named = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    path = named or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    given = _read(path) if path else {}
    known = set(_variables())
    unknown = [
        name for name in os.environ if name.upper().startswith("EDDYLINE_") and not _is_known(name.upper(), known)
    ]
    if unknown:
        raise Misconfigured(
            f"unknown environment variable {', '.join(sorted(unknown))}: `eddyline config` lists what there is"
        )
    try:
        return Settings(**given)
    except ValidationError as error:
        source = f"the environment or {path}" if path else "the environment"
        lines = [f"  {_where(e['loc'], given)}: {_message(e)}" for e in error.errors(include_url=False)]
        raise Misconfigured(f"wrong settings in {source}:\n" + "\n".join(lines)) from None
    except ValueError as error:  # pydantic-settings: a variable that isn't the JSON it should be
        raise Misconfigured(f"wrong settings in the environment: {error}") from None


def effective(settings: Settings) -> dict[str, Any]:
    """The settings in force, as plain JSON types, secrets masked."""
    shown: dict[str, Any] = settings.model_dump(mode="json")
    shown["kafka"]["client"] = {
        name: "**********" if _is_secret(name) else value for name, value in shown["kafka"]["client"].items()
    }
    return shown


def describe() -> Iterator[tuple[str, str, str, str]]:
    """Every setting: (TOML path, environment variable, default, description)."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield from _described(section, name)
        else:
            yield name, f"EDDYLINE_{name}".upper(), _shown(field.default), " ".join((field.description or "").split())


def _described(section: type[_Section], path: str) -> Iterator[tuple[str, str, str, str]]:
    for key, inner in section.model_fields.items():
        name, kind = f"{path}.{key}", inner.annotation
        if isinstance(kind, type) and issubclass(kind, _Section):
            yield from _described(kind, name)
        else:
            variable = f"EDDYLINE_{name.replace('.', '__')}".upper()
            yield name, variable, _shown(inner.default), " ".join((inner.description or "").split())


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(k if isinstance(v, _Section) else f"{k} = {v}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(str(v) for v in value) + "]"
    return "" if value is None else str(value)


def _variables() -> Iterator[str]:
    yield CONFIG_VARIABLE
    for _, variable, _, _ in describe():
        yield variable


def _is_known(name: str, known: set[str]) -> bool:
    parents = (
        "EDDYLINE_ATTRIBUTES__",
        "EDDYLINE_ENCODER__TEMPLATE__",
        "EDDYLINE_EVENTS__WEIGHTS__",
        "EDDYLINE_KAFKA__CLIENT__",
        "EDDYLINE_STRATEGIES__",
    )
    sections = {f"EDDYLINE_{name}".upper() for name in Settings.model_fields}
    return name in known or name in sections or name.startswith(parents)


def _is_secret(name: str) -> bool:
    words = ("password", "secret", "key.pem", "token", "jaas", "oauthbearer.config", "api_key")
    return any(word in name.lower() for word in words)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"there is no settings file {path}") from None
    except OSError as error:
        raise Misconfigured(f"the settings file {path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is not valid TOML: {error}") from None


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _where(location: tuple[int | str, ...], given: Mapping[str, Any]) -> str:
    """The dotted path; a rule or a promotion of the file with its name, since its number says little."""
    table, index = (*location, None, None)[:2]
    if table in ("rules", "promotions") and isinstance(index, int) and f"EDDYLINE_{table}".upper() not in os.environ:
        name = given[table][index].get("name") if isinstance(given[table][index], Mapping) else None
        return f"{_dotted(location)} ({name!r})" if name else _dotted(location)
    return _dotted(location)


def _message(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such setting"
    shown = None if _is_secret(_dotted(error["loc"])) else error.get("input")
    return f"{error['msg']}" + (f" (it is {shown!r})" if isinstance(shown, str | int | float | bool) else "")
