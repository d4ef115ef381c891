"""The schedules API: tasks that the mesh submits by itself."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, TypeVar, Unpack, overload

from google.protobuf.message import Message

from weft.client.api import Api
from weft.client.methods import AnyMethod, Method, as_method
from weft.client.options import SubmitOptions, task_options
from weft.client.schedule_snapshot import (
    Cron,
    Every,
    Once,
    OverlapPolicy,
    Schedule,
    Tick,
    TickOutcome,
    Timing,
    aware,
    set_timing,
)
from weft.client.task_handle import TaskHandle
from weft.client.tasks_by_id import TasksById
from weft.rpc.times import duration, timestamp
from weft.v1 import schedule_pb2 as pb

__all__ = [
    "Cron",
    "Every",
    "Once",
    "OverlapPolicy",
    "Schedule",
    "ScheduleOptions",
    "Schedules",
    "Tick",
    "TickOutcome",
    "Timing",
]

Req = TypeVar("Req")

_SERVICE = "weft.v1.ScheduleService"
_CREATE = Method.of(f"{_SERVICE}/CreateSchedule", pb.CreateScheduleRequest, pb.CreateScheduleResponse)
_GET = Method.of(f"{_SERVICE}/GetSchedule", pb.GetScheduleRequest, pb.GetScheduleResponse)
_LIST = Method.of(f"{_SERVICE}/ListSchedules", pb.ListSchedulesRequest, pb.ListSchedulesResponse)
_UPDATE = Method.of(f"{_SERVICE}/UpdateSchedule", pb.UpdateScheduleRequest, pb.UpdateScheduleResponse)
_DELETE = Method.of(f"{_SERVICE}/DeleteSchedule", pb.DeleteScheduleRequest, pb.DeleteScheduleResponse)
_PAUSE = Method.of(f"{_SERVICE}/PauseSchedule", pb.PauseScheduleRequest, pb.PauseScheduleResponse)
_RESUME = Method.of(f"{_SERVICE}/ResumeSchedule", pb.ResumeScheduleRequest, pb.ResumeScheduleResponse)
_RUN = Method.of(f"{_SERVICE}/RunSchedule", pb.RunScheduleRequest, pb.RunScheduleResponse)
_PAGE = 500


class ScheduleOptions(SubmitOptions, total=False):
    """Options of `create` and `update`: those of each tick's task, and these. Each one is optional."""

    # Unset: SKIP.
    overlap: OverlapPolicy
    # Each tick is submitted up to this much later.
    jitter_s: float
    # How late a tick may be submitted. Unset: 1 h.
    catch_up_window_s: float
    # No tick before, and none at or after. With a time zone.
    start_at: datetime
    end_at: datetime


