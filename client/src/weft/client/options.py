"""Options of a task: as arguments, as `TaskOptions`, and as metadata of a plain call."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from weft.client.sticky_session import StickySession, as_session
from weft.rpc.calls import call_context
from weft.rpc.calls import metadata as entries
from weft.rpc.calls.call_keys import RETRY_KEY
from weft.rpc.calls.metadata import AGENT_KEY, NO_WAIT_KEY, RETRY_MARK, STEP_ANEW_KEY, STEP_KEY
from weft.rpc.calls.tree_budgets import BUDGET_KEY, text_of
from weft.rpc.similar_names import similar_names
from weft.rpc.task_policy.method_options import Lock, as_locks
from weft.rpc.task_policy.retry_policy import RetryPolicy
from weft.rpc.telemetry import trace_headers
from weft.rpc.times import optional_duration
from weft.v1 import options_pb2, task_pb2

Metadata = Sequence[tuple[str, str | bytes]]


class SubmitOptions(TypedDict, total=False):
    """Options of `submit` and `submit_many`. Each one is optional; limits in seconds."""

    # 0 to 9, higher first.
    priority: int
    # Wait this long before the task is ready.
    delay_s: float
    # Limits: to the first attempt's start; of one attempt; of everything.
    schedule_to_start_s: float
    start_to_close_s: float
    schedule_to_close_s: float
    retry: RetryPolicy
    # Requirements on the agent: these labels, and at least these resources.
    require_labels: Mapping[str, str]
    require_resources: Mapping[str, float]
    # The id of the one agent that may run the task. NotFound is raised at once if no agent has it, and Unimplemented if that
    # agent does not host the method.
    agent_id: str
    # Raise FailedPrecondition at once (NO_AGENT_MATCHES) if no connected agent can run the task.
    no_wait: bool
    # False: run by itself, although the method's policy has a cache.
    cache: bool
    # The handler sees it as its call's metadata.
    metadata: Metadata
    # How long the outcome is kept, of a task that succeeded or was cancelled, and of a failed one.
    result_ttl_s: float
    failure_ttl_s: float
    # Tasks with different keys have the queue's capacity in turns; the weight is the key's share (1).
    fairness_key: str
    fairness_weight: float
    # Locks that the task holds while it runs, by name or as `Lock`; at most 8.
    locks: Sequence[Lock | str]
    # Amounts of the agent's resources that the task uses while it runs, such as {"gpu": 1}.
    consumes: Mapping[str, float]
    # How much the task and all calls below it may use, by unit, such as {"tokens": 10000, "active_s": 60}. When it is spent, new tasks below it
    # are refused: LimitReached (BUDGET_SPENT).
    budget: Mapping[str, float]
    # The group that the task belongs to. FailedPrecondition is raised if it is closed.
    group: str
    # The sticky session that the task belongs to: one agent runs the tasks of a session. A key, or a `StickySession`. Of a hard session, Aborted
    # is raised once its agent's process is gone (STICKY_SESSION_LOST).
    session: StickySession | str


def task_options(
    options: SubmitOptions, *, inherits: bool = True, step_of: str = ""
) -> task_pb2.TaskOptions | None:
    """The options as a message; None if nothing is set.

    Args:
        inherits: with the trace context of the active span; a handler's submissions inherit the rest of its call's deadline, and
            its tree of calls.
        step_of: the submitted method, if the submission may be a remembered step of the handler that makes it.

    Raises:
        TypeError: an option that does not exist.
    """
    for name in options.keys() - SubmitOptions.__annotations__.keys():
        near = similar_names(name, SubmitOptions.__annotations__)
        raise TypeError(
            f"{name!r} is not an option of a task{f': did you mean {near[0]!r}?' if near else ''}"
        )
    traced = trace_headers.current() if inherits else {}
    inherited = call_context.current() if inherits else None
    if not options and not traced and inherited is None:
        return None
    to_close_s = options.get("schedule_to_close_s")
    if inherited is not None:
        to_close_s = inherited.bounded_s(to_close_s, time.monotonic())
        traced = traced or inherited.trace_headers()
    retry = options.get("retry")
    labels, resources = options.get("require_labels"), options.get("require_resources")
    context = _context(options, traced, inherited)
    if step_of:
        _name_step(context, step_of, options.get("metadata", ()))
    message = task_pb2.TaskOptions(
        priority=options.get("priority"),
        delay=optional_duration(options.get("delay_s")),
        limits=_time_limits(options, to_close_s),
        retry=None if retry is None else retry.to_proto(),
        requirements=options_pb2.Requirements(labels=labels, resources=resources),
        context=context,
        result_ttl=optional_duration(options.get("result_ttl_s")),
        failure_ttl=optional_duration(options.get("failure_ttl_s")),
        fairness_key=options.get("fairness_key"),
        fairness_weight=options.get("fairness_weight"),
        locks=[lock.to_proto() for lock in as_locks(options.get("locks", ()))],
        consumes=options.get("consumes"),
        budget=options.get("budget"),
    )
    if (no_wait := options.get("no_wait")) is not None:
        message.no_wait = no_wait
    message.agent_id = options.get("agent_id", "")
    message.group = options.get("group", "")
    message.no_cache = not options.get("cache", True)
    if (session := options.get("session")) is not None:
        message.session.CopyFrom(as_session(session).to_proto())
    return message


def _context(
    options: SubmitOptions, traced: Mapping[str, str], inherited: call_context.CallContext | None
) -> task_pb2.CallContext:
    context = task_pb2.CallContext(
        metadata=entries.to_proto(options.get("metadata", ())),
        traceparent=traced.get("traceparent", ""),
        tracestate=traced.get("tracestate", ""),
        baggage=traced.get("baggage", ""),
    )
    if inherited is not None:
        context.root_id, context.parent_id = inherited.root_id, inherited.parent_id
        context.budgets.extend(map(task_pb2.TreeBudget.FromString, inherited.budgets))
    return context


def _time_limits(options: SubmitOptions, to_close_s: float | None) -> options_pb2.TimeLimits:
    return options_pb2.TimeLimits(
        schedule_to_start=optional_duration(options.get("schedule_to_start_s")),
        start_to_close=optional_duration(options.get("start_to_close_s")),
        schedule_to_close=optional_duration(to_close_s),
    )


def _name_step(context: task_pb2.CallContext, method: str, given: Metadata) -> None:
    """Make a submission a remembered step of the handler that makes it, if that remembers its calls, or the submission has a step's name."""
    asked = any(key == STEP_KEY for key, _ in given)
    if (steps := call_context.steps(asked=asked)) is not None:
        named = {**dict(given), **dict(steps.name_of(method, given))}
        context.step, context.step_anew = str(named.get(STEP_KEY, "")), STEP_ANEW_KEY in named


