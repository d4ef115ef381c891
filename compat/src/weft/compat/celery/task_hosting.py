"""`agent`: an agent that hosts all tasks of an app as methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from celery import Celery, signals
from celery.utils.time import rate as rate_of

from weft.agent import Agent, HostingError, MethodOptions, RunLimit
from weft.celery.v1.celery_pb2 import TaskCall, TaskReturn
from weft.compat.celery.adoption import adopt
from weft.compat.celery.celery_settings import not_carried
from weft.compat.celery.task_names import TAKES, method_name, queue_label
from weft.compat.celery.task_runner import TaskRunner
from weft.rpc.process.logs import get_logger
from weft.rpc.times import MAX_DURATION_S

_log = get_logger("weft.compat.celery")


def agent(app: Celery, *, queues: Iterable[str] = ()) -> Agent:
    """An agent that hosts the tasks of an app, each as a method: `proj.tasks.add` as `celery.proj.tasks/add`.

    Modules of tasks are imported as a worker imports them (`include`, `imports`, `autodiscover_tasks`). Tasks run in threads.

    Args:
        app: the app; it is adopted, if it was not.
        queues: those from which it takes. Default: those of `task_queues`, or else `task_default_queue`.

    Raises:
        HostingError: a serializer is not JSON, two tasks would be one method, or a rate limit cannot be read.
    """
    adopt(app)
    # What `shared_task` and signatures use, in all threads.
    app.set_current()
    app.set_default()
    app.loader.import_default_modules()
    app.finalize()
    _check_serializers(app)
    made = Agent(slots=app.conf.worker_concurrency if isinstance(app.conf.worker_concurrency, int) else None)
    labels = {queue_label(queue): TAKES for queue in _queues(app, queues)}
    made.configure(labels={**made.settings.labels, **labels})
    runner = TaskRunner(app, lambda: made.id)
    hosted: dict[str, str] = {}
    for name, task in sorted(app.tasks.items()):
        method = method_name(name)
        if (other := hosted.setdefault(method, name)) != name:
            raise HostingError(f"the tasks {other} and {name} are both the method {method}: rename one")
        made.method(method, **_options(app, task))(_handler(runner, name))
    _send_signals(made)
    for setting, why in not_carried(app.conf):
        _log.warning("celery.setting_not_carried", setting=setting, effect=why)
    return made


def _check_serializers(app: Celery) -> None:
    for setting in ("task_serializer", "result_serializer"):
        if (found := app.conf[setting]) != "json":
            raise HostingError(f"{setting} is {found!r}, and weft carries JSON: set {setting}='json'")


def _queues(app: Celery, chosen: Iterable[str]) -> list[str]:
    return list(chosen) or list(app.amqp.queues.consume_from)


def _handler(runner: TaskRunner, task: str) -> Callable[[TaskCall], TaskReturn]:
    def run_task(call: TaskCall) -> TaskReturn:
        return runner.run(task, call)

    return run_task


def _options(app: Celery, task: Any) -> MethodOptions:
    """A task's options as its method's."""
    made: MethodOptions = {}
    hard_s = task.time_limit or app.conf.task_time_limit
    if hard_s:
        made["start_to_close_s"] = float(hard_s)
    if task.soft_time_limit or app.conf.task_soft_time_limit:
        _log.warning("celery.soft_time_limit_not_carried", method=method_name(task.name))
    limit = task.rate_limit or app.conf.task_default_rate_limit
    if limit and not app.conf.worker_disable_rate_limits:
        try:
            made["run_limits"] = [RunLimit(max_rate_per_s=float(rate_of(limit)), burst=1)]
        except Exception:
            raise HostingError(f"{task.name}: the rate limit {limit!r} is none such as '10/m'") from None
    expires = app.conf.result_expires
    kept_s = expires.total_seconds() if isinstance(expires, timedelta) else expires
    # None, and 0, mean for ever.
    made["result_ttl_s"] = made["failure_ttl_s"] = min(
        max(float(kept_s or MAX_DURATION_S), 1.0), MAX_DURATION_S
    )
    return made


def _send_signals(made: Agent) -> None:
    """Send Celery's signals of workers, by which programs open and close what they need."""

    @made.on_start
    def started() -> None:
        signals.worker_init.send(sender=made)
        signals.worker_process_init.send(sender=None)
        signals.worker_ready.send(sender=made)

    @made.on_stop
    def stopped() -> None:
        signals.worker_shutting_down.send(sender=made.id, sig="SIGTERM", how="warm", exitcode=0)
        signals.worker_process_shutdown.send(sender=None, pid=0, exitcode=0)
        signals.worker_shutdown.send(sender=made)
