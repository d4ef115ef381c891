"""The servicer of `weft.v1.ScheduleService`: checks requests, and reads and changes schedules in the store's table."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

from grpc import aio

from weft.coordinator import codec, guard
from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.identity.makers import maker_of
from weft.coordinator.request_checks import (
    check_page_size,
    check_page_token,
    check_reason,
    check_resource_name,
)
from weft.coordinator.schedules.schedule_codec import (
    check_run_id,
    check_spec,
    note_tick,
    run_request,
    set_next_tick,
    tick_request,
    timing_of,
)
from weft.coordinator.schedules.schedule_rules import Fate
from weft.coordinator.schedules.schedule_table import ScheduleTable
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument, NotFound, TooLarge
from weft.rpc.identity.edge import Edge
from weft.rpc.times import timestamp
from weft.v1 import errors_pb2, schedule_pb2, schedule_pb2_grpc, security_pb2, task_pb2

Context = aio.ServicerContext[Any, Any]


class ScheduleService(schedule_pb2_grpc.ScheduleServiceServicer):
    """Each RPC's errors and guarantee are in the contract's comments."""

    def __init__(self, store: Store, submissions: SubmissionService, edge: Edge) -> None:
        self._edge = edge
        self._store = store
        self._table = ScheduleTable(store)
        self._submissions = submissions

    @guard.unary
    async def CreateSchedule(
        self, request: schedule_pb2.CreateScheduleRequest, context: Context
    ) -> schedule_pb2.CreateScheduleResponse:
        check_resource_name(request.name)
        check_reason(request.pause_reason, "pause_reason")
        self._edge.check_method(context, request.spec.method)
        # First: a repeat is the same schedule, though a time of its spec may have passed since.
        try:
            known, _ = await self._table.read(request.name)
        except NotFound:
            known = None
        if known is None:
            now = self._store.now()
            schedule = schedule_pb2.Schedule(
                name=request.name,
                spec=request.spec,
                uid=secrets.token_hex(8),
                create_time=timestamp(now),
                update_time=timestamp(now),
                paused=request.HasField("pause_reason"),
                pause_reason=request.pause_reason,
                maker=maker_of(self._edge.caller(context)),
            )
            self._check(schedule, now)
            if not schedule.paused:
                _start(schedule, now)
            known = await self._table.create(schedule)
            if known is None:
                return schedule_pb2.CreateScheduleResponse(schedule=schedule)
        if known.spec != request.spec:
            # Also if the caller does not see it: a name is taken by all.
            raise refusals.schedule_exists(request.name)
        return schedule_pb2.CreateScheduleResponse(schedule=known, existed=True)

    @guard.unary
    async def GetSchedule(
        self, request: schedule_pb2.GetScheduleRequest, context: Context
    ) -> schedule_pb2.GetScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        return schedule_pb2.GetScheduleResponse(schedule=(await self._table.read(request.name))[0])

    @guard.unary
    async def ListSchedules(
        self, request: schedule_pb2.ListSchedulesRequest, context: Context
    ) -> schedule_pb2.ListSchedulesResponse:
        check_page_size(request.page_size)
        check_page_token(request.page_token, check_resource_name)
        schedules, cursor = await self._table.page(request.page_size or 100, request.page_token)
        caller = self._edge.caller(context)
        schedules = [schedule for schedule in schedules if caller.sees(schedule.spec.method)]
        for schedule in schedules:
            schedule.spec.ClearField("payload")
            schedule.spec.ClearField("options")
        return schedule_pb2.ListSchedulesResponse(schedules=schedules, next_page_token=cursor)

    @guard.unary
    async def UpdateSchedule(
        self, request: schedule_pb2.UpdateScheduleRequest, context: Context
    ) -> schedule_pb2.UpdateScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        self._edge.check_method(context, request.spec.method)
        now, maker = self._store.now(), maker_of(self._edge.caller(context)) or security_pb2.Maker()

        def update(schedule: schedule_pb2.Schedule) -> bool:
            if schedule.spec == request.spec:
                if schedule.maker == maker:
                    return False
                schedule.maker.CopyFrom(maker)
                return True
            schedule.maker.CopyFrom(maker)
            schedule.spec.CopyFrom(request.spec)
            self._check(schedule, now)
            schedule.update_time.CopyFrom(timestamp(now))
            if not schedule.paused:
                _start(schedule, now)
            return True

        return schedule_pb2.UpdateScheduleResponse(schedule=await self._table.change(request.name, update))

    @guard.unary
    async def DeleteSchedule(
        self, request: schedule_pb2.DeleteScheduleRequest, context: Context
    ) -> schedule_pb2.DeleteScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        await self._table.delete(request.name)
        return schedule_pb2.DeleteScheduleResponse()

    @guard.unary
    async def PauseSchedule(
        self, request: schedule_pb2.PauseScheduleRequest, context: Context
    ) -> schedule_pb2.PauseScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        check_reason(request.reason)

        def pause(schedule: schedule_pb2.Schedule) -> bool:
            schedule.paused, schedule.pause_reason = True, request.reason
            schedule.ClearField("next_time")
            schedule.ClearField("next_submit_time")
            return True

        return schedule_pb2.PauseScheduleResponse(schedule=await self._table.change(request.name, pause))

    @guard.unary
    async def ResumeSchedule(
        self, request: schedule_pb2.ResumeScheduleRequest, context: Context
    ) -> schedule_pb2.ResumeScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        now = self._store.now()

        def resume(schedule: schedule_pb2.Schedule) -> bool:
            if not schedule.paused:
                return False
            schedule.paused, schedule.pause_reason = False, ""
            _start(schedule, now)
            return True

        return schedule_pb2.ResumeScheduleResponse(schedule=await self._table.change(request.name, resume))

    @guard.unary
    async def RunSchedule(
        self, request: schedule_pb2.RunScheduleRequest, context: Context
    ) -> schedule_pb2.RunScheduleResponse:
        check_resource_name(request.name)
        await self._check_seen(request.name, context)
        check_run_id(request.request_id)
        known, _ = await self._table.read(request.name)
        now = self._store.now()
        task = run_request(known, now, request.request_id)
        submission = self._submissions.check(task, own_id=True)
        result = accepted((await self._submissions.store([submission]))[0], task.request_id)

        def ran(schedule: schedule_pb2.Schedule) -> bool:
            if schedule.uid != known.uid or result.existed:
                return False
            note_tick(schedule, now, Fate.SUBMITTED, task_id=result.task_id, manual=True)
            return True

        # Deleted since: the task is stored all the same.
        with contextlib.suppress(NotFound):
            await self._table.change(request.name, ran)
        (record,) = await self._store.get([result.task_id], payloads=False)
        if record is None:
            raise refusals.task_not_found(result.task_id)
        return schedule_pb2.RunScheduleResponse(
            task=codec.task(record, task_pb2.TASK_VIEW_BASIC), existed=result.existed
        )

    async def _check_seen(self, name: str, context: Context) -> None:
        """
        Raises:
            NotFound: SCHEDULE_NOT_FOUND, also for a schedule whose method is out of the caller's scope.
        """
        caller = self._edge.caller(context)
        if not caller.sees_all and not caller.sees((await self._table.read(name))[0].spec.method):
            raise refusals.schedule_not_found(name)

    def _check(self, schedule: schedule_pb2.Schedule, now: float) -> None:
        """Refuse a schedule whose spec is wrong, also for its method.

        Raises:
            WeftError: as `CreateSchedule` says.
        """
        check_spec(schedule.spec, now)
        try:
            self._submissions.check(tick_request(schedule, now), own_id=True)
        except (InvalidArgument, TooLarge) as error:
            # Of the task's request: here that is within the spec. Broken rules name fields of the payload.
            if error.reason != errors_pb2.ERROR_REASON_RULES_VIOLATED:
                error.field = f"spec.{error.field or 'payload'}"
            raise


def _start(schedule: schedule_pb2.Schedule, now: float) -> None:
    """Set the first tick after now."""
    timing = timing_of(schedule)
    set_next_tick(schedule, timing, timing.next_after(now), now)
