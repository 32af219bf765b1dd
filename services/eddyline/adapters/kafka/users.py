"""The users of a secured cluster: who they are, what each may do, and making them so.

Kafka grants access by topic. What an application may not write at all is therefore what has a topic of its own;
`interactions` holds what people do and what services add, such as erasures, and whoever may write there is trusted not
to forge those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports these without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from eddyline.adapters.kafka.client_config import KafkaOptions
from eddyline.adapters.kafka.cluster_admin import REQUEST_SECONDS, ClusterAdmin
from eddyline.errors import Misconfigured, Unavailable
from eddyline.topics import AVAILABILITY, CONTENT, IMPRESSIONS, INTERACTIONS, TOPIC_SPECS

ITERATIONS = 8192
"""Of the hash that the cluster keeps of a password; Kafka takes 4,096 at least."""


class KafkaUser(StrEnum):
    """A user of the cluster; with `kafka.prefix` before its name."""

    ADMIN = "admin"
    """Creates and changes topics, deletes dead letters, sets what groups have committed: `init`, and operators."""
    SERVICES = "services"
    """Reads and writes all topics of ours, in any group of ours: what runs all the time."""
    APPS = "apps"
    """Writes what applications send, and reads nothing."""


WRITTEN_BY_APPS = (CONTENT, AVAILABILITY, INTERACTIONS, IMPRESSIONS)
"""Topics that applications write. Not `users`: a record without a value there erases a person, so that goes over HTTP,
with a key that has the scope `people`."""

_TOPIC_OPERATIONS: Mapping[KafkaUser, tuple[AclOperation, ...]] = {
    KafkaUser.ADMIN: (AclOperation.ALL,),
    KafkaUser.SERVICES: (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS),
    KafkaUser.APPS: (AclOperation.WRITE,),
}


def access_rules(prefix: str) -> Iterator[AclBinding]:
    """Yield what each user may do: in a cluster that has an authorizer, nothing else.

    With a prefix, groups are those that begin with it; without, a user of ours may join any.
    """
    for user, operations in _TOPIC_OPERATIONS.items():
        topics = WRITTEN_BY_APPS if user is KafkaUser.APPS else TOPIC_SPECS
        for topic in topics:
            for operation in operations:
                yield _allow(prefix, user, operation, ResourceType.TOPIC, prefix + topic)
    pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
    for user, operation in ((KafkaUser.ADMIN, AclOperation.ALL), (KafkaUser.SERVICES, AclOperation.READ)):
        yield _allow(prefix, user, operation, ResourceType.GROUP, prefix or "*", pattern)


def ensure_users(options: KafkaOptions, passwords: Mapping[KafkaUser, str]) -> None:
    """Create the users (SCRAM-SHA-512), or give them these passwords; grant what `access_rules` says, and take from
    them what it doesn't.

    It takes a client that may alter the cluster. Raises `Misconfigured` for one that may not, and `Unavailable`.
    """
    admin = ClusterAdmin(options)
    admin.metadata()
    wanted = set(access_rules(options.prefix))
    _await(
        admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(
                    options.prefix + user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS), text.encode()
                )
                for user, text in passwords.items()
            ],
            request_timeout=REQUEST_SECONDS,
        )
    )
    present = {rule for user in passwords for rule in _granted(admin, options.prefix, user)}
    if missing := [rule for rule in wanted - present if rule.principal in _principals(options.prefix, passwords)]:
        _await(admin.create_acls(missing, request_timeout=REQUEST_SECONDS))
    if stale := [_filter_of(rule) for rule in present - wanted]:
        _await(admin.delete_acls(stale, request_timeout=REQUEST_SECONDS))


def _allow(
    prefix: str,
    user: KafkaUser,
    operation: AclOperation,
    kind: ResourceType,
    name: str,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    return AclBinding(kind, name, pattern, f"User:{prefix}{user}", "*", operation, AclPermissionType.ALLOW)


def _principals(prefix: str, users: Mapping[KafkaUser, str]) -> set[str]:
    return {f"User:{prefix}{user}" for user in users}


def _granted(admin: AdminClient, prefix: str, user: KafkaUser) -> list[AclBinding]:
    anything: Any = None  # which the library's types don't know
    everything = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        f"User:{prefix}{user}",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    found: list[AclBinding] = _result(admin.describe_acls(everything, request_timeout=REQUEST_SECONDS))
    return found


def _filter_of(rule: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        rule.restype,
        rule.name,
        rule.resource_pattern_type,
        rule.principal,
        rule.host,
        rule.operation,
        rule.permission_type,
    )


def _await(request: Mapping[Any, Future[Any]]) -> None:
    for future in request.values():
        _result(future)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result(timeout=REQUEST_SECONDS + 1)
    except KafkaException as error:
        if "AUTHORIZATION" in error.args[0].name() or error.args[0].name() == "SECURITY_DISABLED":
            raise Misconfigured(
                f"Kafka's users can't be changed: {error.args[0].str()}; it takes an authorizer, and a client that may "
                "alter the cluster"
            ) from error
        raise Unavailable(f"Kafka's users can't be changed now: {error.args[0].str()}") from error
    except TimeoutError as error:
        raise Unavailable("Kafka's users can't be changed now: Kafka doesn't answer") from error
