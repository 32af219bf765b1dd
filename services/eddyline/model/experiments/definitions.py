"""The experiments of a file: what runs, with which variants, and where it must stop.

Everything is checked before anything is used: a wrong file is refused whole, each complaint naming its experiment,
variant and field.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeAlias

import orjson
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from eddyline.errors import Misconfigured
from eddyline.settings import Settings, StrategySettings, Term

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[Number, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Weight = Annotated[Number, Field(ge=0, le=1e6)]
Metric: TypeAlias = Literal["ctr", "clicks", "conversions", "revenue", "dwell"]
OVERRIDES = ("strategy", "weights", "diversity", "calibration", "explore", "rotation", "per_category")
"""What a variant can change of a list."""
TABLES = ("variant", "guardrail")
TOO_FEW = "needs at least two tables [[experiment.variant]], the first being the control"
SHARES = ("ctr", "empty")
"""Metrics of guardrails that lie in 0…1."""
SLOWEST_MS = 2000.0
"""No measured latency is longer: the last bound of insights' buckets. (A reader's image can't import them.)"""


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_by_alias=True, validate_by_name=True
    )


class Guardrail(_Table):
    """A bound of a variant: beyond it, it gets no more traffic."""

    metric: Literal["ctr", "latency_ms", "empty"]
    """Clicks per list place, the 95th percentile of the time to answer, or the share of lists without items."""
    min: Number | None = None
    """Lower bound of `ctr`."""
    max: Number | None = None
    """Upper bound of `latency_ms` or `empty`."""
    window: Literal["minute", "hour", "day"] = "hour"
    """Over the last such window that is over."""
    least: Count = 200
    """Lists that there must be before it is judged."""

    @property
    def bound(self) -> float:
        """The floor or the ceiling."""
        bound = self.min if self.max is None else self.max
        assert bound is not None
        return bound

    def is_broken_by(self, value: float) -> bool:
        """Whether a measured value is beyond the bound; one that isn't a number isn't."""
        return value < self.bound if self.max is None else value > self.bound

    @model_validator(mode="after")
    def _check_bound(self) -> Self:
        needed, odd = ("min", "max") if self.metric == "ctr" else ("max", "min")
        if getattr(self, needed) is None or getattr(self, odd) is not None:
            raise ValueError(f"{self.metric} takes {needed}, and no {odd}")
        if self.bound < 0 or (self.metric in SHARES and self.bound > 1):
            raise ValueError(f"{needed} must be {'in 0…1' if self.metric in SHARES else 'at least 0'}")
        if self.metric == "latency_ms" and self.bound >= SLOWEST_MS:
            raise ValueError(
                f"max must be under {SLOWEST_MS:g}: longer times aren't told apart, so it would never fire"
            )
        return self


class Variant(_Table):
    """A variant: what some of the people get. Without overrides, the usual list."""

    name: Name
    weight: Annotated[Number, Field(ge=1e-6, le=1e6)] = 1.0
    """Traffic, relative to the other variants."""
    strategy: str | None = None
    """Rank by this strategy of the settings."""
    weights: Mapping[Term, Weight] = {}
    """Weights of terms, instead of the strategy's (those of a visit's first list, too)."""
    diversity: Share | None = None
    calibration: Share | None = None
    explore: Share | None = None
    rotation: Weight | None = None
    per_category: Count | None = None
    """Most items of one category."""
    external: bool = Field(False, strict=True)
    """Another system makes these people's lists, and sends its own `impression` events."""

    def overrides(self) -> frozenset[str]:
        """The names of what the variant changes."""
        return frozenset(name for name in OVERRIDES if getattr(self, name) not in (None, {}))

    def applied(self, strategy: StrategySettings) -> StrategySettings:
        """Return the strategy as this variant has it (`strategy` is the one that it names, or the usual)."""
        changed: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("diversity", "calibration", "explore", "rotation")
            if getattr(self, name) is not None
        }
        if self.weights:
            start = {term: weight for term, weight in strategy.session_start.items() if term not in self.weights}
            changed |= dict(self.weights.items()) | {"session_start": start}
        return strategy.model_copy(update=changed) if changed else strategy

    @model_validator(mode="after")
    def _check_external(self) -> Self:
        if self.external and self.overrides():
            odd = ", ".join(sorted(self.overrides()))
            raise ValueError(f"is external, so another system makes its lists: leave {odd} out")
        return self


