"""Conversions that both stores share: checked vectors, bounds, selections, batches."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from eddyline.adapters.vectors.contract import Dense, Fields, Nearest, OrderBy, Query, Scored, Sparse
from eddyline.errors import EddylineError, GenerationChanged, NotStorable
from eddyline.model.filters import Match, Range

Item = TypeVar("Item")
_WRONG_SIZE = "Vector dimension error"
"""In Qdrant's message."""
_WORD = re.compile(r"[A-Za-z0-9_-]+")


def dense_array(name: str, vector: Any) -> Dense:
    """Return the vector as contiguous float32. Raises `NotStorable` where a number isn't finite."""
    array: Dense = np.ascontiguousarray(vector, dtype=np.float32)
    if not math.isfinite(float(np.dot(array, array))):
        raise NotStorable(f"vector `{name}` has a number that is not finite, or overflows: {array[:4]} …")
    return array


def sparse_arrays(name: str, vector: Sparse) -> Sparse:
    """Return the vector as contiguous uint32 and float32. Raises `NotStorable` where a value isn't finite."""
    indices = np.ascontiguousarray(vector.indices, dtype=np.uint32)
    return Sparse(indices, dense_array(name, vector.values))


def selected(names: Fields | None) -> bool | list[str]:
    """Convert a selection of payload keys or vectors to Qdrant's: None for all, an empty tuple for none."""
    return True if names is None else list(names) or False


def _searches_nothing(query: Query) -> bool:
    """Whether the result is empty whatever is stored. Some stores refuse such a query, so it isn't sent."""
    if query.limit <= 0:
        return True
    by = query.by
    return isinstance(by, Nearest) and isinstance(by.vector, Sparse) and by.vector.indices.size == 0


def in_one_batch(
    queries: Sequence[Query],
    search: Callable[[list[Query]], Iterable[Iterable[Any]]],
    read: Callable[[Any, Nearest | OrderBy], Scored],
) -> list[list[Scored]]:
    """Run those queries that can find anything; return the results, converted by `read`, in the order of all.

    Raises `GenerationChanged` where a query's vector isn't as long as the stored ones: it was read before they went
    live.
    """
    sent = [query for query in queries if not _searches_nothing(query)]
    try:
        found = iter(search(sent) if sent else ())
    except EddylineError as error:
        if _WRONG_SIZE not in str(error):
            raise
        raise GenerationChanged(f"another generation went live in between: {error}") from error
    return [[] if _searches_nothing(query) else [read(each, query.by) for each in next(found)] for query in queries]


def of_one_type(match: Match) -> Iterator[list[str] | list[int] | bool]:
    """Group the condition's values by what Qdrant can match at once: strings, integers, and each boolean."""
    strings = [value for value in match.values if isinstance(value, str)]
    integers = [value for value in match.values if isinstance(value, int) and not isinstance(value, bool)]
    if strings:
        yield strings
    if integers:
        yield integers
    yield from sorted({value for value in match.values if isinstance(value, bool)})


def bounds(range: Range) -> dict[str, float]:
    """Reduce the range to one lower and one upper bound: of `gt` and `gte` together Qdrant's indexes heed one alone.

    An infinite bound that excludes nothing is left out; any other that isn't finite raises `EddylineError`.
    """
    lower = ("gt", range.gt) if _stricter(range.gt, range.gte, 1) else ("gte", range.gte)
    upper = ("lt", range.lt) if _stricter(range.lt, range.lte, -1) else ("lte", range.lte)
    open_ends = {("gt", -math.inf), ("gte", -math.inf), ("lt", math.inf), ("lte", math.inf)}
    kept = {name: bound for name, bound in (lower, upper) if bound is not None and (name, bound) not in open_ends}
    if not all(map(math.isfinite, kept.values())):
        raise EddylineError(f"range on `{range.field}`: a bound isn't a finite number: {kept}")
    return kept


def _stricter(exclusive: float | None, inclusive: float | None, sign: int) -> bool:
    if exclusive is None or inclusive is None:
        return exclusive is not None
    return sign * exclusive >= sign * inclusive


def json_path(key: str) -> str:
    """Return the path that Qdrant deletes a top-level payload key by: quoted unless it is a plain word."""
    return key if _WORD.fullmatch(key) else f'"{key}"'
