"""The servicer of `weft.v1.KeyedStateService`."""

from __future__ import annotations

from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.keyed_states.keyed_state_codec import check_name, held_change, message, set_change
from weft.coordinator.request_checks import check_page_size, check_page_token
from weft.coordinator.store.base import Store
from weft.coordinator.store.state_store import (
    StaleAttempt,
    StateConflict,
    StateWrite,
    StoredState,
    TooManyStates,
)
from weft.coordinator.store.store_refusals import too_many_states
from weft.rpc import refusals
from weft.rpc.identity.edge import Edge
from weft.v1 import keyed_state_pb2, keyed_state_pb2_grpc

Context = aio.ServicerContext[Any, Any]

_PAGE = 100
# Characters of a name in a message.
_SHOWN = 128


class KeyedStateService(keyed_state_pb2_grpc.KeyedStateServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, max_state_bytes: int, edge: Edge) -> None:
        self._store = store
        self._most_bytes = max_state_bytes
        self._edge = edge

    @guard.unary
    async def GetKeyedState(
        self, request: keyed_state_pb2.GetKeyedStateRequest, context: Context
    ) -> keyed_state_pb2.GetKeyedStateResponse:
        self._check_reader(context)
        found = await self._store.get_state(check_name(request.name))
        if found is None:
            raise refusals.state_not_found(request.name)
        return keyed_state_pb2.GetKeyedStateResponse(state=message(found))

    @guard.unary
    async def ListKeyedStates(
        self, request: keyed_state_pb2.ListKeyedStatesRequest, context: Context
    ) -> keyed_state_pb2.ListKeyedStatesResponse:
        self._check_reader(context)
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_name)
        if request.prefix:
            check_name(request.prefix, "prefix")
        page = await self._store.list_states(
            request.prefix, limit=request.page_size or _PAGE, cursor=request.page_token
        )
        return keyed_state_pb2.ListKeyedStatesResponse(
            states=map(message, page.states), next_page_token=page.cursor
        )

    def _check_reader(self, context: Context) -> None:
        """Refuse a caller that may call some methods only: whose states these are is not known.

        Raises:
            PermissionDenied: OUT_OF_SCOPE.
        """
        if not self._edge.caller(context).sees_all:
            raise refusals.out_of_scope("methods", "*")

    @guard.unary
    async def SetKeyedState(
        self, request: keyed_state_pb2.SetKeyedStateRequest, context: Context
    ) -> keyed_state_pb2.SetKeyedStateResponse:
        name = check_name(request.name)
        state = await self._put(name, set_change(request, self._most_bytes))
        return keyed_state_pb2.SetKeyedStateResponse(state=message(state, value=False))

    @guard.unary
    async def DeleteKeyedState(
        self, request: keyed_state_pb2.DeleteKeyedStateRequest, context: Context
    ) -> keyed_state_pb2.DeleteKeyedStateResponse:
        name = check_name(request.name)
        if await self._store.get_state(name) is None:
            raise refusals.state_not_found(name)
        expected = request.expected_version if request.HasField("expected_version") else None
        await self._put(name, StateWrite(expected, None))
        return keyed_state_pb2.DeleteKeyedStateResponse()

    async def _put(self, name: str, write: StateWrite) -> StoredState:
        match await self._store.put_state(name, write):
            case StateConflict(_, True):
                raise refusals.state_conflict(
                    f"a running task holds the lock {name[:_SHOWN]!r}, and its state with it: try again when it has ended, or pause its"
                    " method first",
                    name=name,
                )
            case StateConflict(version):
                raise refusals.state_conflict(
                    f"the state {name[:_SHOWN]!r} has version {version}, which is not the expected one: read it again",
                    name=name,
                )
            case TooManyStates() as refused:
                raise too_many_states(refused)
            case StoredState() as state:
                return state

    @guard.unary
    async def SaveKeyedState(
        self, request: keyed_state_pb2.SaveKeyedStateRequest, context: Context
    ) -> keyed_state_pb2.SaveKeyedStateResponse:
        beyond = self._edge.caller(context).scope.beyond(request.agent_id, (), {})
        if beyond is not None:
            raise refusals.out_of_scope(*beyond)
        write = held_change(request.task_id, request.write, self._most_bytes, "write.")
        match await self._store.save_state(request.agent_id, request.task_id, request.attempt, write):
            case StaleAttempt(task_id):
                raise refusals.state_conflict(
                    f"the state of task {task_id[:_SHOWN]} cannot be saved: this attempt is not the task's current one, or no lock of the"
                    " task keeps a state",
                    task_id=task_id,
                )
            case StateConflict(version):
                raise refusals.state_conflict(
                    f"the state of task {request.task_id[:_SHOWN]} has version {version}, and not the one that this attempt has",
                    task_id=request.task_id,
                )
            case int() as version:
                return keyed_state_pb2.SaveKeyedStateResponse(version=version)
