"""Requests and responses of the reader: the models behind the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eddyline.model.events import (
    Context,
    DurationText,
    Finite,
    Id,
    Timestamp,
    TimeText,
    format_timestamp,
    parse_timestamp_text,
)
from eddyline.model.filters import MAX_IDS

MAX_LIMIT = 100
MAX_QUERY = 1000
"""Most characters of a search."""

CONTEXT = ("device", "locale", "location", "timezone")
"""Parameters that are the context of a body."""

Hidden: TypeAlias = Literal["viewed", "purchased", "disliked"]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Surface = Annotated[str, Field(max_length=256)]


class _RequestModel(BaseModel):
    """No unknown fields, immutable. Query parameters come as text; a body's types are strict."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Page(_RequestModel):
    limit: Limit = 10
    """Most items in the answer."""
    next: Annotated[str, Field(max_length=8192)] | None = None
    """The `next` of an earlier answer, for the page after it."""


class ListQuery(_Page):
    """Parameters of every list."""

    category: list[str] = []
    """Only items of any of these categories; may be repeated."""
    tag: list[str] = []
    """Only items with any of these tags; may be repeated."""
    exclude: list[str] = []
    """Item ids to leave out; may be repeated."""
    published_after: TimeText | None = None
    """Only items published after this time: RFC 3339 with an offset, or an epoch number."""

    def filter_grammar(self) -> dict[str, Any]:
        """Return the filter parameters in the JSON grammar."""
        given: dict[str, Any] = {"category": self.category, "tag": self.tag}
        if self.published_after is not None:
            given["published_at"] = {"gt": format_timestamp(parse_timestamp_text(self.published_after))}
        return {name: value for name, value in given.items() if value}


class _RecommendationOptions(_Page):
    """What a request for recommendations may say, as parameters or in a body."""

    session_id: Id | None = None
    """The running session: the list holds still for as long as it is the same."""
    hide: list[Hidden] | None = None
    """Seen items to leave out; where missing: the setting `reader.hide`."""
    strict: bool = False
    """Never fill a short list with items seen before."""
    strategy: Annotated[str, Field(max_length=64)] | None = None
    """Rank by this strategy of the settings instead of the usual one."""
    diversity: Part | None = None
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    calibration: Part | None = None
    """0: by score alone; towards 1: ever closer to the mix of categories that this person chose lately."""
    explore: Part | None = None
    """Share of places for items that few people have chosen yet, and that suit the person."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category."""
    min_score: Finite | None = None
    """Only items that score at least this."""
    surface: Surface | None = None
    """Where the list is shown, for rules and promotions."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""
    batch: bool = False
    """The list is made ahead, say for a mail: it counts as shown only once it is opened."""


class RecommendationQuery(ListQuery, _RecommendationOptions):
    """Parameters of a person's recommendations."""

    hide: list[Hidden] | None = None
    """Seen items to leave out; may be repeated. Empty (`hide=`): none; where missing: the setting `reader.hide`."""
    device: str | None = None
    """In the app's own words, e.g. phone, for rules."""
    locale: str | None = None
    """A language tag, e.g. de-AT, for rules."""
    location: str | None = None
    """In the app's own words, for rules."""
    timezone: str | None = None
    """An IANA name, e.g. Europe/Vienna, for rules that go by the time of day."""

    @field_validator("hide", mode="before")
    @classmethod
    def _may_be_empty(cls, value: Any) -> Any:
        return [] if value == [""] else value

    def to_body(self, user_id: str) -> dict[str, Any]:
        """Return the same request as the body of a POST."""
        context = {name: value for name in CONTEXT if (value := getattr(self, name)) is not None}
        shared = {name: getattr(self, name) for name in ("exclude", *_RecommendationOptions.model_fields)}
        return {**shared, "user_id": user_id, "filter": self.filter_grammar(), "context": context}


class RecentInteraction(BaseModel):
    """Something that happened this very moment, sent along; nothing of it is stored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    item_id: Id
    type: Annotated[str, Field(min_length=1, max_length=64)] = "click"
    timestamp: Timestamp | None = None
    value: Finite | None = None
    dwell_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class RequestBoost(BaseModel):
    """Items that pass `filter` score `factor` times as much."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    filter: Annotated[dict[str, Any], Field(min_length=1)]
    factor: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


class RecommendationRequest(_RecommendationOptions):
    """A request for recommendations with a body: for anonymous people, and with events of this very moment."""

    model_config = ConfigDict(strict=True)

    user_id: Id | None = None
    """For whom; with neither this nor `anonymous_id`, for somebody unknown."""
    anonymous_id: Id | None = None
    """For someone who isn't signed in; with both, for the user."""
    recent: Annotated[list[RecentInteraction], Field(max_length=100)] = []
    """What the person did this very moment; counted for this answer only."""
    filter: dict[str, Any] = {}
    """`{field: value | [any of] | {"all": […], "not": …, "gte": …, "lt": …}}`."""
    candidates: Annotated[list[Id], Field(max_length=MAX_IDS)] | None = None
    """Only these items: say, the pool of a newsletter."""
    exclude: Annotated[list[Id], Field(max_length=MAX_IDS)] = []
    """Not these items."""
    boost: Annotated[list[RequestBoost], Field(max_length=20)] = []
    """Items whose scores are multiplied."""
    context: Context = {}
    """device, locale, location, timezone (an IANA name) and whatever else the rules of the settings look at."""


