r"""Assignment: which variant a person gets.

Two numbers in [0, 1) are drawn for each person and experiment, by a stable hash of (experiment, purpose, key): the
first, under the share, decides whether they are in; the second, by the variants' weights, which variant they get. So
whoever is in stays in, in the same variant, when the share is raised, and experiments are independent of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from typing import TypeAlias

from eddyline.errors import InvalidInput
from eddyline.model.experiments.definitions import Experiment, Experiments, Variant

Stopped: TypeAlias = Set[tuple[str, str, str]]
"""(experiment, revision, variant) that get no traffic."""
NONE_STOPPED: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The variant that a list is of. `forced`: by a header, for testing; it isn't measured. `external`: another system
    makes this variant's lists. `unit`: the key that was hashed; None where none was."""

    experiment: str
    variant: str
    revision: str
    forced: bool = False
    external: bool = False
    unit: str | None = None


def assign(
    experiments: Experiments, key: str, surface: str | None, now: float, stopped: Stopped = NONE_STOPPED
) -> Assignment | None:
    """Assign by the first experiment that runs, fits the surface and takes the person in; None where there is none, or
    where their variant is stopped. Whoever has the same `key` gets the same; `now` in epoch seconds."""
    for experiment in experiments:
        if experiment.runs(now) and experiment.fits(surface) and is_enrolled(experiment, key):
            variant = draw_variant(experiment, key)
            if (experiment.name, experiment.revision, variant.name) in stopped:
                return None
            return Assignment(experiment.name, variant.name, experiment.revision, external=variant.external, unit=key)
    return None


def force_variant(experiments: Experiments, path: str) -> Assignment:
    """Assign the variant that `<experiment>/<variant>` names, whether it runs or not. Raises `InvalidInput` naming what
    there is."""
    name, _, variant_name = path.partition("/")
    experiment = experiments.named(name)
    variant = None if experiment is None else experiment.variant(variant_name)
    if experiment is None or variant is None:
        known = ", ".join(f"{one.name}/{each.name}" for one in experiments for each in one.variants)
        raise InvalidInput(f"there is no variant {path!r:.140}; " + (f"known are {known}" if known else "none is set"))
    return Assignment(experiment.name, variant.name, experiment.revision, forced=True, external=variant.external)


def is_enrolled(experiment: Experiment, key: str) -> bool:
    """Return whether a person is among the share of the experiment."""
    return _draw(experiment.name, "share", key) < experiment.share


def draw_variant(experiment: Experiment, key: str) -> Variant:
    """Return the variant that a person gets, if they are in."""
    left = _draw(experiment.name, "variant", key) * sum(one.weight for one in experiment.variants)
    for variant in experiment.variants[:-1]:
        left -= variant.weight
        if left < 0:
            return variant
    return experiment.variants[-1]


def _draw(name: str, purpose: str, key: str) -> float:
    """Hash to a number in [0, 1), of 53 bits. Neither names nor ids have a NUL in them."""
    digest = hashlib.blake2b("\0".join((name, purpose, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53
