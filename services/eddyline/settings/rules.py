"""Rules and promotions over the strategies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, model_validator

from eddyline.settings.section import Name, NotNegative, Section


class BoostSettings(Section):
    """Some items' scores multiplied."""

    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    factor: NotNegative
    """What their scores are multiplied by: above 1 raises, below 1 lowers."""


class RuleSettings(Section):
    """What changes in a situation. `model.rules` parses the conditions and filters, and refuses invalid ones."""

    name: Name
    """What it is called in answers and errors."""
    when: Mapping[str, Any] = {}
    """Conditions on the situation; without any it always applies."""
    weights: Mapping[str, NotNegative] = {}
    """Factor of a ranking term's weight, by the term's name."""
    boost: BoostSettings | None = None
    """Items whose scores are multiplied."""
    strategy: str | None = None
    """The strategy to rank by; of several rules that name one, the last decides."""

    @model_validator(mode="after")
    def _does_something(self) -> RuleSettings:
        if not self.weights and self.boost is None and self.strategy is None:
            raise ValueError("does nothing: give weights, boost or strategy")
        return self


class PromotionSettings(Section):
    """Items that get positions of their own for a while."""

    name: Name
    """What it is called in answers and errors."""
    filter: Annotated[Mapping[str, Any], Field(min_length=1)]
    """Which items, in the grammar of filters."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest share of a list's positions that they get, e.g. 0.2: every fifth."""
    positions: Annotated[tuple[Annotated[int, Field(ge=1, le=500)], ...], Field(max_length=100)] = ()
    """Or the exact positions that they get, counted from 1."""
    starts: AwareDatetime | None = None
    """Not before."""
    ends: AwareDatetime | None = None
    """Not from then on."""
    surface: str | None = None
    """Only on this surface."""
    when: Mapping[str, Any] = {}
    """Only in such situations; conditions as in rules."""

    @model_validator(mode="after")
    def _has_positions(self) -> PromotionSettings:
        if (self.share is None) == (not self.positions):
            raise ValueError("takes either share or positions")
        if len(set(self.positions)) < len(self.positions):
            raise ValueError("positions must differ")
        if self.starts is not None and self.ends is not None and self.ends <= self.starts:
            raise ValueError("ends must be after starts")
        return self