class Experiment(_Table):
    """Variants that compete for the same people."""

    name: Name
    variants: Annotated[tuple[Variant, ...], Field(max_length=20, alias="variant")]
    """The first is the control."""
    share: Share = 1.0
    """The share of people who are in it."""
    starts: AwareDatetime | None = None
    """Not before."""
    ends: AwareDatetime | None = None
    """Not from then on."""
    surface: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Only lists of this surface."""
    planned_people: Count | None = None
    """People it is planned for."""
    metric: Metric = "ctr"
    """What it is decided by."""
    guardrails: Annotated[tuple[Guardrail, ...], Field(alias="guardrail")] = ()

    @property
    def control(self) -> Variant:
        """The first variant."""
        return self.variants[0]

    @cached_property
    def revision(self) -> str:
        """8 hex digits that stand for what changes the statistics. Its guardrails and its end don't.

        Its metric and the people that are planned do: a test that is tuned again in sight of the data may say more than
        it should.
        """
        named = {"name", "share", "surface", "variants", "metric", "planned_people"}
        defined = self.model_dump(exclude_defaults=True, include=named)
        defined["starts"] = None if self.starts is None else self.starts.timestamp()
        plain = orjson.dumps(defined, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(plain, digest_size=4).hexdigest()

    def variant(self, name: str) -> Variant | None:
        """Return a variant by its name."""
        return next((one for one in self.variants if one.name == name), None)

    def runs(self, now: float) -> bool:
        """Whether the experiment has begun and isn't over, at `now` in epoch seconds."""
        began, over = self._span()
        return began <= now < over

    def fits(self, surface: str | None) -> bool:
        """Whether lists of this surface are in the experiment."""
        return self.surface is None or self.surface == surface

    def overrides(self) -> frozenset[str]:
        """The names of what any variant changes."""
        return frozenset[str]().union(*(one.overrides() for one in self.variants))

    def takes_all_of(self, other: Experiment) -> bool:
        """Whether nobody is left for an experiment that stands behind this one in the file."""
        (began, over), (theirs, until) = self._span(), other._span()
        covers = self.surface is None or self.surface == other.surface
        return self.share == 1 and covers and began <= theirs and until <= over

    def _span(self) -> tuple[float, float]:
        """When it runs, in epoch seconds."""
        return (
            -math.inf if self.starts is None else self.starts.timestamp(),
            math.inf if self.ends is None else self.ends.timestamp(),
        )

    @field_validator("variants")
    @classmethod
    def _check_variants(cls, value: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len(value) < 2:
            raise ValueError(TOO_FEW)
        return value

    @model_validator(mode="after")
    def _check_names_and_times(self) -> Self:
        if self.starts is not None and self.ends is not None and self.ends <= self.starts:
            raise ValueError("ends must be after starts")
        names = [one.name for one in self.variants]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"more than one variant is called {', '.join(twice)}: give each a name of its own")
        if all(one.external for one in self.variants):
            raise ValueError("every variant is external, so there is nothing of ours in it: leave one that isn't")
        judged = [(one.metric, one.window) for one in self.guardrails]
        if len(set(judged)) < len(judged):
            raise ValueError("two guardrails have the same metric and window: keep the stricter one")
        return self


