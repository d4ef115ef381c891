"""The metrics of a coordinator: names, units and meanings. docs/how-to/metrics.md has the same table, and a test compares."""

from __future__ import annotations

from weft.rpc.telemetry.figures import MetricSpec
from weft.rpc.telemetry.quantiles import finer

# From a millisecond to a day: waits of tasks, and runs of handlers.
TASK_BOUNDS_S = (0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 300.0, 3600.0, 86400.0)
# The same for statistics, from a quarter of a millisecond.
FINE_TASK_BOUNDS_S = finer(TASK_BOUNDS_S, 0.00025)
# From 50 µs to 5 s: work of weft's own.
QUICK_BOUNDS_S = (0.00005, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0)
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)

METHOD, OUTCOME, REASON, STATE, LIMIT, OF = "method", "outcome", "reason", "state", "limit", "of"

# -- tasks, by method: what this coordinator has done ------------------------------------------------------------------------

SUBMITTED = MetricSpec("weft.tasks.submitted", "counter", "{task}", "Tasks that were stored here.", (METHOD,))
ENDED = MetricSpec(
    "weft.tasks.ended",
    "counter",
    "{task}",
    "Tasks that ended here, by outcome: succeeded, failed or cancelled.",
    (METHOD, OUTCOME),
)
ATTEMPTS = MetricSpec(
    "weft.attempts.ended",
    "counter",
    "{attempt}",
    "Attempts that ended here, by reason: succeeded, failed, cancelled, timed_out, crashed (its process died), lost (with its"
    " agent) or released (not started).",
    (METHOD, REASON),
)
RETRIED = MetricSpec(
    "weft.tasks.retried", "counter", "{task}", "Tasks queued again after a failed attempt.", (METHOD,)
)
RERUN = MetricSpec(
    "weft.tasks.rerun", "counter", "{task}", "Tasks queued again after a crashed or lost attempt.", (METHOD,)
)
WAIT = MetricSpec(
    "weft.task.wait.duration",
    "histogram",
    "s",
    "How long a ready task waited for its attempt.",
    (METHOD,),
    TASK_BOUNDS_S,
    FINE_TASK_BOUNDS_S,
)
RUN = MetricSpec(
    "weft.attempt.duration",
    "histogram",
    "s",
    "From the assignment of an attempt to its report.",
    (METHOD,),
    TASK_BOUNDS_S,
    FINE_TASK_BOUNDS_S,
)
STALE = MetricSpec(
    "weft.results.refused",
    "counter",
    "{result}",
    "Late results that were refused: the attempt was not valid any more.",
)

# -- queues: the whole store's, so that all coordinators of a store tell the same ------------------------------------------------

QUEUE = MetricSpec(
    "weft.queue.tasks",
    "gauge",
    "{task}",
    "Unfinished tasks of the store, by state: queued (those of the next two included), limited (waits for a run limit or a lock),"
    " without_agent (no agent will take them unless somebody acts), scheduled or running.",
    (METHOD, STATE),
)
OLDEST = MetricSpec(
    "weft.queue.oldest.age", "gauge", "s", "Age of the oldest ready task of the store.", (METHOD,)
)
UNFINISHED = MetricSpec("weft.tasks.unfinished", "gauge", "{task}", "Unfinished tasks of the store.")

# -- agents connected here ---------------------------------------------------------------------------------------------------------

SESSIONS = MetricSpec("weft.sessions", "gauge", "{session}", "Agents that are connected to this coordinator.")
SLOTS = MetricSpec(
    "weft.slots", "gauge", "{slot}", "Slots of the agents connected here, by state: used or free.", (STATE,)
)
LEASES_LOST = MetricSpec(
    "weft.leases.lost",
    "counter",
    "{lease}",
    "Leases that ended because their agent was silent or did not come back.",
)
FAILING = MetricSpec(
    "weft.agents.failing", "gauge", "{agent}", "Agents connected here whose attempts keep failing."
)

