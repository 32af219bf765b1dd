"""How many names insights measures by: they come from outside, and each combination is a row in every window.

What exceeds the bounds counts as `other`. Names are known for as long as a row has them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from eddyline.insights.rows import CellKey, VariantKey, parse_row_key
from eddyline.model.events import ImpressionReport, ServedItem, ServedList

MAX_COMBINATIONS = 1000
"""Of surface, strategy, experiment and variant; and of an experiment, its revision and a variant."""
MAX_CATEGORIES = 1000
OTHER = "other"

ListEvent = TypeVar("ListEvent", bound=ServedList | ImpressionReport)


class KnownNames:
    """The names of one partition's rows, and of what was admitted since."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        """`keys`: of the rows that there are."""
        self._lists: set[tuple[str, ...]] = set()
        self._variants: set[tuple[str, ...]] = set()
        self._categories: set[str] = set()
        for key in keys:
            self._note(key)

    def bound(self, event: ListEvent) -> ListEvent:
        """Return the event with names that are known, or new within the bounds; `other` for what exceeds them."""
        update: dict[str, object] = {}
        named = [name for name in ("surface", "strategy", "experiment", "variant") if getattr(event, name) is not None]
        combination = tuple(getattr(event, name) or "" for name in ("surface", "strategy", "experiment", "variant"))
        revision = (event.experiment or "", event.revision or "", event.variant or "")
        if not _admit(self._lists, combination, MAX_COMBINATIONS):
            update |= dict.fromkeys(named, OTHER)
            revision = (OTHER, event.revision or "", OTHER)
        if event.experiment is not None and not _admit(self._variants, revision, MAX_COMBINATIONS):
            update["revision"] = OTHER
        items = event.items or []
        unknown = {
            item.category
            for item in items
            if item.category is not None and not _admit(self._categories, item.category, MAX_CATEGORIES)
        }
        if unknown:
            update["items"] = [_as_other(item) if item.category in unknown else item for item in items]
        return cast(ListEvent, event.model_copy(update=update)) if update else event

    def _note(self, data: bytes) -> None:
        try:
            key = parse_row_key(data)
        except Exception:  # anybody who may write to a changelog can put rubbish there
            return
        if isinstance(key, CellKey):
            self._lists.add(key.dimensions[:-1])
            self._categories.add(key.dimensions.category)
        elif isinstance(key, VariantKey):
            self._variants.add(key)


def _admit(known: set[tuple[str, ...]] | set[str], name: tuple[str, ...] | str, limit: int) -> bool:
    if name in known:
        return True
    if len(known) >= limit:
        return False
    known.add(name)  # type: ignore[arg-type]
    return True


def _as_other(item: ServedItem) -> ServedItem:
    return item.model_copy(update={"category": OTHER})
