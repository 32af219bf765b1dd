"""What the reader is asked, and what it answers: the models behind the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eddyline.model.events import ContextValue, Finite, Id, Timestamp, parse_timestamp_text
from eddyline.model.filters import MAX_IDS

MAX_LIMIT = 100
Hidden: TypeAlias = Literal["viewed", "purchased", "disliked"]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Part = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ListQuery(_Query):
    """Parameters of every list."""

    limit: Limit = 10
    """Most items in the answer."""
    next: Annotated[str, Field(max_length=8192)] | None = None
    """The `next` of an earlier answer, for the page after it."""
    category: list[str] = []
    """Only items of any of these categories; may be repeated."""
    tag: list[str] = []
    """Only items with any of these tags; may be repeated."""
    exclude: list[str] = []
    """Item ids to leave out; may be repeated."""
    published_after: str | None = None
    """Only items published after this time: RFC 3339 with an offset, or an epoch number."""

    @field_validator("published_after")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        if value is not None:
            parse_timestamp_text(value)
        return value

    def grammar(self) -> dict[str, Any]:
        """The filter parameters in the JSON grammar."""
        wanted: dict[str, Any] = {}
        if self.category:
            wanted["category"] = self.category
        if self.tag:
            wanted["tag"] = self.tag
        if self.published_after is not None:
            wanted["published_at"] = {"gt": parse_timestamp_text(self.published_after)}
        return wanted


class RecommendationQuery(ListQuery):
    """Parameters of a person's recommendations."""

    hide: list[Hidden] | None = None
    """Seen items to leave out; may be repeated. Empty (`hide=`): none; where missing: the setting `reader.hide`."""
    strict: bool = False
    """Never fill a short list with items seen before."""
    strategy: str | None = None
    """Rank by this strategy of the settings instead of the usual one."""
    diversity: Part | None = None
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    explore: Part | None = None
    """Share of places for items that few people have chosen yet."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category."""
    min_score: float | None = None
    """Only items that score at least this."""
    session_id: str | None = None
    """The running session: the list holds still for as long as it is the same."""
    surface: str | None = None
    """Where the list is shown, for rules and promotions."""
    device: str | None = None
    """In the app's own words, e.g. phone, for rules."""
    locale: str | None = None
    """A language tag, e.g. de-AT, for rules."""
    location: str | None = None
    """In the app's own words, for rules."""
    timezone: str | None = None
    """An IANA name, e.g. Europe/Vienna, for rules that go by the time of day."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""
    batch: bool = False
    """The list is made ahead, say for a mail: it counts as shown only once it is opened."""

    @field_validator("hide", mode="before")
    @classmethod
    def _may_be_empty(cls, value: Any) -> Any:
        return [] if value == [""] else value

    def context(self) -> dict[str, str]:
        """What the parameters say of the situation."""
        given = {name: getattr(self, name) for name in ("device", "locale", "location", "timezone")}
        return {name: value for name, value in given.items() if value is not None}


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


class RecommendationRequest(BaseModel):
    """A request for recommendations with a body: for anonymous people, and with events of this very moment."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    user_id: Id | None = None
    """For whom; with neither this nor `anonymous_id`, for somebody unknown."""
    anonymous_id: Id | None = None
    """For someone who isn't signed in; with both, for the user."""
    session_id: Id | None = None
    """The running session: the list holds still for as long as it is the same."""
    recent: Annotated[list[RecentInteraction], Field(max_length=100)] = []
    """What the person did this very moment; counted for this answer only."""
    filter: dict[str, Any] = {}
    """`{field: value | [any of] | {"all": […], "not": …, "gte": …, "lt": …}}`."""
    candidates: Annotated[list[Id], Field(max_length=MAX_IDS)] | None = None
    """Only these items: say, the pool of a newsletter."""
    exclude: Annotated[list[Id], Field(max_length=MAX_IDS)] = []
    """Not these items."""
    hide: list[Hidden] | None = None
    """Seen items to leave out; where missing: the setting `reader.hide`."""
    strict: bool = False
    """Never fill a short list with items seen before."""
    strategy: Annotated[str, Field(max_length=64)] | None = None
    """Rank by this strategy of the settings instead of the usual one."""
    boost: Annotated[list[RequestBoost], Field(max_length=20)] = []
    """Items whose scores are multiplied."""
    diversity: Part | None = None
    """0: by score alone; towards 1: ever less like what is above it on the list."""
    explore: Part | None = None
    """Share of places for items that few people have chosen yet."""
    per_category: Annotated[int, Field(ge=1)] | None = None
    """Most items of one category."""
    min_score: Finite | None = None
    """Only items that score at least this."""
    limit: Limit = 10
    """Most items in the answer."""
    next: Annotated[str, Field(max_length=8192)] | None = None
    """The `next` of an earlier answer, for the page after it."""
    surface: Annotated[str, Field(max_length=256)] | None = None
    """Where the list is shown, for rules and promotions."""
    context: Annotated[dict[Annotated[str, Field(max_length=64)], ContextValue], Field(max_length=32)] = {}
    """device, locale, location, timezone (an IANA name) and whatever else the rules of the settings look at."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""
    batch: bool = False
    """The list is made ahead, say for a mail: it counts as shown only once it is opened."""


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


class AssignmentQuery(_Query):
    """The person who asks for their variants, and the surface."""

    user_id: Id | None = None
    """One of user_id and anonymous_id is needed; with both, it is the user's."""
    anonymous_id: Id | None = None
    surface: Annotated[str, Field(max_length=256)] | None = None
    """Surface on which the list would be shown."""


class AssignmentResponse(BaseModel):
    """What someone gets; all null where they are in no experiment."""

    experiment: str | None
    variant: str | None
    revision: str | None
    """Of the experiment's definition: send it with the `impression` events of an external variant."""
    external: bool
    """Another system makes this variant's lists."""


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
