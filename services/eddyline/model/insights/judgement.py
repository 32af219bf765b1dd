"""Whether a variant is beyond a bound that its experiment gives. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal, TypeAlias

from eddyline.model.experiments.definitions import Guardrail
from eddyline.model.insights.kpis import percentile, ratio
from eddyline.model.insights.rows import SECONDS, Cell, CellKey, PartitionProgress

State: TypeAlias = Literal["ok", "broken", "not enough yet"]
MOST_WINDOWS: Final = 24
"""How many windows back a guardrail looks for enough lists."""
SHARE = 0.95
"""`latency_ms` is this quantile of the times to answer."""
WORDS: Final[Mapping[str, str]] = {
    "ctr": "click-through rate",
    "latency_ms": "95th percentile of the milliseconds to answer",
    "empty": "share of empty lists",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a guardrail. `value` is None while there is too little; `lists` is how many were judged, of the
    windows in [start, end) (epoch seconds)."""

    state: State
    value: float | None = None
    lists: int = 0
    start: int | None = None
    end: int | None = None


def judge_guardrail(
    guardrail: Guardrail, cells: Iterable[tuple[CellKey, Cell]], since: float, until: float
) -> Judgement:
    """Judge a variant by its cells of the guardrail's window size, which come by window, the newest first. They are
    taken only as far back as is needed.

    Judged is the last window that is over by `until`; where it has fewer lists than needed, together with as many
    before it takes, at most `MOST_WINDOWS` back, and none that begins before `since` (both epoch seconds).
    """
    seconds = SECONDS[guardrail.window]
    newest = int(until // seconds) * seconds - seconds
    oldest = max(since, newest - (MOST_WINDOWS - 1) * seconds)
    mine = ((key.start, cell) for key, cell in cells if key.size == guardrail.window and oldest <= key.start <= newest)
    total, lists = Cell(), 0
    for start, window in groupby(mine, key=lambda one: one[0]):
        for _, cell in window:
            total.merge(cell)
        lists = _lists(guardrail, total)
        if lists >= guardrail.least:
            return _judged(guardrail, total, lists, start, newest + seconds)
    return Judgement("not enough yet", None, lists)


def judgeable_until(metric: str, read: float, delay: float) -> float:
    """Up to when windows can be judged by a metric, in epoch seconds. `read`: until when everything is read that was
    sent; `delay`: for so many seconds, clicks on what was shown still come in."""
    return read - delay if metric == "ctr" else read


def fully_read_until(progress: Iterable[PartitionProgress]) -> float | None:
    """Until when every partition is read, in epoch seconds, as far as they say; None where none does."""
    return min((one.read for one in progress if one.read is not None), default=None)


def describe_breach(guardrail: Guardrail, variant: str, judgement: Judgement) -> str:
    """A broken one in a sentence."""
    side, bound = ("over", guardrail.max) if guardrail.min is None else ("under", guardrail.min)
    return (
        f"{variant}: its {WORDS[guardrail.metric]} was {judgement.value:.4g}, {side} {bound:g}, "
        f"in {judgement.lists:,} lists"
    )


def _lists(guardrail: Guardrail, cell: Cell) -> int:
    return cell.took.total() if guardrail.metric == "latency_ms" else cell.counts["requests"]


def _judged(guardrail: Guardrail, cell: Cell, lists: int, start: int, end: int) -> Judgement:
    value = _value(guardrail, cell)
    if value is None:
        return Judgement("not enough yet", None, lists, start, end)
    return Judgement("broken" if guardrail.is_broken_by(value) else "ok", value, lists, start, end)


def _value(guardrail: Guardrail, cell: Cell) -> float | None:
    counts = cell.counts
    match guardrail.metric:
        case "ctr":
            return ratio(counts["clicks"], counts["impressions"])
        case "empty":
            return ratio(counts["empty"], counts["requests"])
        case "latency_ms":
            return percentile(cell.took, SHARE)
