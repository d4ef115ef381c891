"""The servicer of `weft.v1.GroupService`: checks requests, and reads and changes groups in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc import aio

from weft.coordinator import guard
from weft.coordinator.calls.submission import SubmissionService
from weft.coordinator.groups.group_codec import (
    callback_request,
    check_callback,
    group_message,
    packed_note,
)
from weft.coordinator.groups.group_ends import GroupEnds
from weft.coordinator.identity.makers import maker_of
from weft.coordinator.request_checks import (
    MAX_PAGE,
    check_page_size,
    check_page_token,
    check_reason,
    check_resource_name,
)
from weft.coordinator.store.base import Store
from weft.coordinator.store.group_store import AT_END, GroupChange, GroupRecord, TooManyGroups
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.rules import State
from weft.coordinator.store.store_refusals import too_many_groups
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument, TooLarge
from weft.rpc.identity.edge import Edge
from weft.rpc.times import checked_duration
from weft.v1 import errors_pb2, group_pb2, group_pb2_grpc

Context = aio.ServicerContext[Any, Any]

_UNFINISHED = frozenset(state for state in State if not state.terminal)
# How often a change is tried when others change the group at the same time.
_TRIES = 8


class GroupService(group_pb2_grpc.GroupServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(
        self,
        store: Store,
        submissions: SubmissionService,
        ends: GroupEnds,
        cancel_grace_s: float,
        edge: Edge,
    ) -> None:
        self._edge = edge
        self._store = store
        self._submissions = submissions
        self._ends = ends
        self._cancel_grace_s = cancel_grace_s
        # Whether somebody follows the ends of groups (GroupEnded).
        self.tells_ends: Callable[[], bool] = lambda: False

    @guard.unary
    async def CreateGroup(
        self, request: group_pb2.CreateGroupRequest, context: Context
    ) -> group_pb2.CreateGroupResponse:
        check_resource_name(request.name)
        note = b""
        if request.HasField("callback"):
            self._edge.check_method(context, request.callback.method)
            self._check(request)
            maker = maker_of(self._edge.caller(context))
            note = packed_note(group_pb2.Group(callback=request.callback, callback_maker=maker))
        for _ in range(_TRIES):
            result = await self._store.create_group(request.name, note, AT_END if note else None)
            if isinstance(result, TooManyGroups):
                raise too_many_groups(result)
            record, existed = result
            if not existed or not note:
                return group_pb2.CreateGroupResponse(group=group_message(record), existed=existed)
            group = group_message(record)
            if group.HasField("callback"):
                if group.callback != request.callback:
                    raise refusals.group_exists(request.name, "is there already, with another callback")
                return group_pb2.CreateGroupResponse(group=group, existed=True)
            if record.ended_at is not None:
                raise refusals.group_exists(request.name, "has ended already, without a callback")
            await self._store.change_groups([GroupChange(record, note, AT_END)])
        raise refusals.overloaded(f"others change group {request.name!r} at the same time; try again")

    @guard.unary
    async def GetGroup(
        self, request: group_pb2.GetGroupRequest, context: Context
    ) -> group_pb2.GetGroupResponse:
        return group_pb2.GetGroupResponse(group=group_message(await self._read(request.name)))

    @guard.unary
    async def ListGroups(
        self, request: group_pb2.ListGroupsRequest, context: Context
    ) -> group_pb2.ListGroupsResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_resource_name)
        page = await self._store.list_groups(limit=request.page_size or 100, cursor=request.page_token)
        groups = [group_message(record, full=False) for record in page.groups]
        return group_pb2.ListGroupsResponse(groups=groups, next_page_token=page.cursor)

    @guard.unary
    async def WaitGroup(
        self, request: group_pb2.WaitGroupRequest, context: Context
    ) -> group_pb2.WaitGroupResponse:
        check_resource_name(request.name)
        timeout_s = checked_duration(request.timeout, "timeout") if request.HasField("timeout") else None
        return group_pb2.WaitGroupResponse(
            group=group_message(await self._ends.wait(request.name, timeout_s))
        )

    @guard.unary
    async def CloseGroup(
        self, request: group_pb2.CloseGroupRequest, context: Context
    ) -> group_pb2.CloseGroupResponse:
        return group_pb2.CloseGroupResponse(group=group_message(await self._close(request.name)))

    @guard.unary
    async def CancelGroup(
        self, request: group_pb2.CancelGroupRequest, context: Context
    ) -> group_pb2.CancelGroupResponse:
        check_reason(request.reason)
        grace_s = self._cancel_grace_s
        if request.HasField("grace"):
            grace_s = checked_duration(request.grace, "grace", most_s=3600.0)
        closed = await self._close(request.name)
        where = ListFilter(group=request.name, states=_UNFINISHED)
        count, cursor = 0, ""
        while True:
            page = await self._store.list_tasks(where, limit=MAX_PAGE, cursor=cursor)
            ids = [record.task_id for record in page.records if not record.cancel_requested]
            if ids:
                await self._store.cancel(ids, request.reason, grace_s)
            count += len(page.records)
            if not (cursor := page.cursor):
                break
        (record,) = await self._store.get_groups([request.name])
        # It may be forgotten already, with tasks whose result is not kept.
        return group_pb2.CancelGroupResponse(group=group_message(record or closed), cancelled=count)

    @guard.unary
    async def DeleteGroup(
        self, request: group_pb2.DeleteGroupRequest, context: Context
    ) -> group_pb2.DeleteGroupResponse:
        check_resource_name(request.name)
        deleted = await self._store.delete_group(request.name)
        if deleted is None:
            raise refusals.group_not_found(request.name)
        if not deleted:
            raise refusals.group_unfinished(request.name)
        return group_pb2.DeleteGroupResponse()

    async def _read(self, name: str) -> GroupRecord:
        check_resource_name(name)
        (record,) = await self._store.get_groups([name])
        if record is None:
            raise refusals.group_not_found(name)
        return record

    async def _close(self, name: str) -> GroupRecord:
        check_resource_name(name)
        if self.tells_ends():
            await self._note_untold(name)
        record = await self._store.close_group(name)
        if record is None:
            raise refusals.group_not_found(name)
        return record

    async def _note_untold(self, name: str) -> None:
        """Note that the group's end is to be told, before it can come: no kill of a coordinator lets it be forgotten then."""
        for _ in range(_TRIES):
            (record,) = await self._store.get_groups([name])
            if record is None or record.ended_at is not None:
                return
            group = group_message(record)
            if group.end_untold:
                return
            group.end_untold = True
            (changed,) = await self._store.change_groups([GroupChange(record, packed_note(group), AT_END)])
            if changed:
                return
        raise refusals.overloaded(f"others change group {name!r} at the same time; try again")

    def _check(self, request: group_pb2.CreateGroupRequest) -> None:
        """Refuse a callback that is wrong, also for its method.

        Raises:
            WeftError: as `CreateGroup` says.
        """
        check_callback(request.callback)
        try:
            self._submissions.check(callback_request(request.name, "0" * 16, request.callback), own_id=True)
        except (InvalidArgument, TooLarge) as error:
            # Of the task's request: here that is within the callback. Broken rules name fields of the payload.
            if error.reason != errors_pb2.ERROR_REASON_RULES_VIOLATED:
                error.field = f"callback.{error.field or 'payload'}"
            raise
