"""`eddyline kafka-users`: the users of a secured Kafka cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from eddyline.cli.shared_options import ConfigFile, load_settings
from eddyline.errors import Misconfigured

if TYPE_CHECKING:
    from eddyline.adapters.kafka import KafkaUser


def kafka_users(config: ConfigFile = None) -> None:
    """Create Kafka's users `admin`, `services` and `apps`, or change their passwords, and grant what each may do.

    The passwords come from the environment: KAFKA_ADMIN_PASSWORD, KAFKA_SERVICES_PASSWORD, KAFKA_APPS_PASSWORD. It
    takes a cluster with an authorizer, and a client that may alter it.
    """
    from eddyline.adapters.kafka import access_rules, ensure_users
    from eddyline.runtime.connections import kafka_options

    options = kafka_options(load_settings(config))
    if not options.bootstrap_servers:
        raise Misconfigured("there is no cluster: set EDDYLINE_KAFKA__BOOTSTRAP_SERVERS")
    passwords = _passwords()
    ensure_users(options, passwords)
    for user in passwords:
        principal = f"User:{options.prefix}{user}"
        rules = sum(rule.principal == principal for rule in access_rules(options.prefix))
        print(f"user {options.prefix}{user}: has its password, and {rules} rules of what it may do")


def _passwords() -> dict[KafkaUser, str]:
    """Read the passwords. Raises `Misconfigured` naming those that are missing."""
    from eddyline.adapters.kafka import KafkaUser

    variables = {user: f"KAFKA_{user.name}_PASSWORD" for user in KafkaUser}
    if missing := [variable for variable in variables.values() if not os.environ.get(variable)]:
        raise Misconfigured(f"{', '.join(missing)}: set a password for each user")
    return {user: os.environ[variable] for user, variable in variables.items()}
