"""The classic consumer-group protocol, as a coordinator sees it: join, sync, heartbeat, leave.

One event loop runs all of it, so that nothing here is concurrent. Members live in memory: a broker that starts again
knows of none, and those that come back are told to join again. What groups have committed is in the journal.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from confluent_kafka import KafkaError

NO_ERROR = 0
UNKNOWN_MEMBER = KafkaError.UNKNOWN_MEMBER_ID
ILLEGAL_GENERATION = KafkaError.ILLEGAL_GENERATION
REBALANCING = KafkaError.REBALANCE_IN_PROGRESS
INCONSISTENT_PROTOCOL = KafkaError.INCONSISTENT_GROUP_PROTOCOL


class State(Enum):
    """Named as Kafka names them."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(slots=True, eq=False)
class Member:
    """A member as it joined; `joining` and `syncing` hold its requests that wait for the others."""

    id: str
    client_id: str
    session_seconds: float
    rebalance_seconds: float
    protocols: Mapping[str, bytes]
    expires_at: float
    assignment: bytes = b""
    joining: asyncio.Future[JoinResult] | None = None
    syncing: asyncio.Future[tuple[int, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What a member learns of the generation it is in; `members` (with their metadata): the leader alone."""

    error: int
    generation: int = -1
    protocol: str = ""
    leader: str = ""
    member_id: str = ""
    members: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class ConsumerGroup:
    """A group with members, or one that had some."""

    state: State = State.EMPTY
    generation: int = 0
    protocol_type: str = ""
    protocol: str = ""
    leader: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    rebalance_by: float = 0.0


class GroupCoordinator:
    """The members of all groups. `expire` must be called a few times a second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.groups: dict[str, ConsumerGroup] = {}

    async def join(
        self,
        group_id: str,
        member_id: str,
        client_id: str,
        session_seconds: float,
        rebalance_seconds: float,
        protocol_type: str,
        protocols: Sequence[tuple[str, bytes]],
    ) -> JoinResult:
        """Join a group, or join again; wait until all of its members have."""
        group = self.groups.setdefault(group_id, ConsumerGroup())
        if member_id and member_id not in group.members:
            return JoinResult(UNKNOWN_MEMBER, member_id=member_id)
        others = [one for one in group.members.values() if one.id != member_id]
        supported = set(dict(protocols)).intersection(*(one.protocols for one in others))
        if not supported or (others and protocol_type != group.protocol_type):
            return JoinResult(INCONSISTENT_PROTOCOL, member_id=member_id)
        group.protocol_type = protocol_type
        expires_at = self._monotonic() + session_seconds
        member = group.members.get(member_id)
        if member is None:
            member_id = f"{client_id}-{uuid.uuid4()}"
            member = Member(member_id, client_id, session_seconds, rebalance_seconds, dict(protocols), expires_at)
            group.members[member_id] = member
        elif group.state is State.STABLE and member.id != group.leader and dict(protocols) == member.protocols:
            return self._result(group, member)  # it has missed the answer
        else:
            member.protocols, member.expires_at = dict(protocols), expires_at
        waiting: asyncio.Future[JoinResult] = asyncio.get_running_loop().create_future()
        member.joining = waiting
        if group.state is not State.PREPARING:
            self._prepare(group)
        self._complete_if_all_joined(group)
        try:
            return await waiting
        except asyncio.CancelledError:  # its connection is gone, perhaps before it knew its own name
            if member.joining is waiting:
                self._remove(group, member)
            raise

    async def sync(
        self, group_id: str, generation: int, member_id: str, assignments: Mapping[str, bytes]
    ) -> tuple[int, bytes]:
        """Return an error and what the member is assigned, once the leader has said so (by `assignments`)."""
        error = self.check_member(group_id, generation, member_id)
        if error != NO_ERROR:
            return error, b""
        group = self.groups[group_id]
        member = group.members[member_id]
        if group.state is State.STABLE:
            return NO_ERROR, member.assignment
        if group.state is State.PREPARING:
            return REBALANCING, b""
        if member_id != group.leader:
            member.syncing = asyncio.get_running_loop().create_future()
            return await member.syncing
        group.state = State.STABLE
        for one in group.members.values():
            one.assignment = assignments.get(one.id, b"")
            one.expires_at = self._monotonic() + one.session_seconds
            if one.syncing is not None and not one.syncing.done():
                one.syncing.set_result((NO_ERROR, one.assignment))
            one.syncing = None
        return NO_ERROR, member.assignment

    def heartbeat(self, group_id: str, generation: int, member_id: str) -> int:
        """Note that a member lives; return an error: that the group is rebalancing, say."""
        error = self.check_member(group_id, generation, member_id)
        if error != NO_ERROR:
            return error
        group = self.groups[group_id]
        return REBALANCING if group.state is State.PREPARING else NO_ERROR

    def leave(self, group_id: str, member_id: str) -> int:
        """Take a member out of its group."""
        group = self.groups.get(group_id)
        if group is None or member_id not in group.members:
            return UNKNOWN_MEMBER
        self._remove(group, group.members[member_id])
        return NO_ERROR

    def check_commit(self, group_id: str, generation: int, member_id: str) -> int:
        """Return why this one may not commit. Anyone may for a group without members."""
        group = self.groups.get(group_id)
        if generation < 0 and not member_id:
            return UNKNOWN_MEMBER if group is not None and group.members else NO_ERROR
        error = self.check_member(group_id, generation, member_id)
        if error == NO_ERROR and self.groups[group_id].state is State.COMPLETING:
            return REBALANCING
        return error

    def check_member(self, group_id: str, generation: int, member_id: str) -> int:
        """Return why this is no member of the present generation; note that it lives where it is one."""
        group = self.groups.get(group_id)
        if group is None or member_id not in group.members:
            return UNKNOWN_MEMBER
        if generation != group.generation:
            return ILLEGAL_GENERATION
        member = group.members[member_id]
        member.expires_at = self._monotonic() + member.session_seconds
        return NO_ERROR

    def expire(self) -> None:
        """Drop members that have been silent for too long, or that didn't come to a rebalance in time."""
        now = self._monotonic()
        for group in self.groups.values():
            late = group.state is State.PREPARING and now > group.rebalance_by
            for member in tuple(group.members.values()):
                if member.joining is None and (late or now > member.expires_at):
                    self._remove(group, member)

    def _prepare(self, group: ConsumerGroup) -> None:
        group.state = State.PREPARING
        group.rebalance_by = self._monotonic() + max(one.rebalance_seconds for one in group.members.values())
        for member in group.members.values():
            if member.syncing is not None and not member.syncing.done():
                member.syncing.set_result((REBALANCING, b""))
            member.syncing = None

    def _complete_if_all_joined(self, group: ConsumerGroup) -> None:
        if group.state is not State.PREPARING or any(one.joining is None for one in group.members.values()):
            return
        group.generation += 1
        if group.leader not in group.members:
            group.leader = next(iter(group.members))
        group.protocol = next(
            name
            for name in group.members[group.leader].protocols
            if all(name in one.protocols for one in group.members.values())
        )
        group.state = State.COMPLETING
        for member in group.members.values():
            waiting, member.joining = member.joining, None
            member.assignment = b""
            member.expires_at = self._monotonic() + member.session_seconds
            if waiting is not None and not waiting.done():
                waiting.set_result(self._result(group, member))

    def _result(self, group: ConsumerGroup, member: Member) -> JoinResult:
        is_leader = member.id == group.leader
        members = {one.id: one.protocols[group.protocol] for one in group.members.values()} if is_leader else {}
        return JoinResult(NO_ERROR, group.generation, group.protocol, group.leader, member.id, members)

    def _remove(self, group: ConsumerGroup, member: Member) -> None:
        group.members.pop(member.id, None)
        if not group.members:
            group.state, group.leader = State.EMPTY, ""
            group.generation += 1
        elif group.state is State.PREPARING:
            self._complete_if_all_joined(group)
        else:
            self._prepare(group)
            self._complete_if_all_joined(group)
