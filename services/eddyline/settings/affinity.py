"""The size, decay and normalisation of affinity rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from eddyline.settings.section import Count, Positive, Section, Share


class AffinitySettings(Section):
    """What an item learns from what people chose before it: its row of the item-to-item matrix."""

    smoothing: Positive = 5.0
    """Added to an item's count before its row is divided by it, so that a rare item doesn't look certain."""
    popularity_damping: Share = 0.7
    """A row is divided by (count + smoothing) to this power: 0 favours popular items, 1 rare ones."""
    half_life_days: Positive = 3650.0
    """Half-life of a row's weights and count. They fade only when the row is written: an item that is seldom chosen
    has little else to go by than what it learnt years ago."""
    max_row_entries: Count = 512
    """Most entries of a row; one with more is pruned. The room above `pruned_row_entries` lets newcomers grow."""
    pruned_row_entries: Count = 256
    """Entries that pruning keeps, those with the largest weights."""
    backward_window: Annotated[int, Field(ge=0, le=50)] = 3
    """How many of the newest recent items learn what came after them; each costs a record of `activity`. 0 turns it
    off."""
    seed_neighbours: Annotated[int, Field(ge=0, le=100)] = 10
    """Nearest items by content, whose rows' mean a new item's row starts with; 0: it starts empty."""

    @model_validator(mode="after")
    def _prunes_to_less(self) -> AffinitySettings:
        if self.max_row_entries < self.pruned_row_entries:
            raise ValueError("max_row_entries must be at least pruned_row_entries, which a row is pruned to")
        return self
