"""The groups API: tasks that belong together."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from weft.client.api import Api
from weft.client.group_snapshot import Group, Then
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.times import duration, optional_duration
from weft.v1 import group_pb2 as pb

__all__ = ["Group", "Groups", "Then"]

_SERVICE = "weft.v1.GroupService"
_CREATE = Method.of(f"{_SERVICE}/CreateGroup", pb.CreateGroupRequest, pb.CreateGroupResponse)
_GET = Method.of(f"{_SERVICE}/GetGroup", pb.GetGroupRequest, pb.GetGroupResponse)
_LIST = Method.of(f"{_SERVICE}/ListGroups", pb.ListGroupsRequest, pb.ListGroupsResponse)
_WAIT = Method.of(f"{_SERVICE}/WaitGroup", pb.WaitGroupRequest, pb.WaitGroupResponse)
_CLOSE = Method.of(f"{_SERVICE}/CloseGroup", pb.CloseGroupRequest, pb.CloseGroupResponse)
_CANCEL = Method.of(f"{_SERVICE}/CancelGroup", pb.CancelGroupRequest, pb.CancelGroupResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteGroup", pb.DeleteGroupRequest, pb.DeleteGroupResponse)
_PAGE = 500
# One call waits so long: the next one may go to another coordinator.
_WAIT_S = 20.0


class Groups:
    """Groups; `Mesh.groups` gives it. Every method raises `WeftError`, and `Unreachable` when the coordinator was away for
    too long."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, name: str, *, then: Then | None = None) -> Group:
        """Make a group. With the same arguments it may be repeated; the first task of a group makes it too.

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/'.
            then: the callback at its end. A group that has none and has not ended gets it.

        Raises:
            AlreadyExists: it has another callback, or has ended without one.
        """
        callback = None if then is None else then.proto
        if callback is not None and self._api.coder is not None:
            # A group may last for longer than a store keeps payloads.
            coded = await self._api.payload(Method.untyped(callback.method), callback.payload, store=False)
            plain, callback = callback, pb.GroupCallback()
            callback.CopyFrom(plain)
            callback.payload = coded
        asked = pb.CreateGroupRequest(name=name, callback=callback)
        return Group.of((await self._api.call(_CREATE, asked)).group)

    async def get(self, name: str) -> Group:
        """The group as it is now.

        Raises:
            NotFound: no group has this name.
        """
        return Group.of((await self._api.call(_GET, pb.GetGroupRequest(name=name))).group)

    async def list(self) -> AsyncGenerator[Group]:
        """All groups by name; page by page as they are taken. `tasks.list(group=name)` lists the tasks of one."""
        page_token = ""
        while True:
            asked = pb.ListGroupsRequest(page_size=_PAGE, page_token=page_token)
            page = await self._api.call(_LIST, asked)
            for group in page.groups:
                yield Group.of(group)
            page_token = page.next_page_token
            if not page_token:
                return

    async def wait(self, name: str, timeout_s: float | None = None) -> Group:
        """Wait until a group has ended: it is closed, and has no unfinished task. Without `timeout_s` without a limit.

        Raises:
            NotFound: no group has this name.
            DeadlineExceeded: it has not ended by then (CALL_DEADLINE). It goes on.
        """
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _WAIT_S if ends_at is None else min(_WAIT_S, max(0.0, ends_at - time.monotonic()))
            asked = pb.WaitGroupRequest(name=name, timeout=duration(left_s))
            answer = await self._api.call(_WAIT, asked, timeout_s=left_s + self._api.timeout_s)
            group = Group.of(answer.group)
            if group.ended:
                return group
            if ends_at is not None and time.monotonic() >= ends_at:
                raise refusals.call_deadline(
                    f"group {name!r} has not ended after {timeout_s:g} s:"
                    f" {'it is open' if group.closed_at is None else f'{group.unfinished} tasks are unfinished'}"
                )

    async def close(self, name: str) -> Group:
        """Close a group: it takes no more tasks. May be repeated.

        Raises:
            NotFound: no group has this name.
        """
        return Group.of((await self._api.call(_CLOSE, pb.CloseGroupRequest(name=name))).group)

    async def cancel(self, name: str, reason: str = "", *, grace_s: float | None = None) -> Group:
        """Close a group and cancel its unfinished tasks. Running handlers get `grace_s` to end.

        Raises:
            NotFound: no group has this name.
        """
        asked = pb.CancelGroupRequest(name=name, reason=reason, grace=optional_duration(grace_s))
        return Group.of((await self._api.call(_CANCEL, asked)).group)

    async def delete(self, name: str) -> None:
        """Forget a group without unfinished tasks. Its tasks stay.

        Raises:
            NotFound: no group has this name.
            FailedPrecondition: it has unfinished tasks.
        """
        # Not repeated: a repeat would not find what the first call has deleted.
        await self._api.call(_DELETE, pb.DeleteGroupRequest(name=name), repeatable=False)