# -- the coordinator's own work ------------------------------------------------------------------------------------------------------

PASSES = MetricSpec(
    "weft.dispatch.duration",
    "histogram",
    "s",
    "Dispatch passes: each plans, claims and assigns.",
    (),
    QUICK_BOUNDS_S,
)
PLACEMENTS = MetricSpec(
    "weft.placement.passes",
    "counter",
    "{pass}",
    "Dispatch passes that a placement plug-in was to plan, by outcome: used, failed, late, or rested (it was not asked, after a failure). Without"
    " a plug-in there is none.",
    (OUTCOME,),
)
STORE_WRITE = MetricSpec(
    "weft.store.write.duration",
    "histogram",
    "s",
    "Writes of the store: a commit of the file, or a round trip of scripts to Redis.",
    (),
    QUICK_BOUNDS_S,
)
STORE_BATCH = MetricSpec(
    "weft.store.write.size",
    "histogram",
    "{item}",
    "Items of one write: rows of a commit, or scripts of a round trip.",
    (),
    BATCH_BOUNDS,
)
WRITABLE = MetricSpec("weft.store.writable", "gauge", "{store}", "1 while the store takes writes, else 0.")
LIMITS_HIT = MetricSpec(
    "weft.limits.hit",
    "counter",
    "{call}",
    "Calls and tasks refused at a limit: run_limit, queued_tasks, queues_per_method, queue_wait, budget, calls or watchers.",
    (LIMIT,),
)
AUDIT_LOST = MetricSpec(
    "weft.audit.lost",
    "counter",
    "{event}",
    "Events of the audit that were never written, by place (file, store or otlp): for too long it could not be written.",
    ("place",),
)
AUDIT_WAITING = MetricSpec(
    "weft.audit.waiting",
    "gauge",
    "{event}",
    "Events of the audit that have not been written yet, by place (file, store or otlp): many, if it cannot be written.",
    ("place",),
)
HOOK_REQUESTS = MetricSpec(
    "weft.hook.requests",
    "counter",
    "{request}",
    "Requests for webhooks, by outcome: accepted, repeated, filtered, unsigned, failed or unknown (there is no such hook).",
    (OUTCOME,),
)
CALLERS_LIMITED = MetricSpec(
    "weft.callers.limited",
    "counter",
    "{call}",
    "Calls and tasks refused at a limit of their caller or of its namespace, by limit (calls_per_s, open_calls, open_streams, bytes_per_s or"
    " queued_tasks) and of (caller or namespace).",
    (LIMIT, OF),
)
STICKY_SESSIONS = MetricSpec(
    "weft.sticky_sessions",
    "counter",
    "{session}",
    "Sticky sessions that have begun or moved to another agent here, and calls and tasks whose session was lost, by change (begun, moved or lost).",
    ("change",),
)
WATCHERS = MetricSpec("weft.watchers", "gauge", "{stream}", "Streams that follow a task.")
CALLS = MetricSpec("weft.calls.waiting", "gauge", "{call}", "Transparent calls that wait here.")
LAG = MetricSpec(
    "weft.event_loop.lag",
    "histogram",
    "s",
    "How late a timer of the event loop fires; measured twice a second.",
    (),
    QUICK_BOUNDS_S,
)

COORDINATOR_METRICS = (
    SUBMITTED,
    ENDED,
    ATTEMPTS,
    RETRIED,
    RERUN,
    WAIT,
    RUN,
    STALE,
    QUEUE,
    OLDEST,
    UNFINISHED,
    SESSIONS,
    SLOTS,
    LEASES_LOST,
    FAILING,
    PASSES,
    PLACEMENTS,
    STORE_WRITE,
    STORE_BATCH,
    WRITABLE,
    LIMITS_HIT,
    CALLERS_LIMITED,
    HOOK_REQUESTS,
    AUDIT_LOST,
    AUDIT_WAITING,
    STICKY_SESSIONS,
    WATCHERS,
    CALLS,
    LAG,
)
