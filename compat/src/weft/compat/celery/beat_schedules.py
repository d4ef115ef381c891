"""`apply_beat`: the periodic tasks of an app as schedules of a mesh, in the place of `celery beat`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.schedules import crontab, maybe_schedule, schedule

from weft.celery.v1.celery_pb2 import TaskCall, TaskReturn
from weft.client import Cron, Every, Method, OverlapPolicy, Schedule, ScheduleOptions
from weft.client.sync import SyncMesh
from weft.compat.celery.adoption import adopt
from weft.compat.celery.app_mesh import mesh_of_app, options_of
from weft.compat.celery.call_messages import TaskMessage
from weft.compat.celery.task_names import method_name
from weft.rpc.errors import AlreadyExists

_NO_NAME = re.compile(r"[^A-Za-z0-9._/-]")
_PREFIX = "celery/"
_DAYS = frozenset(range(7))
_MONTH_DAYS = frozenset(range(1, 32))


def apply_beat(app: Celery, mesh: SyncMesh | None = None) -> list[Schedule]:
    """Store the app's periodic tasks (`beat_schedule`, `add_periodic_task`) as schedules of the mesh, named `celery/NAME`.

    It may be repeated: entries that have changed are replaced. Schedules `celery/…` that the app does not have any more are deleted. Run it
    where the app is deployed.

    Args:
        app: the app; it is adopted, if it was not.
        mesh: a client of the mesh. Default: that of the app.

    Returns:
        The schedules.

    Raises:
        ValueError: an entry's schedule cannot be one of weft's; the message names it. Nothing is stored then.
        WeftError: a coordinator refuses one.
    """
    adopt(app)
    app.finalize()
    client = mesh_of_app(app).client if mesh is None else mesh
    entries = [_entry(app, name, entry) for name, entry in sorted(app.conf.beat_schedule.items())]
    made = [_stored(client, *entry) for entry in entries]
    names = {each.name for each in made}
    for name in [each.name for each in client.schedules.list() if each.name.startswith(_PREFIX)]:
        if name not in names:
            client.schedules.delete(name)
    return made


def timing_of(app: Celery, name: str, given: Any) -> Cron | Every:
    """When a periodic task runs.

    Raises:
        ValueError: weft has no such schedule.
    """
    found = maybe_schedule(given, app=app)
    if isinstance(found, crontab):
        if set(found.day_of_month) != _MONTH_DAYS and set(found.day_of_week) != _DAYS:
            raise ValueError(
                f"beat_schedule[{name!r}] names days of the month and of the week. Celery takes days that are both, cron those that are"
                " either: look at the day in the task, or make two entries"
            )
        fields = (
            (found.minute, range(60)),
            (found.hour, range(24)),
            (found.day_of_month, _MONTH_DAYS),
            (found.month_of_year, range(1, 13)),
            (found.day_of_week, _DAYS),
        )
        return Cron(" ".join(_field(chosen, all_) for chosen, all_ in fields), _time_zone(app))
    if isinstance(found, schedule) and found.seconds >= 1:
        return Every(found.seconds)
    raise ValueError(
        f"beat_schedule[{name!r}] runs by {found!r}: weft has crontab and intervals of at least 1 s; let a task that runs"
        " often look at the time, or run `celery beat` for this entry"
    )


def _field(chosen: Iterable[int], all_: Iterable[int]) -> str:
    return "*" if set(chosen) == set(all_) else ",".join(map(str, sorted(chosen)))


def _time_zone(app: Celery) -> str:
    zone = str(app.timezone)
    return "" if zone == "UTC" else zone


def _entry(app: Celery, name: str, entry: Any) -> tuple[str, str, TaskCall, Cron | Every, ScheduleOptions]:
    timing = timing_of(app, name, entry["schedule"])
    task, args, kwargs = entry["task"], entry.get("args") or (), entry.get("kwargs") or {}
    options = dict(entry.get("options") or {})
    expires = options.pop("expires", None)
    if expires is not None and not isinstance(expires, int | float):
        raise ValueError(f"beat_schedule[{name!r}] has expires {expires!r}: give a number of seconds")
    limits = [options.pop("time_limit", None), options.pop("soft_time_limit", None)]
    routed = app.amqp.router.route(options, task, args, kwargs, app.tasks.get(task))
    queue = routed.get("queue")
    message = TaskMessage(
        task,
        args,
        kwargs,
        {"timelimit": limits} if any(limits) else {},
        queue=str(getattr(queue, "name", queue or app.conf.task_default_queue)),
        priority=routed.get("priority", app.conf.task_default_priority),
    )
    # Celery's beat does not look at whether the last one has ended.
    how: ScheduleOptions = {"overlap": OverlapPolicy.ALLOW}
    how.update(options_of(message, datetime.now(UTC)))  # type: ignore[typeddict-item]
    if expires is not None:
        how["schedule_to_start_s"] = float(expires)
    return _PREFIX + _NO_NAME.sub("_", name), task, message.to_call(), timing, how


def _stored(
    client: SyncMesh, name: str, task: str, call: TaskCall, timing: Cron | Every, how: ScheduleOptions
) -> Schedule:
    method = Method.of(method_name(task), TaskCall, TaskReturn)
    try:
        return client.schedules.create(name, method, call, timing, **how)
    except AlreadyExists:
        return client.schedules.update(name, method, call, timing, **how)
