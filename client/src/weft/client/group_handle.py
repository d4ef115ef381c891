"""A group as its maker has it: submit into it, close it, wait for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from google.protobuf.message import Message

from weft.client.group_snapshot import Group, Then
from weft.client.groups import Groups
from weft.client.methods import AnyMethod, as_method
from weft.client.options import SubmitOptions
from weft.client.task_handle import TaskHandle
from weft.client.task_snapshot import Task
from weft.client.tasks import Tasks

Req = TypeVar("Req")
Resp = TypeVar("Resp")


class GroupHandle:
    """One group; `Mesh.group` gives it. The group outlives this process.

        async with mesh.group("nightly", then=Then(reports.Send, SendRequest())) as group:
            for request in requests:
                await group.submit(reports.Build, request)

    The block makes the group, and closes it at its end. After an exception the group stays open, so that its callback does not run
    for a part of the work: go on by the same name, or cancel it.
    """

    __slots__ = ("_groups", "_tasks", "_then", "name")

    def __init__(self, groups: Groups, tasks: Tasks, name: str, then: Then | None) -> None:
        self._groups = groups
        self._tasks = tasks
        self._then = then
        self.name = name

    async def __aenter__(self) -> Self:
        await self._groups.create(self.name, then=self._then)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()

    @overload
    async def submit(
        self,
        method: AnyMethod[Req, Resp],
        request: Req,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Resp]: ...
    @overload
    async def submit(
        self,
        method: str,
        request: bytes | Message,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[bytes]: ...
    async def submit(
        self,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        *,
        request_id: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskHandle[Any]:
        """Store one task of this group, as `tasks.submit`. For many, `tasks.submit_many(…, group=name)`.

        Raises:
            FailedPrecondition: the group is closed (GROUP_CLOSED).
        """
        options["group"] = self.name
        called = as_method(method)
        return await self._tasks.submit(
            called, request, request_id=request_id, timeout_s=timeout_s, **options
        )

    async def snapshot(self) -> Group:
        """The group as it is now."""
        return await self._groups.get(self.name)

    def tasks(self) -> AsyncGenerator[Task]:
        """Its tasks, newest first, with requests and responses; page by page as they are taken."""
        return self._tasks.list(group=self.name, full=True)

    async def close(self) -> Group:
        """Let it take no more tasks."""
        return await self._groups.close(self.name)

    async def wait(self, timeout_s: float | None = None) -> Group:
        """Wait until it has ended: it is closed, and has no unfinished task.

        Raises:
            DeadlineExceeded: it has not ended by then (CALL_DEADLINE).
        """
        return await self._groups.wait(self.name, timeout_s)

    async def cancel(self, reason: str = "", *, grace_s: float | None = None) -> Group:
        """Close it and cancel its unfinished tasks."""
        return await self._groups.cancel(self.name, reason, grace_s=grace_s)

    def __repr__(self) -> str:
        return f"<GroupHandle {self.name}>"