class Schedules:
    """Schedules; `Mesh.schedules` gives it. Every method raises `WeftError`, and `Unreachable` when the coordinator was away for
    too long."""

    def __init__(self, api: Api, tasks: TasksById) -> None:
        self._api = api
        self._tasks = tasks

    @overload
    async def create(
        self,
        name: str,
        method: AnyMethod[Req, Any],
        request: Req,
        timing: Timing,
        *,
        pause_reason: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    @overload
    async def create(
        self,
        name: str,
        method: str,
        request: bytes | Message,
        timing: Timing,
        *,
        pause_reason: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    async def create(
        self,
        name: str,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        timing: Timing,
        *,
        pause_reason: str | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Store a schedule. With the same name and the same arguments it may be repeated.

        Args:
            name: 1 to 128 letters, digits, '.', '_', '-' and '/'.
            method: as for `tasks.submit`.
            request: the request of each tick's task.
            timing: when ticks come: `Cron`, `Every` or `Once`.
            pause_reason: create it paused, for this reason.
            options: see `ScheduleOptions`.

        Raises:
            AlreadyExists: a schedule of this name has another spec.
            InvalidArgument: the message names the field.
        """
        spec = await self._spec(method, request, timing, options)
        asked = pb.CreateScheduleRequest(name=name, spec=spec, pause_reason=pause_reason)
        return Schedule.of((await self._api.call(_CREATE, asked)).schedule)

    @overload
    async def update(
        self,
        name: str,
        method: AnyMethod[Req, Any],
        request: Req,
        timing: Timing,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    @overload
    async def update(
        self,
        name: str,
        method: str,
        request: bytes | Message,
        timing: Timing,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule: ...
    async def update(
        self,
        name: str,
        method: AnyMethod[Any, Any] | str,
        request: Any,
        timing: Timing,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Replace what a schedule submits, and when. It goes on with the first tick after now.

        Raises:
            NotFound: no schedule has this name.
        """
        spec = await self._spec(method, request, timing, options)
        asked = pb.UpdateScheduleRequest(name=name, spec=spec)
        return Schedule.of((await self._api.call(_UPDATE, asked)).schedule)

    async def get(self, name: str) -> Schedule:
        """The schedule as it is now.

        Raises:
            NotFound: no schedule has this name.
        """
        found = (await self._api.call(_GET, pb.GetScheduleRequest(name=name))).schedule
        if self._api.coder is not None:
            from weft.client.coded_tasks import decode_request

            found.spec.payload = await decode_request(self._api.coder, found.spec.payload, found.spec.method)
        return Schedule.of(found)

    async def list(self) -> AsyncGenerator[Schedule]:
        """All schedules by name, without requests and options; page by page as they are taken."""
        page_token = ""
        while True:
            asked = pb.ListSchedulesRequest(page_size=_PAGE, page_token=page_token)
            page = await self._api.call(_LIST, asked)
            for schedule in page.schedules:
                yield Schedule.of(schedule)
            page_token = page.next_page_token
            if not page_token:
                return

    async def delete(self, name: str) -> None:
        """Delete a schedule. Its tasks stay.

        Raises:
            NotFound: no schedule has this name.
        """
        # Not repeated: a repeat would not find what the first call has deleted.
        await self._api.call(_DELETE, pb.DeleteScheduleRequest(name=name), repeatable=False)

    async def pause(self, name: str, reason: str = "") -> Schedule:
        """No ticks until `resume`."""
        asked = pb.PauseScheduleRequest(name=name, reason=reason)
        return Schedule.of((await self._api.call(_PAUSE, asked)).schedule)

    async def resume(self, name: str) -> Schedule:
        """Ticks again, from now on: those that passed meanwhile are left out."""
        return Schedule.of((await self._api.call(_RESUME, pb.ResumeScheduleRequest(name=name))).schedule)

    async def run(self, name: str, *, request_id: str | None = None) -> TaskHandle[bytes]:
        """Submit a schedule's task now, whatever runs. Its ticks do not change.

        Args:
            request_id: runs with the same id are one task; unset: generated.
        """
        asked = pb.RunScheduleRequest(name=name, request_id=request_id or uuid.uuid4().hex)
        answer = await self._api.call(_RUN, asked)
        task = answer.task
        return TaskHandle(
            self._tasks, as_method(task.method), task.id, request_id=task.request_id, existed=answer.existed
        )

    async def _spec(
        self, method: AnyMethod[Any, Any] | str, request: Any, timing: Timing, options: ScheduleOptions
    ) -> pb.ScheduleSpec:
        called = as_method(method)
        # Its tasks come for as long as it is there: what is in a store of payloads would be deleted before.
        payload = await self._api.payload(called, request, store=False)
        return _spec(called.name, payload, timing, options)


def _spec(method: str, payload: bytes, timing: Timing, options: ScheduleOptions) -> pb.ScheduleSpec:
    given: dict[str, Any] = {**options}
    overlap = given.pop("overlap", None)
    jitter_s, window_s = given.pop("jitter_s", None), given.pop("catch_up_window_s", None)
    start_at, end_at = given.pop("start_at", None), given.pop("end_at", None)
    spec = pb.ScheduleSpec(
        method=method,
        payload=payload,
        # Of a schedule that a handler creates, the tasks are not that handler's calls.
        options=task_options(given, inherits=False),  # type: ignore[arg-type]
        overlap=None if overlap is None else overlap.value,
        jitter=None if jitter_s is None else duration(jitter_s),
        catch_up_window=None if window_s is None else duration(window_s),
        start_time=None if start_at is None else timestamp(aware(start_at, "start_at").timestamp()),
        end_time=None if end_at is None else timestamp(aware(end_at, "end_at").timestamp()),
    )
    set_timing(spec, timing)
    return spec
