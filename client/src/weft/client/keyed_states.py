"""Keyed states: the small values that locks keep, from outside of their tasks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.message import Message

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc.times import optional_duration
from weft.v1 import keyed_state_pb2 as pb
from weft.v1.keyed_state_pb2 import StateWrite

_SERVICE = "weft.v1.KeyedStateService"
_GET = Method.of(f"{_SERVICE}/GetKeyedState", pb.GetKeyedStateRequest, pb.GetKeyedStateResponse)
_LIST = Method.of(f"{_SERVICE}/ListKeyedStates", pb.ListKeyedStatesRequest, pb.ListKeyedStatesResponse)
_SET = Method.of(f"{_SERVICE}/SetKeyedState", pb.SetKeyedStateRequest, pb.SetKeyedStateResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteKeyedState", pb.DeleteKeyedStateRequest, pb.DeleteKeyedStateResponse)
_SAVE = Method.of(f"{_SERVICE}/SaveKeyedState", pb.SaveKeyedStateRequest, pb.SaveKeyedStateResponse)
_PAGE = 100
_JSON = "json"

M = TypeVar("M", bound=Message)
# `type` is a field below.
MessageClass = type[M]


@dataclass(frozen=True, slots=True)
class KeyedState:
    """A state as it was when it was read."""

    # The lock that keeps it, such as "cart:42".
    name: str
    # Grows with each change.
    version: int
    value: bytes
    # The full name of a message type, "json", or empty: bytes that only handlers know.
    type: str
    updated_at: datetime
    # None: never.
    expires_at: datetime | None = None
    # The task that changed it last; empty: an operator did.
    task_id: str = ""

    @classmethod
    def of(cls, proto: pb.KeyedState) -> KeyedState:
        return cls(
            name=proto.name,
            version=proto.version,
            value=proto.value,
            type=proto.type,
            updated_at=proto.update_time.ToDatetime(tzinfo=UTC),
            expires_at=proto.expire_time.ToDatetime(tzinfo=UTC) if proto.HasField("expire_time") else None,
            task_id=proto.task_id,
        )

    def json(self) -> Any:
        """The value of a state that is JSON.

        Raises:
            TypeError: it is something else.
        """
        if self.type != _JSON:
            raise TypeError(f"the state {self.name!r} is {self.type or 'bytes'}, and not JSON")
        return json.loads(self.value)

    def message(self, kind: MessageClass[M]) -> M:
        """The message that the value is.

        Raises:
            TypeError: it is something else.
        """
        if self.type != kind.DESCRIPTOR.full_name:
            raise TypeError(
                f"the state {self.name!r} is {self.type or 'bytes'}, and not a {kind.DESCRIPTOR.full_name}"
            )
        return kind.FromString(self.value)


class KeyedStates:
    """The states that locks keep; `Mesh.keyed_states` gives it. Handlers have theirs as `current_task().state`. Only operators change
    them here; clients and observers may read them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, name: str) -> KeyedState:
        """Read a state.

        Args:
            name: the whole name of its lock, such as "cart:42".

        Raises:
            NotFound: STATE_NOT_FOUND.
        """
        return KeyedState.of((await self._api.call(_GET, pb.GetKeyedStateRequest(name=name))).state)

    async def list(self, prefix: str = "") -> AsyncGenerator[KeyedState]:
        """All states whose names begin so, by name."""
        token = ""
        while True:
            request = pb.ListKeyedStatesRequest(prefix=prefix, page_size=_PAGE, page_token=token)
            page = await self._api.call(_LIST, request)
            for each in page.states:
                yield KeyedState.of(each)
            if not (token := page.next_page_token):
                return

    async def set(
        self,
        name: str,
        value: bytes | Message,
        *,
        kind: str = "",
        ttl_s: float | None = None,
        expected_version: int | None = None,
    ) -> int:
        """Write a state from outside; returns its version.

        Args:
            value: bytes, or a message, whose type is then known.
            kind: of bytes: the full name of a message type, or "json".
            ttl_s: how long it is kept. None: until it is deleted. At least 1.
            expected_version: the version that it must have; 0: there must be none. None: any.

        Raises:
            Aborted: STATE_CONFLICT: a running task holds its lock, or it has another version.
            TooLarge: STATE_TOO_LARGE.
        """
        if isinstance(value, Message):
            kind, value = value.DESCRIPTOR.full_name, value.SerializeToString()
        request = pb.SetKeyedStateRequest(name=name, value=value, type=kind, ttl=optional_duration(ttl_s))
        if expected_version is not None:
            request.expected_version = expected_version
        answer = await self._api.call(_SET, request, repeatable=expected_version is None)
        return answer.state.version

    async def delete(self, name: str, *, expected_version: int | None = None) -> None:
        """Delete a state: the next task begins without one.

        Raises:
            NotFound: STATE_NOT_FOUND.
            Aborted: STATE_CONFLICT: as `set`.
        """
        request = pb.DeleteKeyedStateRequest(name=name)
        if expected_version is not None:
            request.expected_version = expected_version
        # A repeat would find it deleted.
        await self._api.call(_DELETE, request, repeatable=False)

    async def save(self, task_id: str, attempt: int, agent_id: str, write: StateWrite) -> int:
        """Write the state of a running attempt; returns its version. Handlers do this with `current_task().state.save()`.

        Raises:
            Aborted: STATE_CONFLICT: the attempt is not the task's current one, or the state has another version.
        """
        request = pb.SaveKeyedStateRequest(task_id=task_id, attempt=attempt, agent_id=agent_id, write=write)
        return (await self._api.call(_SAVE, request)).version