@dataclass(frozen=True, slots=True)
class Experiments:
    """All experiments of a file, in its order. Names are unique."""

    experiments: tuple[Experiment, ...] = ()

    def __iter__(self) -> Iterator[Experiment]:
        return iter(self.experiments)

    def __len__(self) -> int:
        return len(self.experiments)

    def named(self, name: str) -> Experiment | None:
        """Return an experiment by its name."""
        return next((one for one in self.experiments if one.name == name), None)


NO_EXPERIMENTS = Experiments()


def parse_experiments(text: str, settings: Settings, source: str) -> Experiments:
    """Parse the text of a file; `source`: what it is called in errors.

    Raises `Misconfigured` naming all that is wrong, each by its experiment, variant and field.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{source} is not valid TOML: {error}") from None
    tables = given.pop("experiment", [])
    wrong = [f"{name}: there is no such key; experiments are tables [[experiment]]" for name in given]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        wrong.append("experiment: write each as a table of its own, under [[experiment]]")
        tables = []
    experiments = []
    for index, table in enumerate(tables):
        try:
            experiment = Experiment.model_validate(table, by_alias=True, by_name=False)
        except ValidationError as error:
            wrong += [f"{_where(index, table, each['loc'])}{_why(each)}" for each in error.errors(include_url=False)]
        else:
            wrong += _unknown(experiment, settings)
            experiments.append(experiment)
    wrong += _clashes(experiments)
    if wrong:
        raise Misconfigured(f"wrong experiments in {source}:\n" + "\n".join(f"  {line}" for line in wrong))
    return Experiments(tuple(experiments))


def _unknown(experiment: Experiment, settings: Settings) -> Iterator[str]:
    for variant in experiment.variants:
        if variant.strategy is not None and variant.strategy not in settings.strategies:
            known = ", ".join(settings.strategies)
            yield (
                f"experiment {experiment.name!r}, variant {variant.name!r}, strategy: "
                f"there is no strategy {variant.strategy!r}; known are {known}"
            )


def _clashes(experiments: list[Experiment]) -> Iterator[str]:
    names = [one.name for one in experiments]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"experiment {name!r}, name: more than one is called so; give each a name of its own"
    for index, later in enumerate(experiments):
        first = next((one for one in experiments[:index] if one.takes_all_of(later)), None)
        if first is not None and first.name != later.name:
            yield (
                f"experiment {later.name!r}: nobody is left for it, since experiment {first.name!r} before it takes "
                "everyone there, all the time: lower the share of that one, or put this one before it"
            )


def _where(index: int, table: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    """The place of a complaint in words, with the names that the file gives."""
    words, inner = [f"experiment {_named(table, index)}"], location
    if len(inner) > 1 and inner[0] in TABLES and isinstance(inner[1], int):
        kind, number = str(inner[0]), inner[1]
        words.append(f"{kind} {_named(table[kind][number], number)}")
        inner = inner[2:]
    if field := ".".join(str(part) for part in inner if part != "[key]"):
        words.append(field)
    return ", ".join(words) + ": "


def _named(table: Any, index: int) -> str:
    """A table's name, or its number, counted from 1."""
    name = (table.get("name") or table.get("metric")) if isinstance(table, Mapping) else None
    return repr(name) if isinstance(name, str) else f"number {index + 1}"


def _why(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such key"
    if error["type"] == "missing":
        return TOO_FEW if error["loc"][-1] == "variant" else "is needed"
    if error["type"] in ("tuple_type", "model_type"):
        return f"write each as a table of its own, under [[experiment.{error['loc'][0]}]]"
    if error["type"] == "string_pattern_mismatch":
        return f"must be 1 to 64 letters, digits, _ and - (it is {error['input']!r:.80})"
    if error["type"] == "timezone_aware":
        return "needs an offset, e.g. 2026-01-01T00:00:00Z"
    shown, message = error.get("input"), str(error["msg"]).removeprefix("Value error, ")
    return message + (f" (it is {shown!r:.80})" if isinstance(shown, str | int | float | bool) else "")
