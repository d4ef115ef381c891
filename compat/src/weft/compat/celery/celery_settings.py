"""What each setting of Celery is in weft. The table of docs/deploy/migrate-celery.md is made of it, and a test asks for every setting of Celery."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


class SettingKind(enum.Enum):
    """What becomes of a setting."""

    # It holds as in Celery.
    HOLDS = "holds"
    # Something of weft does the same, or the setting is read as what it means there.
    IN_WEFT = "in weft"
    # It is of a broker, a result backend, or the processes of a worker, which are not there any more.
    GONE = "gone"
    # It changes what tasks do, and weft does not. An agent says so when the setting has another value than Celery's default.
    NOT_CARRIED = "not carried"


@dataclass(frozen=True, slots=True)
class CelerySetting:
    """One row of the table.

    Args:
        names: settings of Celery; `*` stands for any end.
        kind: what becomes of them.
        text: what it is in weft, or why not.
    """

    names: tuple[str, ...]
    kind: SettingKind
    text: str

    def has(self, setting: str) -> bool:
        return any(fnmatchcase(setting, name) for name in self.names)


def _row(names: str, kind: SettingKind, text: str) -> CelerySetting:
    return CelerySetting(tuple(names.split()), kind, text)


_HOLDS, _IN_WEFT, _GONE, _NOT = SettingKind

# The first row that has a setting counts.
SETTINGS: tuple[CelerySetting, ...] = (
    _row("imports include", _HOLDS, "modules of tasks, which agents import"),
    _row("enable_utc timezone", _HOLDS, "also the time zone of schedules"),
    _row("task_annotations", _HOLDS, "read where tasks are made, as always"),
    _row(
        "task_always_eager task_eager_propagates task_store_eager_result",
        _HOLDS,
        "tasks run in the caller, without a mesh",
    ),
    _row(
        "task_ignore_result task_store_errors_even_if_ignored",
        _HOLDS,
        "the task's end is kept, without its value; failures are always kept",
    ),
    _row(
        "task_routes task_queues task_default_queue task_create_missing_queues",
        _HOLDS,
        "a queue is a label `celery.queue.NAME=yes` of the agents that take from it (`--celery-queues`)",
    ),
    _row(
        "task_inherit_parent_priority task_default_priority",
        _HOLDS,
        "0 to 9, higher first, as with RabbitMQ; with Celery on Redis 0 is first. None: 5",
    ),
    _row("task_repr_maxlevels task_allow_error_cb_on_chord_header", _HOLDS, "used by Celery's own code"),
    _row(
        "result_chord_retry_interval result_chord_join_timeout",
        _HOLDS,
        "a chord's body is submitted by Celery's own `celery.chord_unlock`, which looks so often",
    ),
    _row("result_cache_max", _HOLDS, "results that a caller's process keeps"),
    _row(
        "accept_content result_accept_content task_serializer result_serializer",
        _IN_WEFT,
        "`json` alone; another serializer is refused where a task is sent",
    ),
    _row(
        "broker_url broker_read_url broker_write_url",
        _IN_WEFT,
        '`adopt(app, "host:7700")` or `WEFT_TARGET`; several coordinators with commas',
    ),
    _row(
        "broker_use_ssl redis_backend_use_ssl",
        _IN_WEFT,
        "`WEFT_TLS_CA`, `WEFT_TLS_CERT`, `WEFT_TLS_KEY`: [TLS](../how-to/tls.md)",
    ),
    _row(
        "broker_user broker_password broker_login_method",
        _IN_WEFT,
        "`WEFT_TOKEN`: [tokens](../how-to/tokens.md)",
    ),
    _row("broker_vhost", _IN_WEFT, "`WEFT_NAMESPACE`: [namespaces](../how-to/namespaces.md)"),
    _row(
        "broker_connection_* broker_pool_* broker_failover_strategy broker_heartbeat* broker_channel_error_retry",
        _IN_WEFT,
        "clients dial again, and other coordinators, by themselves",
    ),
    _row(
        "task_publish_retry task_publish_retry_policy",
        _IN_WEFT,
        "submissions are repeated safely for 30 s; then `delay` raises `OperationalError`",
    ),
    _row(
        "task_acks_late",
        _IN_WEFT,
        "always: a task is done when its result is stored, and runs again if its agent is lost before",
    ),
    _row(
        "task_reject_on_worker_lost task_retry_on_worker_lost",
        _IN_WEFT,
        "always: a task runs again; lost with its agent for the third time, it fails (`WorkerLostError`)",
    ),
    _row(
        "task_acks_on_failure task_acks_on_timeout task_acks_on_failure_or_timeout",
        _IN_WEFT,
        "always: a task that has failed, or was too slow, has ended",
    ),
    _row(
        "task_time_limit",
        _IN_WEFT,
        "`start_to_close_s` of the method: the attempt fails; its thread cannot be killed, and its slot stays used until it ends. A call may only shorten it",
    ),
    _row(
        "task_default_rate_limit worker_disable_rate_limits",
        _IN_WEFT,
        "a run limit of the method, over all agents; Celery's is each worker's own",
    ),
    _row("task_track_started", _IN_WEFT, "always: a running task is STARTED"),
    _row(
        "result_expires result_failure_expires",
        _IN_WEFT,
        "`result_ttl_s` and `failure_ttl_s` of the methods. None: 366 days",
    ),
    _row(
        "task_compression result_compression",
        _IN_WEFT,
        "`WEFT_PAYLOAD_COMPRESSION`, for both: [coded payloads](../how-to/secrecy.md)",
    ),
    _row(
        "security_*",
        _IN_WEFT,
        "payloads are encrypted by `WEFT_PAYLOAD_KEYS_FILE`: [secrecy](../how-to/secrecy.md)",
    ),
    _row("beat_schedule", _IN_WEFT, "[schedules](../how-to/schedules.md) of the mesh, by `apply_beat(app)`"),
    _row("beat_cron_starting_deadline", _IN_WEFT, "a schedule's catch-up window: 1 h"),
    _row(
        "beat_*",
        _GONE,
        "coordinators submit the tasks of schedules: there is no beat process, and no file of it",
    ),
    _row("worker_concurrency", _IN_WEFT, "slots of the agent, if it is a number (`--slots`)"),
    _row(
        "worker_prefetch_multiplier worker_disable_prefetch worker_enable_prefetch_count_reduction worker_eta_task_limit",
        _IN_WEFT,
        "`--prefetch`; tasks with a countdown wait at the coordinator",
    ),
    _row(
        "worker_soft_shutdown_timeout worker_enable_soft_shutdown_on_idle",
        _IN_WEFT,
        "`--drain-grace-s`: what has not ended then runs again elsewhere",
    ),
    _row(
        "worker_cancel_long_running_tasks_on_connection_loss",
        _IN_WEFT,
        "an agent goes on through a lost connection, and reports the result when it is back",
    ),
    _row("worker_autoscaler", _IN_WEFT, "[pools, KEDA or an HPA](scale.md)"),
    _row("worker_state_db", _IN_WEFT, "revoked tasks are cancelled durably"),
    _row(
        "worker_log_* worker_task_log_* worker_hijack_root_logger worker_redirect_stdouts*",
        _IN_WEFT,
        "[logs](../how-to/logs.md) of weft, as JSON or text; tasks' lines have the task's id",
    ),
    _row(
        "worker_send_task_events task_send_sent_event event_*",
        _IN_WEFT,
        "[events of tasks](../how-to/events.md), metrics and traces; there is no stream for Flower",
    ),
    _row(
        "worker_enable_remote_control control_*",
        _IN_WEFT,
        "[commands to agents](../how-to/command-agents.md); `app.control.revoke` works, other broadcasts say which command to use",
    ),
    _row("worker_deduplicate_successful_tasks", _IN_WEFT, "a task's result is stored once"),
    _row(
        "task_soft_time_limit",
        _NOT,
        "tasks run in threads, where no exception can be raised from outside: look at `weft.agent.current_task().time_remaining()`",
    ),
    _row(
        "worker_max_tasks_per_child worker_max_memory_per_child",
        _NOT,
        "tasks run in threads of one process: restart agents (`weft agents restart`), or host what leaks as an [isolated function](../how-to/host-methods.md)",
    ),
    _row(
        "task_remote_tracebacks",
        _NOT,
        "the traceback is a text (`AsyncResult.traceback`), and no part of the exception",
    ),
    _row(
        "result_extended",
        _NOT,
        "name and arguments are in the task (`weft tasks get`), and not in `AsyncResult.args`",
    ),
    _row("worker_direct", _NOT, "a task for one agent is submitted with weft's own `agent_id`"),
    _row(
        "task_protocol task_default_exchange* task_default_routing_key task_default_delivery_mode task_default_queue_type task_create_missing_queue_type task_create_missing_queue_exchange_type task_queue_max_priority",
        _GONE,
        "of AMQP: weft has no exchanges, and all tasks are durable",
    ),
    _row("broker_*", _GONE, "there is no broker"),
    _row("result_*", _GONE, "results are in the mesh's store"),
    _row(
        "arangodb_* azureblockblob_* cache_* cassandra_* cosmosdbsql_* couchbase_* database_* elasticsearch_* gcs_* mongodb_* redis_* s3_*",
        _GONE,
        "results are in the mesh's store",
    ),
    _row("worker_*", _GONE, "there is no worker process with children: agents run tasks in threads"),
)


# A link of Markdown.
_LINK = re.compile(r"\[(.+?)\]\(.+?\)")


def setting_row(setting: str) -> CelerySetting | None:
    """The row of a setting; None: the table does not have it."""
    return next((row for row in SETTINGS if row.has(setting)), None)


def not_carried(conf: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of an app that change what tasks do, and are not carried, with the reason of each."""
    from celery.app.defaults import DEFAULTS

    for setting, default in sorted(DEFAULTS.items()):
        row = setting_row(setting)
        if (
            row is not None
            and row.kind is SettingKind.NOT_CARRIED
            and conf.get(setting) not in {default, None}
        ):
            yield setting, _LINK.sub(r"\1", row.text)


def table() -> str:
    """The table as Markdown."""
    lines = ["| setting | | what it is in weft |", "|---|---|---|"]
    for row in SETTINGS:
        names = ", ".join(f"`{name}`" for name in row.names)
        lines.append(f"| {names} | {row.kind.value} | {row.text} |")
    return "\n".join(lines) + "\n"