class SimilarQuery(ListQuery):
    """Parameters of the items that go with one."""

    relation: Literal["substitute", "complement", "any"] = "substitute"
    """`substitute`: close to it in content; `complement`: what people went on to from it; `any`: both together."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""


class TrendingQuery(ListQuery):
    """Parameters of the trending list."""

    window: Literal["hour", "day", "week"] = "day"
    """How far back: hour, day or week."""


class SearchQuery(ListQuery):
    """Parameters of a search."""

    q: Annotated[str, Field(min_length=1, max_length=MAX_QUERY)]
    """What to look for, in plain words."""
    by: Literal["text", "image", "both"] = "text"
    """Go by what items say, by what their pictures show (where images are enabled), or by both."""
    user_id: Id | None = None
    """Whose taste and session have a say in the order."""
    anonymous_id: Id | None = None
    """The same for someone who isn't signed in; with both, the user."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""

    @field_validator("q")
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value.strip()


class AudienceQuery(_RequestModel):
    """Parameters of an item's audience."""

    limit: Limit = 10
    """Most people in the answer."""
    segment: list[str] = []
    """Only people of any of these segments; may be repeated."""
    active_within: DurationText | None = None
    """Only people seen within this time: minutes, hours or days, as in 30m, 12h or 7d."""


class AssignmentQuery(_RequestModel):
    """The person who asks for their variants, and the surface."""

    user_id: Id | None = None
    """One of user_id and anonymous_id is needed; with both, it is the user's."""
    anonymous_id: Id | None = None
    surface: Surface | None = None
    """Surface on which the list would be shown."""


class ListItem(BaseModel):
    """One place of a list."""

    item_id: str
    rank: int
    score: float
    title: str | None = None
    category: str | None = None
    url: str | None = None
    because: str | None = None
    """With `explain`: a sentence from the largest term."""
    scores: dict[str, float] | None = None
    """With `explain`: the terms; they add up to the score."""
    repeat: bool | None = None
    """True where the person has seen it before, and too little else was left."""
    promotion: str | None = None
    """The promotion that put it there."""


class ItemList(BaseModel):
    """A list of items."""

    items: list[ListItem]
    next: str | None = None
    """Ask for the next page with this; it never repeats an item."""
    degraded: bool = False
    """True where the vector store didn't answer and a cached list was served instead."""


class RecommendationList(ItemList):
    """Recommendations."""

    request_id: str
    """Send it along with the events that this list leads to."""
    experiment: str | None = None
    """The experiment that the list is in."""
    variant: str
    """The experiment's variant; without an experiment the strategy, or `degraded`."""
    strategy: str
    """What the list is ranked by."""
    cold_start: bool
    """True while nothing is known of the person: no events, and no answers."""
    reason: str | None = None
    """Where the list is empty: why."""


class BrowseList(ItemList):
    """A list of items that isn't one person's."""

    reason: str | None = None
    """Where the list is empty: why."""


class SearchList(BrowseList):
    """What was found."""

    personalised: bool
    """Whether a person's taste had a say in the order."""


class AudienceMember(BaseModel):
    """A person for whom an item may be right."""

    user_id: str | None = None
    anonymous_id: str | None = None
    score: float


class Audience(BaseModel):
    """People whose recent history has the item in it, the heaviest first."""

    people: list[AudienceMember]
    reason: str | None = None
    """Where there is nobody: why."""


class AssignmentResponse(BaseModel):
    """What someone gets; all null where they are in no experiment."""

    experiment: str | None
    variant: str | None
    revision: str | None
    """Of the experiment's definition: send it with the `impression` events of an external variant."""
    external: bool
    """Another system makes this variant's lists."""


class StrategyWeights(BaseModel):
    """The weight of each term that has one: in a running visit, and in its first list."""

    running: dict[str, float]
    first_list: dict[str, float]


class StrategySummary(BaseModel):
    """A strategy, as it ranks now."""

    name: str
    learned: bool
    weights: StrategyWeights
    shipped: StrategyWeights | None = None
    """Of a learned one: what it began with."""
    choices: int | None = None
    """Learnt from so far."""
    loss: float | None = None
    """Mean loss of late choices in nats, before they were learnt from: lower is better. None: none yet."""
    shipped_loss: float | None = None
    """The same, by the weights that it began with."""


class StrategyList(BaseModel):
    """All strategies. `usual`: the one of lists that name none."""

    usual: str
    strategies: list[StrategySummary]


class PersonSummary(BaseModel):
    """What is known of a person, in words and counts."""

    user_id: str
    events: int
    evidence: float
    last_seen: str | None = None
    recents: list[str] = []
    onboarded: bool = False
    segment: str | None = None
    attributes: dict[str, Any] = {}
    waiting: int = 0
    """Interactions that wait for an item that isn't embedded yet."""
    anonymous_ids: list[str] = []
    """Those that were identified as theirs, the newest thousand, newest last."""
