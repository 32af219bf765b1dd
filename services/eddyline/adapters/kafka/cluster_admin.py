"""An admin client that finds out why it gets no answer."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from eddyline.adapters.kafka.client_config import KafkaOptions, admin_config, refused_login
from eddyline.errors import Misconfigured, Unavailable

REQUEST_SECONDS = 10.0
_ATTEMPT_SECONDS = 1.0


class ClusterAdmin(AdminClient):
    """librdkafka's admin client. A wrong password and a wrong port look the same to its requests, which time out: it
    tells them apart only by what it says of its connections, beside them."""

    def __init__(self, options: KafkaOptions) -> None:
        """Raises `Misconfigured` for settings that librdkafka refuses."""
        self._options = options
        self._refusal: KafkaError | None = None
        self._trouble: KafkaError | None = None
        # What the library would log of its attempts, several lines a second, is in the error that is raised.
        config: dict[str, Any] = {"log_level": 0, **admin_config(options), "error_cb": self._note}
        try:
            super().__init__(config)
        except KafkaException as error:
            raise Misconfigured(f"Kafka's client settings: {error.args[0].str()}") from error

    def metadata(self) -> Any:
        """Return what the cluster says of itself and of all topics that this client may see.

        Raises `Misconfigured` where it isn't let in, and `Unavailable` where nobody answers.
        """
        deadline = time.monotonic() + REQUEST_SECONDS
        while True:
            try:
                return self.list_topics(timeout=_ATTEMPT_SECONDS)
            except KafkaException as error:
                self.poll(0)  # only so is `_note` called
                if self._refusal is not None:
                    raise Misconfigured(refused_login(self._refusal, self._options)) from error
                if time.monotonic() > deadline:
                    raise Unavailable(f"Kafka doesn't answer: {self._reason(error.args[0])}") from error

    def _reason(self, error: KafkaError) -> str:
        if self._trouble is not None or "security.protocol" in self._options.client:
            return (self._trouble or error).str()
        return f"{error.str()}; where it asks for TLS or a user, kafka.client has to say so (EDDYLINE_KAFKA__CLIENT)"

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTHENTICATION:
            self._refusal = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # which says less than what came before it
            self._trouble = error
