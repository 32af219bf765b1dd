"""What can be asked without being anyone, and of a search: the models behind these routes."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from eddyline.model.events import Id
from eddyline.reader.schemas import ItemList, Limit, ListQuery

Relation: TypeAlias = Literal["substitute", "complement", "any"]
Window: TypeAlias = Literal["hour", "day", "week"]

MAX_QUERY = 1000
"""Most characters of a search."""
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


class SimilarQuery(ListQuery):
    """Parameters of the items that go with one."""

    relation: Relation = "substitute"
    """`substitute`: close to it in content; `complement`: what people went on to from it; `any`: both together."""
    explain: bool = False
    """Give each item's terms, and a sentence from them."""


class TrendingQuery(ListQuery):
    """Parameters of the trending list."""

    window: Window = "day"
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


class AudienceQuery(BaseModel):
    """Parameters of an item's audience."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    limit: Limit = 10
    """Most people in the answer."""
    segment: list[str] = []
    """Only people of any of these segments; may be repeated."""
    active_within: str | None = None
    """Only people seen within this time: minutes, hours or days, as in 30m, 12h or 7d."""

    @field_validator("active_within")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        if value is not None and _DURATION.fullmatch(value) is None:
            raise ValueError("must be a whole number of minutes, hours or days, as in 30m, 12h or 7d")
        return value

    @property
    def active_seconds(self) -> float | None:
        """`active_within` in seconds."""
        matched = None if self.active_within is None else _DURATION.fullmatch(self.active_within)
        return None if matched is None else int(matched[1]) * _SECONDS[matched[2]]


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
