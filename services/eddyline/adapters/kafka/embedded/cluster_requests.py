"""Requests for the broker itself and its topics.

All of it runs on the broker's event loop.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError

from eddyline.adapters.kafka.embedded.api import NO_ERROR, NODE, STORAGE_ERROR, UNKNOWN_TOPIC, Api, Request, written
from eddyline.adapters.kafka.embedded.journal import Journal
from eddyline.adapters.kafka.embedded.wire import ResponseWriter

_NO_EPOCH = -1
_NOT_ASKED = -(2**31)
"""What a client may do, where it doesn't ask."""
_NO_ID = uuid.UUID(int=0)


class ClusterRequests:
    """Answers from the journal. `address`: where clients find the broker; `apis`: all that it answers."""

    def __init__(
        self, journal: Journal, address: Callable[[], tuple[str, int]], apis: Callable[[], Mapping[int, Api]]
    ) -> None:
        self._journal, self._address, self._apis = journal, address, apis
        self.apis = (
            Api(3, 12, self._metadata, flexible_from=9),
            Api(10, 2, self._find_coordinator),
            Api(18, 3, self._api_versions, flexible_from=3),
            Api(19, 4, self._create_topics),
            Api(32, 1, self._describe_configs),
        )

    async def _api_versions(self, request: Request) -> ResponseWriter:
        response = request.response
        response.int16(NO_ERROR)

        def write(api: Api) -> None:
            response.int16(api.key)
            response.int16(0)
            response.int16(api.max_version)
            response.tagged_fields()

        response.array(self._apis().values(), write)
        if request.version >= 1:
            response.int32(0)
        response.tagged_fields()
        return response

    async def _metadata(self, request: Request) -> ResponseWriter:
        version, body = request.version, request.body
        body.flexible = version >= 9
        names = body.nullable_array(lambda: self._requested_topic(request))
        if names is None or (version == 0 and not names):
            names = list(self._journal.topics)
        return self._metadata_response(version, request.response, names)

    def _requested_topic(self, request: Request) -> str:
        body = request.body
        identity = body.uuid() if request.version >= 10 else _NO_ID
        name = body.nullable_string()
        body.tagged_fields()
        return name or next((one.name for one in self._journal.topics.values() if one.id == identity), "")

    def _metadata_response(self, version: int, response: ResponseWriter, names: list[str]) -> ResponseWriter:
        host, port = self._address()

        def write_broker(_: None) -> None:
            response.int32(NODE)
            response.string(host)
            response.int32(port)
            if version >= 1:
                response.string(None)
            response.tagged_fields()

        def write_partition(number: int) -> None:
            response.int16(NO_ERROR)
            response.int32(number)
            response.int32(NODE)
            if version >= 7:
                response.int32(_NO_EPOCH)
            for _ in ("replicas", "in sync"):
                response.array([NODE], response.int32)
            if version >= 5:
                response.array((), response.int32)
            response.tagged_fields()

        def write_topic(name: str) -> None:
            topic = self._journal.topics.get(name)
            response.int16(NO_ERROR if topic is not None else UNKNOWN_TOPIC)
            response.string(name)
            if version >= 10:
                response.uuid(_NO_ID if topic is None else topic.id)
            if version >= 1:
                response.boolean(False)
            response.array(range(len(topic.partitions)) if topic is not None else (), write_partition)
            if version >= 8:
                response.int32(_NOT_ASKED)
            response.tagged_fields()

        if version >= 3:
            response.int32(0)
        response.array([None], write_broker)
        if version >= 2:
            response.string(self._journal.cluster_id)
        if version >= 1:
            response.int32(NODE)
        response.array(names, write_topic)
        if 8 <= version <= 10:
            response.int32(_NOT_ASKED)
        response.tagged_fields()
        return response

    async def _create_topics(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response

        def read_assignment() -> None:
            body.int32()
            body.array(body.int32)

        def read() -> tuple[str, int, dict[str, str]]:
            name, partitions, _ = body.string(), body.int32(), body.int16()
            body.array(read_assignment)
            config = dict(body.array(lambda: (body.string(), body.nullable_string() or "")))
            return name, max(1, partitions), config

        outcomes: list[tuple[str, int]] = []
        for name, partitions, config in body.array(read):
            is_new = await written(self._journal.create_topic(name, partitions, config))
            error = STORAGE_ERROR if is_new is None else NO_ERROR if is_new else KafkaError.TOPIC_ALREADY_EXISTS
            outcomes.append((name, error))

        def write(outcome: tuple[str, int]) -> None:
            response.string(outcome[0])
            response.int16(outcome[1])
            if version >= 1:
                response.string(None)

        if version >= 2:
            response.int32(0)
        response.array(outcomes, write)
        return response

    async def _describe_configs(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response
        resources = body.array(lambda: (body.int8(), body.string(), body.nullable_array(body.string)))

        def write_config(setting: tuple[str, str]) -> None:
            response.string(setting[0])
            response.string(setting[1])
            response.boolean(True)
            if version >= 1:
                response.int8(1)  # a topic's own
            else:
                response.boolean(False)
            response.boolean(False)
            if version >= 1:
                response.array((), response.string)

        def write(resource: tuple[int, str, list[str] | None]) -> None:
            kind, name, wanted = resource
            topic = self._journal.topics.get(name)
            response.int16(NO_ERROR if topic is not None else UNKNOWN_TOPIC)
            response.string(None)
            response.int8(kind)
            response.string(name)
            config = topic.config if topic is not None else {}
            response.array([one for one in config.items() if wanted is None or one[0] in wanted], write_config)

        response.int32(0)
        response.array(resources, write)
        return response

    async def _find_coordinator(self, request: Request) -> ResponseWriter:
        response = request.response
        host, port = self._address()
        if request.version >= 1:
            response.int32(0)
        response.int16(NO_ERROR)
        if request.version >= 1:
            response.string(None)
        response.int32(NODE)
        response.string(host)
        response.int32(port)
        return response