def call_options(
    *,
    request_id: str | None = None,
    step: str | None = None,
    priority: int | None = None,
    delay_s: float | None = None,
    require: str | Mapping[str, str | float] | None = None,
    agent: str | None = None,
    detach: bool = False,
    no_wait: bool | None = None,
    cache: bool = True,
    retry: RetryPolicy | None = None,
    schedule_to_start_s: float | None = None,
    start_to_close_s: float | None = None,
    result_ttl_s: float | None = None,
    fairness_key: str | None = None,
    group: str | None = None,
    locks: Sequence[Lock | str] = (),
    consumes: Mapping[str, float] | None = None,
    budget: Mapping[str, float] | None = None,
    session: StickySession | str | None = None,
    retry_unavailable: bool = False,
    metadata: Metadata = (),
) -> tuple[tuple[str, str | bytes], ...]:
    """Metadata with the options of a plain call: `stub.Method(request, metadata=call_options(...))`.

    All but the last two and `session` are for durable calls; a direct call with any of them is refused.

    Args:
        request_id: calls with the same id and the same request are one task; `step`: in a handler: the call's name among its steps.
        priority: 0 to 9, higher first; `delay_s`: wait this long before the task is ready; `detach`: answer at once with an empty
            response; the trailer `weft-task-id` names the task.
        require: requirements on the agent: {"zone": "eu", "gpu": 1} (a number: at least), or the text "zone=eu,gpu>=1".
        agent: the id of the one agent that may run the task; `retry`: when to try again.
        no_wait: fail at once if no connected agent can run the task. None: as its policy says; `cache`: False: run by itself, without its cache.
        schedule_to_start_s: time until the first attempt's start; `start_to_close_s`: of an attempt; `result_ttl_s`: the result is kept so long.
        fairness_key: tasks with different keys have the queue's capacity in turns; `group`: the task's group, by name; `locks`: locks that
            the task holds while it runs, by name or as `Lock`; `consumes`: amounts of the agent's resources that it uses;
            `budget`: how much the task and all calls below it may use: {"tokens": 10000}; `session`: its sticky session, a key or a `StickySession`.
        retry_unavailable: for direct calls: it may run twice, at another agent; `metadata`: the caller's own entries, for the handler.
    """
    given = {
        "weft-request-id": request_id,
        STEP_KEY: step,
        "weft-priority": None if priority is None else str(priority),
        "weft-delay": _seconds(delay_s),
        "weft-require": require if require is None or isinstance(require, str) else _requirements(require),
        AGENT_KEY: agent,
        "weft-detach": "true" if detach else None,
        NO_WAIT_KEY: None if no_wait is None else str(no_wait).lower(),
        "weft-cache": None if cache else "off",
        RETRY_KEY: None if retry is None else retry.to_text(),
        "weft-schedule-to-start": _seconds(schedule_to_start_s),
        "weft-start-to-close": _seconds(start_to_close_s),
        "weft-result-ttl": _seconds(result_ttl_s),
        "weft-fairness-key": fairness_key,
        "weft-group": group,
    }
    own = (*_said(given), *_held(locks, consumes, budget, session))
    return (*metadata, *own, *((RETRY_MARK,) if retry_unavailable else ()), *trace_headers.current().items())


def _held(
    locks: Sequence[Lock | str],
    consumes: Mapping[str, float] | None,
    budget: Mapping[str, float] | None,
    session: StickySession | str | None,
) -> Iterable[tuple[str, str | bytes]]:
    """What a task holds while it runs, its budget, and the session that it belongs to, as metadata."""
    if budget:
        yield BUDGET_KEY, text_of(budget)
    if session is not None:
        yield from as_session(session).to_metadata()
    for lock in as_locks(locks):
        key = "weft-state-lock" if lock.state else "weft-shared-lock" if lock.shared else "weft-lock"
        yield key, lock.name
    if consumes:
        yield "weft-consume", ",".join(f"{name}={amount!r}" for name, amount in consumes.items())


def _said(given: Mapping[str, str | None]) -> Iterable[tuple[str, str | bytes]]:
    # Without requirements, amounts or parts of a retry policy there is nothing to say.
    unsaid = {"weft-require", "weft-consume", RETRY_KEY}
    for key, value in given.items():
        if value or (value is not None and key not in unsaid):
            yield key, value


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def _requirements(wanted: Mapping[str, str | float]) -> str:
    return ",".join(
        f"{key}={value}" if isinstance(value, str) else f"{key}>={value:g}" for key, value in wanted.items()
    )
