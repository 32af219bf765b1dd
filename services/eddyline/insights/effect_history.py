"""How the effects of experiments have gone since this process began: readings at even times, the further apart the
longer it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eddyline.insights.statistics import Effect

FIRST_SECONDS = 300.0
"""Between two readings, until there are `KEPT`."""
KEPT = 96
"""Readings kept of an experiment. Once there are so many, every other one goes, and from then on they come half as
often."""

Reading = tuple[float, Mapping[str, Effect]]
"""When (epoch seconds), and the effect of each variant but the control."""


@dataclass(slots=True)
class _Course:
    revision: str
    readings: list[Reading] = field(default_factory=list)
    seconds: float = FIRST_SECONDS


class EffectHistory:
    """The courses of experiments, by name. One thread notes; any reads."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def is_due(self, name: str, revision: str, at: float) -> bool:
        """Whether it is time for a reading: also when an experiment is new, or another than before."""
        readings = self.readings(name, revision)
        return not readings or at >= readings[-1][0] + self._courses[name].seconds

    def note(self, name: str, revision: str, at: float, effects: Mapping[str, Effect]) -> None:
        """Keep a reading."""
        course = self._courses.get(name)
        if course is None or course.revision != revision:
            course = self._courses[name] = _Course(revision)
        readings = [*course.readings, (at, effects)]
        if len(readings) > KEPT:
            readings, course.seconds = readings[::2], 2 * course.seconds
        course.readings = readings  # replaced, never changed: others may be reading

    def keep_only(self, names: set[str]) -> None:
        """Forget the experiments that are no more."""
        for name in self._courses.keys() - names:
            del self._courses[name]

    def readings(self, name: str, revision: str) -> list[Reading]:
        """Return what was kept of this revision, oldest first."""
        course = self._courses.get(name)
        return [] if course is None or course.revision != revision else course.readings
