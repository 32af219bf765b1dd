"""Requests of consumer groups. All of it runs on the broker's event loop; commits are awaited."""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaError

from eddyline.adapters.kafka.embedded.api import NO_ERROR, UNKNOWN_TOPIC, Api, Request, find
from eddyline.adapters.kafka.embedded.group_coordinator import GroupCoordinator, Member
from eddyline.adapters.kafka.embedded.journal import Journal, JournalUnavailable
from eddyline.adapters.kafka.embedded.log_state import LogPartition
from eddyline.adapters.kafka.embedded.wire import ResponseWriter


class GroupRequests:
    """Answers from the groups' members, and from the journal what they have committed."""

    def __init__(self, journal: Journal, groups: GroupCoordinator) -> None:
        self._journal, self._groups = journal, groups
        self.apis = (
            Api(8, 4, self._offset_commit),
            Api(9, 4, self._offset_fetch),
            Api(11, 3, self._join_group),
            Api(12, 2, self._heartbeat),
            Api(13, 2, self._leave_group),
            Api(14, 2, self._sync_group),
            Api(15, 2, self._describe_groups),
        )

    async def _join_group(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response
        group, session_ms = body.string(), body.int32()
        rebalance_ms = body.int32() if version >= 1 else session_ms
        member_id, protocol_type = body.string(), body.string()
        protocols = body.array(lambda: (body.string(), body.nullable_bytes() or b""))
        result = await self._groups.join(
            group, member_id, request.client_id, session_ms / 1000, rebalance_ms / 1000, protocol_type, protocols
        )

        def write(member: tuple[str, bytes]) -> None:
            response.string(member[0])
            response.bytes(member[1])

        if version >= 2:
            response.int32(0)
        response.int16(result.error)
        response.int32(result.generation)
        response.string(result.protocol)
        response.string(result.leader)
        response.string(result.member_id)
        response.array(result.members.items(), write)
        return response

    async def _sync_group(self, request: Request) -> ResponseWriter:
        body = request.body
        group, generation, member_id = body.string(), body.int32(), body.string()
        assignments = dict(body.array(lambda: (body.string(), body.nullable_bytes() or b"")))
        error, assignment = await self._groups.sync(group, generation, member_id, assignments)
        response = _with_error(request, error)
        response.bytes(assignment)
        return response

    async def _heartbeat(self, request: Request) -> ResponseWriter:
        body = request.body
        return _with_error(request, self._groups.heartbeat(body.string(), body.int32(), body.string()))

    async def _leave_group(self, request: Request) -> ResponseWriter:
        body = request.body
        return _with_error(request, self._groups.leave(body.string(), body.string()))

    async def _describe_groups(self, request: Request) -> ResponseWriter:
        body, response = request.body, request.response

        def write_member(member: Member) -> None:
            response.string(member.id)
            response.string(member.client_id)
            response.string("")
            response.bytes(b"")
            response.bytes(member.assignment)

        def write(name: str) -> None:
            group = self._groups.groups.get(name)
            response.int16(NO_ERROR)
            response.string(name)
            response.string("Dead" if group is None else group.state.value)
            response.string("" if group is None else group.protocol_type)
            response.string("" if group is None else group.protocol)
            response.array(() if group is None else group.members.values(), write_member)

        names = body.array(body.string)
        if request.version >= 1:
            response.int32(0)
        response.array(names, write)
        return response

    async def _offset_commit(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response
        group = body.string()
        generation, member_id = (body.int32(), body.string()) if version >= 1 else (-1, "")
        if version >= 2:
            body.int64()

        def read() -> tuple[int, int, str]:
            number, offset = body.int32(), body.int64()
            if version == 1:
                body.int64()
            return number, offset, body.nullable_string() or ""

        topics = body.array(lambda: (body.string(), body.array(read)))
        error = self._groups.check_commit(group, generation, member_id)
        offsets: dict[LogPartition, tuple[int, str]] = {}
        for name, partitions in topics:
            for number, offset, metadata in partitions:
                partition = find(self._journal, name, number)[1]
                if partition is not None:
                    offsets[partition] = (offset, metadata)
        if error == NO_ERROR:
            try:
                await asyncio.wrap_future(self._journal.commit(group, offsets))
            except JournalUnavailable:
                error = KafkaError.COORDINATOR_NOT_AVAILABLE

        def write_topic(topic: tuple[str, list[tuple[int, int, str]]]) -> None:
            name, partitions = topic

            def write(one: tuple[int, int, str]) -> None:
                response.int32(one[0])
                response.int16(error if find(self._journal, name, one[0])[1] is not None else UNKNOWN_TOPIC)

            response.string(name)
            response.array(partitions, write)

        if version >= 3:
            response.int32(0)
        response.array(topics, write_topic)
        return response

    async def _offset_fetch(self, request: Request) -> ResponseWriter:
        body, version, response = request.body, request.version, request.response
        group = body.string()
        wanted = body.nullable_array(lambda: (body.string(), body.array(body.int32)))
        committed = self._journal.committed(group)
        if wanted is None:
            wanted = [
                (topic.name, [one.number for one in topic.partitions if one.id in committed])
                for topic in self._journal.topics.values()
                if any(one.id in committed for one in topic.partitions)
            ]

        def write_topic(topic: tuple[str, list[int]]) -> None:
            name, numbers = topic

            def write(number: int) -> None:
                partition = find(self._journal, name, number)[1]
                found = None if partition is None else committed.get(partition.id)
                response.int32(number)
                response.int64(-1 if found is None else found.next_offset)
                response.string("" if found is None else found.metadata)
                response.int16(NO_ERROR)

            response.string(name)
            response.array(numbers, write)

        if version >= 3:
            response.int32(0)
        response.array(wanted, write_topic)
        if version >= 2:
            response.int16(NO_ERROR)
        return response


def _with_error(request: Request, error: int) -> ResponseWriter:
    """Begin the response to a member: no throttling, and the error."""
    response = request.response
    if request.version >= 1:
        response.int32(0)
    response.int16(error)
    return response
