"""The rules of the settings, checked once, and what they change in a situation."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import Any, TypeVar

from eddyline.errors import InvalidInput, Misconfigured
from eddyline.model.events import format_timestamp
from eddyline.model.filters import POPULARITY_PATH, Filter, matcher, parse_filter, payload_paths
from eddyline.model.ranking import ScoreBoost
from eddyline.model.rules.conditions import Conditions, parse_attributes, parse_when
from eddyline.model.rules.promotions import ActivePromotion
from eddyline.model.rules.situation import Situation, local_time, time_zone
from eddyline.settings import TERMS, AttributeKind, PromotionSettings, RuleSettings, Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What the rules change: `weights` are factors by ranking term, 1 where a term is missing; `applied` are the names
    of the rules that apply."""

    weights: Mapping[str, float] = field(default_factory=dict)
    boosts: tuple[ScoreBoost, ...] = ()
    strategy: str | None = None
    applied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule whose conditions are parsed. `boost` is there unless it depends on the time."""

    settings: RuleSettings
    when: Conditions
    boost: ScoreBoost | None = None


@dataclass(frozen=True, slots=True)
class ScheduledPromotion:
    """A promotion whose conditions are parsed. Times in epoch seconds, infinite where there is no bound."""

    settings: PromotionSettings
    when: Conditions
    starts: float = -math.inf
    ends: float = math.inf


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All settings that depend on the situation, in the order of the file."""

    rules: tuple[Rule, ...] = ()
    promotions: tuple[ScheduledPromotion, ...] = ()
    segments: tuple[tuple[str, Conditions], ...] = ()
    timezone: tzinfo = UTC
    attributes: Mapping[str, AttributeKind] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Settings) -> RuleSet:
        """Check and parse the settings. Raises `Misconfigured` naming all that is wrong, each by its rule and path."""
        errors: list[str] = []

        def parsed(what: str, parse: Callable[[], T]) -> list[T]:
            try:
                return [parse()]
            except InvalidInput as error:
                errors.append(f"  {what}: {error}" if what else f"  {error}")
                return []

        attributes = settings.attributes
        zones = parsed("", lambda: time_zone(settings.timezone, "timezone"))
        segments = [
            (name, conditions)
            for name, given in settings.segments.items()
            for conditions in parsed(f"segment {name!r}", partial(_parse_segment, given))
        ]
        rules = [
            rule
            for given in settings.rules
            for rule in parsed(f"rule {given.name!r}", partial(_parse_rule, given, attributes, settings.strategies))
        ]
        promotions = [
            promotion
            for given in settings.promotions
            for promotion in parsed(f"promotion {given.name!r}", partial(_parse_promotion, given, attributes))
        ]
        if errors:
            raise Misconfigured("wrong settings:\n" + "\n".join(errors))
        return cls(tuple(rules), tuple(promotions), tuple(segments), zones[0], attributes)


def read_situation(
    rules: RuleSet, context: Mapping[str, Any], segment: str | None, attributes: Mapping[str, Any], now: float
) -> Situation:
    """Read the situation of a request at `now` (epoch seconds): its context (with the surface in it), and the segment
    and attributes that the person's profile has. The profile's segment comes before those that the settings define.

    Raises `InvalidInput` where `context.timezone` is none.
    """
    hour, weekday = local_time(context, now, rules.timezone)
    own = Situation(now, hour, weekday, context, () if segment is None else (segment,), attributes)
    defined = [name for name, conditions in rules.segments if conditions.hold(own.values)]
    return replace(own, segments=tuple(dict.fromkeys((*own.segments, *defined))))


def evaluate_rules(rules: RuleSet, situation: Situation) -> Adjustments:
    """Combine all rules whose conditions hold: factors multiply, and the last strategy decides."""
    applied = [rule for rule in rules.rules if rule.when.hold(situation.values)]
    weights: dict[str, float] = {}
    for rule in applied:
        for term, factor in rule.settings.weights.items():
            weights[term] = weights.get(term, 1.0) * factor
    boosts = (rule.boost or _parse_boost(rule.settings, rules.attributes, situation.now) for rule in applied)
    strategies = [rule.settings.strategy for rule in applied if rule.settings.strategy is not None]
    return Adjustments(
        weights,
        tuple(boost for boost in boosts if boost is not None),
        strategies[-1] if strategies else None,
        tuple(rule.settings.name for rule in applied),
    )


def active_promotions(rules: RuleSet, situation: Situation) -> list[ActivePromotion]:
    """Return the promotions that run now and whose conditions hold, in the order of the file."""
    return [
        ActivePromotion(
            promotion.settings.name,
            _parse_filter(promotion.settings.filter, rules.attributes, situation.now),
            promotion.settings.share,
            promotion.settings.positions,
        )
        for promotion in rules.promotions
        if promotion.starts <= situation.now < promotion.ends and promotion.when.hold(situation.values)
    ]


def _parse_rule(given: RuleSettings, attributes: Mapping[str, AttributeKind], strategies: Collection[str]) -> Rule:
    for term in given.weights:
        if term not in TERMS:
            raise InvalidInput(f"there is no such term; known are {', '.join(TERMS)}", f"weights.{term}")
    if given.strategy is not None and given.strategy not in strategies:
        raise InvalidInput(f"there is no strategy {given.strategy!r}; known are {', '.join(strategies)}", "strategy")
    when = parse_when(given.when)
    try:
        boost = _parse_boost(given, attributes, 0.0)
    except InvalidInput as error:
        raise InvalidInput(error.reason, f"boost.{error.field}") from None
    is_timeless = boost is not None and POPULARITY_PATH not in boost.fields
    return Rule(given, when, boost if is_timeless else None)


def _parse_boost(given: RuleSettings, attributes: Mapping[str, AttributeKind], now: float) -> ScoreBoost | None:
    if given.boost is None:
        return None
    filter = _parse_filter(given.boost.filter, attributes, now)
    return ScoreBoost(matcher(filter), given.boost.factor, payload_paths(filter))


def _parse_promotion(given: PromotionSettings, attributes: Mapping[str, AttributeKind]) -> ScheduledPromotion:
    _parse_filter(given.filter, attributes, 0.0)
    when = parse_when(given.when)
    if given.surface is not None:
        when &= parse_when({"surface": given.surface})
    starts = -math.inf if given.starts is None else given.starts.timestamp()
    ends = math.inf if given.ends is None else given.ends.timestamp()
    return ScheduledPromotion(given, when, starts, ends)


def _parse_segment(given: Mapping[str, Any]) -> Conditions:
    if not given:
        raise InvalidInput("is empty: give a condition on an attribute")
    return parse_attributes(given)


def _parse_filter(given: Mapping[str, Any], attributes: Mapping[str, AttributeKind], now: float) -> Filter:
    return parse_filter(_plain(given), attributes, now)


def _plain(value: Any) -> Any:
    """Write TOML's times as the filter grammar takes them; one without an offset stays so, and is refused then."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime) and value.tzinfo is not None:
        return format_timestamp(value.timestamp())
    return value.isoformat() if isinstance(value, date) else value
