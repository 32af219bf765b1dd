"""The rules of the settings, checked once, and what they make of a situation."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import Any, TypeVar

from eddyline.errors import InvalidInput, Misconfigured
from eddyline.model.events import format_timestamp
from eddyline.model.filters import POPULARITY_PATH, Filter, Matcher, matcher, parse_filter, payload_paths
from eddyline.model.rules.conditions import Conditions, parse_attributes, parse_when
from eddyline.model.rules.promotions import ActivePromotion, ScheduledPromotion
from eddyline.model.rules.situation import Situation, local_time, time_zone
from eddyline.settings import TERMS, AttributeKind, PromotionSettings, RuleSettings, Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuleBoost:
    """Scores of items that match are multiplied by `factor`; `matches` looks at the payload's `payload_paths`."""

    rule: str
    factor: float
    fields: tuple[str, ...]
    matches: Matcher = field(compare=False)


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What the rules change: `weights` are factors by ranking term, 1 where a term is missing; `applied` are the names
    of the rules that did."""

    weights: Mapping[str, float] = field(default_factory=dict)
    boosts: tuple[RuleBoost, ...] = ()
    strategy: str | None = None
    applied: tuple[str, ...] = ()

    def weight(self, term: str) -> float:
        """The factor of a term's weight."""
        return self.weights.get(term, 1.0)

    def factor(self, payload: Mapping[str, Any]) -> float:
        """What an item's score is multiplied by."""
        return math.prod(boost.factor for boost in self.boosts if boost.matches(payload))

    @property
    def fields(self) -> tuple[str, ...]:
        """The payload paths that the boosts look at."""
        return tuple(dict.fromkeys(path for boost in self.boosts for path in boost.fields))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose conditions are read. `boost` is there unless it depends on the time."""

    given: RuleSettings
    when: Conditions
    boost: RuleBoost | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All of the settings that depends on the situation, in the order in which it was set."""

    rules: tuple[Rule, ...] = ()
    campaigns: tuple[ScheduledPromotion, ...] = ()
    segments: tuple[tuple[str, Conditions], ...] = ()
    timezone: tzinfo = UTC
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> RuleSet:
        """Check and read the settings. Raises `Misconfigured` naming all that is wrong, each by its rule and path."""
        wrong: list[str] = []

        def read(what: str, make: Callable[[], T]) -> list[T]:
            try:
                return [make()]
            except InvalidInput as error:
                wrong.append(f"  {what}: {error}" if what else f"  {error}")
                return []

        attributes = settings.attributes
        zones = read("", lambda: time_zone(settings.timezone, "timezone"))
        segments = [
            (name, conditions)
            for name, given in settings.segments.items()
            for conditions in read(f"segment {name!r}", partial(_segment, given))
        ]
        rules = [
            rule
            for one in settings.rules
            for rule in read(f"rule {one.name!r}", partial(_rule, one, attributes, settings.strategies))
        ]
        campaigns = [
            campaign
            for one in settings.promotions
            for campaign in read(f"promotion {one.name!r}", partial(_campaign, one, attributes))
        ]
        if wrong:
            raise Misconfigured("wrong settings:\n" + "\n".join(wrong))
        return cls(tuple(rules), tuple(campaigns), tuple(segments), zones[0], attributes)


def read_situation(
    rules: RuleSet, context: Mapping[str, Any], segment: str | None, attributes: Mapping[str, Any], now: float
) -> Situation:
    """The situation of a request at `now` (epoch seconds): its context (with the surface in it), and the segment and
    attributes that the person's profile has. The profile's segment comes before those that the settings define.

    Raises `InvalidInput` where `context.timezone` is none.
    """
    hour, weekday = local_time(context, now, rules.timezone)
    told = Situation(now, hour, weekday, context, () if segment is None else (segment,), attributes)
    defined = [name for name, conditions in rules.segments if conditions.hold(told.values)]
    return Situation(now, hour, weekday, context, tuple(dict.fromkeys((*told.segments, *defined))), attributes)


def evaluate_rules(rules: RuleSet, situation: Situation) -> Adjustments:
    """What all rules whose conditions hold change together: factors multiply, and the last strategy decides."""
    holding = [rule for rule in rules.rules if rule.when.hold(situation.values)]
    weights: dict[str, float] = {}
    for rule in holding:
        for term, factor in rule.given.weights.items():
            weights[term] = weights.get(term, 1.0) * factor
    boosts = (rule.boost or _boost(rule.given, rules.attributes, situation.now) for rule in holding)
    strategies = [rule.given.strategy for rule in holding if rule.given.strategy is not None]
    return Adjustments(
        weights,
        tuple(boost for boost in boosts if boost is not None),
        strategies[-1] if strategies else None,
        tuple(rule.given.name for rule in holding),
    )


def active_promotions(rules: RuleSet, situation: Situation) -> list[ActivePromotion]:
    """The promotions that run now and whose conditions hold, in the order in which they were set."""
    running = []
    for campaign in rules.campaigns:
        if campaign.starts <= situation.now < campaign.ends and campaign.when.hold(situation.values):
            given = campaign.given
            filter = _filter(given.filter, rules.attributes, situation.now)
            running.append(
                ActivePromotion(
                    given.name, filter, given.share, given.positions, payload_paths(filter), matcher(filter)
                )
            )
    return running


def _rule(given: RuleSettings, attributes: Mapping[str, AttributeKind], strategies: Collection[str]) -> Rule:
    for term in given.weights:
        if term not in TERMS:
            raise InvalidInput(f"there is no such term; known are {', '.join(TERMS)}", f"weights.{term}")
    if given.strategy is not None and given.strategy not in strategies:
        raise InvalidInput(f"there is no strategy {given.strategy!r}; known are {', '.join(strategies)}", "strategy")
    when = parse_when(given.when)
    try:
        boost = _boost(given, attributes, 0.0)
    except InvalidInput as error:
        raise InvalidInput(error.reason, f"boost.{error.field}") from None
    is_timeless = boost is not None and POPULARITY_PATH not in boost.fields
    return Rule(given, when, boost if is_timeless else None)


def _boost(given: RuleSettings, attributes: Mapping[str, AttributeKind], now: float) -> RuleBoost | None:
    if given.boost is None:
        return None
    filter = _filter(given.boost.filter, attributes, now)
    return RuleBoost(given.name, given.boost.factor, payload_paths(filter), matcher(filter))


def _campaign(given: PromotionSettings, attributes: Mapping[str, AttributeKind]) -> ScheduledPromotion:
    _filter(given.filter, attributes, 0.0)
    when = parse_when(given.when)
    if given.surface is not None:
        when &= parse_when({"surface": given.surface})
    starts = -math.inf if given.starts is None else given.starts.timestamp()
    ends = math.inf if given.ends is None else given.ends.timestamp()
    return ScheduledPromotion(given, when, starts, ends)


def _segment(given: Mapping[str, Any]) -> Conditions:
    if not given:
        raise InvalidInput("is empty: give a condition on an attribute")
    return parse_attributes(given)


def _filter(given: Mapping[str, Any], attributes: Mapping[str, AttributeKind], now: float) -> Filter:
    return parse_filter(_plain(given), attributes, now)


def _plain(value: Any) -> Any:
    """TOML's times as the grammar's; it has no offset where none was written, and is refused then."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return format_timestamp(value.timestamp())
    return value.isoformat() if isinstance(value, date) else value
