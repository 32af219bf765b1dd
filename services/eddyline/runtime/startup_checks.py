"""What is checked before a process starts: its roles, and what they need of the settings. Nothing is opened for it.

What can only be known from Kafka, the store or a model is checked where it is opened, in `resources`.
"""

from __future__ import annotations

from collections.abc import Sequence

from eddyline.errors import Misconfigured
from eddyline.runtime.insights_role import is_installed
from eddyline.settings import Settings

ROLES = ("collector", "feeds", "embedder", "imager", "profiler", "affinity", "reader", "insights")
"""Roles that may share a process."""
OPTIONAL_ROLES = {"feeds", "imager", "insights"}
"""Roles that the others do without."""
API_ROLES = ("collector", "reader")
"""Roles that only answer requests, so that any number of processes may do it on one port."""
ENCODER_ROLE = "encoder"
"""The role that has a process of its own, with neither Kafka nor a store."""


def roles_of_up(settings: Settings) -> list[str]:
    """List the roles of `eddyline up`: all but those that are turned off, or not installed."""
    runs = {"insights": settings.insights.enabled and is_installed(), "imager": settings.images.enabled}
    return [role for role in ROLES if runs.get(role, True)]


def check_roles(settings: Settings, roles: Sequence[str]) -> tuple[str, ...]:
    """Return the roles in the order in which they are built. Raises `Misconfigured` where they can't run here."""
    if tuple(roles) == (ENCODER_ROLE,):
        if settings.encoder.kind == "http":
            raise Misconfigured(
                "encoder.kind is http: this process would only ask another one; set it to local or openai"
            )
        return (ENCODER_ROLE,)
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise Misconfigured(f"unknown role {', '.join(unknown) or '(none)'}: choose from {', '.join(ROLES)}")
    if "imager" in roles and not settings.images.enabled:
        raise Misconfigured("the imager has nothing to do: set images.enabled (EDDYLINE_IMAGES__ENABLED=true)")
    if set(roles) | OPTIONAL_ROLES != set(ROLES):
        _check_servers(settings, roles)
    return tuple(role for role in ROLES if role in roles)


def offers_playground(settings: Settings, roles: Sequence[str]) -> bool:
    """Return whether a process with these roles answers with the playground, which sends events and reads lists."""
    if not set(API_ROLES) <= set(roles):
        return False
    runs_everything = set(roles) | OPTIONAL_ROLES == set(ROLES)
    return runs_everything if settings.server.playground is None else settings.server.playground


def check_workers(settings: Settings, roles: Sequence[str]) -> tuple[str, ...]:
    """Return the roles of several workers on one port. Raises `Misconfigured` where they can't run as such."""
    checked = check_roles(settings, roles)
    if others := [role for role in checked if role not in API_ROLES]:
        raise Misconfigured(
            f"{', '.join(others)} can't run in workers: --workers is for {' and '.join(API_ROLES)}, which only answer "
            "requests; start more processes of the others instead, each with a --port of its own"
        )
    return checked


def _check_servers(settings: Settings, roles: Sequence[str]) -> None:
    """Raise where a process with some of the roles would need what only one with all of them can embed."""
    if set(roles) != {"reader"} and not settings.kafka.bootstrap_servers:
        embedded, variable = "embedded broker", "EDDYLINE_KAFKA__BOOTSTRAP_SERVERS"
    elif not settings.qdrant.url:
        embedded, variable = "embedded vector store", "EDDYLINE_QDRANT__URL"
    else:
        return
    raise Misconfigured(
        f"{', '.join(roles)} alone can't share the {embedded} with other processes: set {variable}, or run "
        "everything in one process with `eddyline up`"
    )
