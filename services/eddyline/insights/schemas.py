"""The models behind the API of insights: what it is asked, and its reports."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from eddyline.insights.kpis import GROUPS, Group, Kpis
from eddyline.insights.rows import Dimensions, Size
from eddyline.insights.statistics import Effect, SampleRatio
from eddyline.model.events import DurationText, TimeText

Names = Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=50)]


class KpiQuery(BaseModel):
    """Parameters of the measures."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    from_: Annotated[TimeText | None, Field(alias="from")] = None
    """Lists served from then on: RFC 3339 with an offset, or an epoch number."""
    to: TimeText | None = None
    """Lists served before; now, where missing; at most a day from now."""
    last: DurationText | None = None
    """Instead of `from`: so many minutes, hours or days until then, e.g. 30m, 24h, 7d. Without either: 24h."""
    size: Size | None = None
    """Which windows are added up; without it, the smallest that suits the time. Times are extended to whole windows."""
    by: str = ""
    """What to group by: any of surface, strategy, experiment, variant, category and time, comma-separated."""
    surface: Names = []
    """Only lists of this surface; may be repeated; empty (`surface=`): those without."""
    strategy: Names = []
    """Only lists ranked by this strategy; may be repeated."""
    experiment: Names = []
    """Only lists of this experiment; may be repeated; empty (`experiment=`): those of none."""
    variant: Names = []
    """Only lists of this variant; may be repeated."""
    category: Names = []
    """Only items of this category; may be repeated."""

    @field_validator("by")
    @classmethod
    def _check_groups(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        unknown = sorted(set(names) - set(GROUPS))
        if unknown:
            raise ValueError(f"can't group by {', '.join(unknown)[:80]}: choose from {', '.join(GROUPS)}")
        return value

    @model_validator(mode="after")
    def _check_span(self) -> Self:
        if self.last is not None and self.from_ is not None:
            raise ValueError("give from or last, not both")
        return self

    @property
    def groups(self) -> tuple[Group, ...]:
        """What to group by, each once."""
        named = [name.strip() for name in self.by.split(",")]
        return tuple(dict.fromkeys(group for name in named for group in GROUPS if group == name))

    @property
    def where(self) -> dict[str, frozenset[str]]:
        """The selected values, by dimension."""
        return {name: frozenset(getattr(self, name)) for name in Dimensions._fields if getattr(self, name)}


class KpiRow(Kpis):
    """The measures of a group; its name is in those of the first six fields that it was grouped by."""

    surface: str | None = None
    strategy: str | None = None
    experiment: str | None = None
    variant: str | None = None
    category: str | None = None
    time: str | None = None
    """When the window begins."""
    is_open: bool
    """The last window isn't over: everything still rises."""
    is_settled: bool
    """The last window has been over for so long that no click, dwell or conversion can be added any more."""


class MeasuringProgress(BaseModel):
    """How far the log is measured, and what of it isn't: records, since the beginning."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    partitions: int
    """Partitions of which anything is measured."""
    read_until: str | None
    """Until when everything that was sent is in the measures."""
    records: int
    late: int
    """Reached the log later than `insights.lateness_minutes` after they happened."""
    unreadable: int
    """Were no impressions; they are dead letters."""
    failed: int
    """Could not be measured; they are dead letters."""
    missed: int
    """Had been dropped by the log when they were to be read."""
    cut: int
    """Exceeded what is kept of one person."""
    rows_unreadable: int
    """Rows of the table that this process couldn't read."""


class _MeasuredResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    as_of: str | None
    """When the measures were last written; null: never."""
    complete: bool
    """False while this process is still reading the rows that there were when it started."""


class KpiReport(_MeasuredResponse):
    """Measures."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)

    from_: Annotated[str, Field(alias="from")]
    to: str
    """Whole windows: the start of the first, and the end of the last."""
    size: Size
    by: list[Group]
    sketch_error: float
    """Relative standard error of `people`, `items` and `coverage`. (Up to some hundred, they are nearly exact.)"""
    total: KpiRow
    rows: list[KpiRow]
    """One for each group; empty without `by`."""
    progress: MeasuringProgress


RunState: TypeAlias = Literal["running", "planned", "ended", "not defined"]
"""`not defined`: known from lists of another system alone, or no longer in the experiments file."""


class ExperimentSummary(BaseModel):
    """An experiment."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    revision: str
    """The definition's; of several, that whose lists are the newest."""
    state: RunState
    surface: str | None
    """The only one that it is on."""
    share: float | None
    """The share of people who are in it."""
    starts: str | None
    ends: str | None
    metric: str
    """What it is decided by."""
    planned_people: int | None
    variants: list[str]
    """The first is the control."""
    stopped: list[str]
    """Variants that a guardrail has stopped."""
    people: int
    """People who were served a list of it, of this revision."""


class ExperimentList(_MeasuredResponse):
    """All experiments."""

    experiments: list[ExperimentSummary]


class GuardrailReport(BaseModel):
    """A guardrail of a variant."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    metric: str
    min: float | None
    max: float | None
    window: Size
    state: Literal["ok", "broken", "not enough yet", "stopped"]
    """`broken`: about to be stopped. `stopped`: by this guardrail."""
    value: float | None
    """As it was measured last; where it is stopped, as it was then."""
    lists: int
    """Lists that were judged."""
    least: int
    """Lists that must be there before it is judged."""
    end: str | None
    """The end of the last window that was judged."""
    reason: str | None
    """Where it is stopped: why, in a sentence."""


class VariantReport(BaseModel):
    """A variant, and what came of it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    is_control: bool
    state: Literal["running", "stopped"]
    external: bool
    """Another system makes its lists."""
    weight: float | None
    people: int
    totals: dict[str, float]
    """Sums over its people: requests, impressions, clicks, conversions, revenue, dwell_ms, dwells."""
    values: dict[str, float | None]
    """The metrics: ctr = clicks / impressions, dwell = dwell_ms / dwells; clicks, conversions, revenue: a person."""
    effects: dict[str, Effect] | None
    """By metric, against the control; null for the control itself."""
    sentence: str | None
    """What the metric that decides says so far, in words."""
    guardrails: list[GuardrailReport]


class SampleRatioReport(SampleRatio):
    """Whether people are split as the weights say. If they aren't, nothing else here can be trusted."""

    left_out: list[str]
    """Variants whose people can't be compared: external ones, and those that are, or once were, stopped."""


class EarlierRevision(BaseModel):
    """An earlier definition, or lists that named none."""

    revision: str
    people: int
    since: str | None
    until: str | None


class EffectReading(BaseModel):
    """The effects at an earlier moment, of the metric that decides."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    at: str
    effects: dict[str, Effect]
    """By variant, against the control."""


class ExperimentReport(ExperimentSummary, _MeasuredResponse):
    """What came of an experiment."""

    since: str | None
    """The first list that was counted."""
    until: str | None
    """The last one."""
    days_left: float | None
    """Until the planned number of people at the present rate, or the end; null where neither is set."""
    sample_ratio: SampleRatioReport | None
    """Null where no two variants can be compared."""
    reports: list[VariantReport]
    earlier: list[EarlierRevision]
    """Other revisions, the newest first. Their people aren't in the above."""
    notes: list[str]
    """What should be known to read this."""
    history: list[EffectReading]
    """How it went while this process looked, oldest first: every five minutes in the beginning, later less often."""
