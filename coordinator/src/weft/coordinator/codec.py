"""Converts between messages of the contract and records of the store. Requests are checked here, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from weft.coordinator.contracts.coded_request import CodedRequest
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.policy.cached_requests import may_share, share
from weft.coordinator.policy.method_policy import MethodPolicy
from weft.coordinator.policy.option_values import requirements, retry_policy
from weft.coordinator.policy.policy_use import all_locks, apply, with_fallbacks
from weft.coordinator.request_checks import check_resource_name
from weft.coordinator.steps import remembered_calls
from weft.coordinator.sticky import sticky_codec
from weft.coordinator.store import history
from weft.coordinator.store.fairness import MAX_WEIGHT, MIN_WEIGHT
from weft.coordinator.store.records import ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import (
    AGENT_ID_LABEL,
    ANY_AGENT,
    DEFAULT_PRIORITY,
    DEFAULT_RETRY,
    HIGHEST_PRIORITY,
    MAX_AGENT_ID,
    Requirements,
)
from weft.coordinator.store.run_limits import LockClaim
from weft.coordinator.store.task_ids import request_digest
from weft.coordinator.told_options import told_options
from weft.coordinator.usage import task_budgets
from weft.rpc import refusals
from weft.rpc.errors import NotFound, ResourceExhausted, Unimplemented
from weft.rpc.security.token_metadata import shows_token
from weft.rpc.task_policy.key_paths import DeepMessage
from weft.rpc.task_policy.option_checks import (
    LEAST_TTL_S,
    MAX_LOCKS,
    check_consumes,
    check_lock_name,
    check_lock_state,
    time_limit,
)
from weft.rpc.times import checked_duration, timestamp
from weft.v1 import options_pb2, task_pb2

MAX_FAIRNESS_KEY = 256


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults of a request's options, and the bounds on its size."""

    result_ttl_s: float
    failure_ttl_s: float
    max_payload_bytes: int
    max_metadata_bytes: int
    no_wait: bool = False


def packed_headers(entries: Sequence[task_pb2.Metadatum]) -> bytes:
    """The initial metadata of a stream, as stores keep it; empty for none."""
    return task_pb2.ProgressEvent(headers=entries).SerializeToString() if entries else b""


def progress_event(row: ProgressRow) -> task_pb2.ProgressEvent:
    """A stored response, for watchers."""
    event = task_pb2.ProgressEvent.FromString(row.headers)
    event.sequence, event.attempt, event.payload = row.sequence, row.attempt, row.payload
    return event


def not_durable(method: str) -> Unimplemented:
    return refusals.method_not_durable(
        f"{method} takes a stream of requests and cannot be a task: call it directly, on the coordinator's port"
        " with the metadata weft-mode: direct"
    )


def submission(
    info: MethodInfo,
    payload: bytes,
    request_id: str,
    options: task_pb2.TaskOptions | None,
    policy: MethodPolicy | None,
    defaults: Defaults,
    task_id: str,
    *,
    generated_id: bool = False,
    fallbacks: Sequence[tuple[str, MethodPolicy | None]] = (),
) -> Submission:
    """A checked submission: the call's own options, then its method's policy, then the defaults.

    Args:
        request_id: the caller's, checked; or one that the coordinator made.
        generated_id: weft's library made the request id. Its repeats have the very same bytes, and need no canonical form.
        fallbacks: the methods that may run it instead, in order, with their policies.

    Raises:
        InvalidArgument: INVALID_FIELD with the field's path, PAYLOAD_MALFORMED, or RULES_VIOLATED.
        ResourceExhausted: PAYLOAD_TOO_LARGE. Unimplemented: METHOD_NOT_DURABLE.
    """
    if not info.durable:
        raise not_durable(info.name)
    if len(payload) > defaults.max_payload_bytes:
        raise _too_large(len(payload), defaults.max_payload_bytes)
    request = info.check_request(payload)
    if info.request_rules is not None and (policy is None or policy.check_rules):
        info.check_rules(request, len(payload))
    if options is None:
        given = Submission(
            info.name,
            payload,
            task_id,
            request_id,
            result_ttl_s=defaults.result_ttl_s,
            failure_ttl_s=defaults.failure_ttl_s,
            no_wait=defaults.no_wait,
        )
    else:
        given = _with_options(info.name, payload, request_id, options, defaults, task_id)
        generated_id = remembered_calls.remember(given, options.context, generated_id=generated_id)
    same_bytes = generated_id
    of_policy = () if policy is None else policy.budget
    if of_policy or (options is not None and (options.budget or options.context.budgets)):
        given.context += task_budgets.in_context(options, of_policy, task_id)
    if policy is not None:
        apply(policy, given, options, request, generated_id=generated_id)
        if fallbacks:
            _add_fallbacks(given, payload, options, defaults, request, fallbacks)
        same_bytes = same_bytes and given.request_id == request_id
        if policy.cache_ttl_s and (same_bytes or not given.request_id) and may_share(given, options):
            share(given, request_digest(info.name, info.request_form(request)), policy.cache_ttl_s)
            return given
    if given.request_id:
        # Only a request id needs the digest, to recognize its request.
        form = payload if same_bytes else info.request_form(request)
        given.request_digest = request_digest(info.name, form)
    return given


def _add_fallbacks(
    given: Submission,
    payload: bytes,
    options: task_pb2.TaskOptions | None,
    defaults: Defaults,
    request: Message | DeepMessage,
    fallbacks: Sequence[tuple[str, MethodPolicy | None]],
) -> None:
    if isinstance(request, CodedRequest):
        raise request.bound_to_its_method(fallbacks[0][0])
    said = options or task_pb2.TaskOptions()
    others = (
        (_with_options(name, payload, "", said, defaults, given.task_id), policy)
        for name, policy in fallbacks
    )
    given.alternatives = with_fallbacks(given, others, options, request)


def _too_large(size_bytes: int, most_bytes: int) -> ResourceExhausted:
    return refusals.payload_too_large(
        f"the request is {size_bytes} bytes; the limit is {most_bytes}",
        size_bytes=size_bytes,
        limit_bytes=most_bytes,
    )


def _with_options(
    method: str,
    payload: bytes,
    request_id: str,
    options: task_pb2.TaskOptions,
    defaults: Defaults,
    task_id: str,
) -> Submission:
    priority = options.priority if options.HasField("priority") else DEFAULT_PRIORITY
    if priority > HIGHEST_PRIORITY:
        raise refusals.invalid_field(
            f"options.priority is {priority}; it must be 0 to {HIGHEST_PRIORITY}", field="options.priority"
        )
    limits = options.limits
    context = options.context.SerializeToString() if options.HasField("context") else b""
    session = None
    if options.HasField("session") or options.context.HasField("session"):
        session = sticky_codec.of_options(options)
        context += sticky_codec.in_context(session)
    if b"weft_" in context and any(shows_token(each.key, each.value) for each in options.context.metadata):
        raise refusals.invalid_field(
            "the metadata of a task is stored, and this has a token: leave it out",
            field="options.context.metadata",
        )
    if len(context) > defaults.max_metadata_bytes:
        raise refusals.payload_too_large(
            f"the call's metadata is {len(context)} bytes; the limit is {defaults.max_metadata_bytes}"
            " (the coordinator's setting max_metadata_bytes)",
            size_bytes=len(context),
            limit_bytes=defaults.max_metadata_bytes,
            field="options.context",
        )
    return Submission(
        method=method,
        payload=payload,
        task_id=task_id,
        request_id=request_id,
        priority=priority,
        delay_s=_duration(options, "delay", "options.delay") or 0.0,
        schedule_to_start_s=time_limit(limits, "schedule_to_start", "options.limits"),
        start_to_close_s=time_limit(limits, "start_to_close", "options.limits"),
        schedule_to_close_s=time_limit(limits, "schedule_to_close", "options.limits"),
        retry=retry_policy(options.retry, "options.retry") if options.HasField("retry") else DEFAULT_RETRY,
        requirements=_requirements(options),
        context=context,
        result_ttl_s=_duration(options, "result_ttl", "options.result_ttl", least_s=LEAST_TTL_S)
        or defaults.result_ttl_s,
        failure_ttl_s=_duration(options, "failure_ttl", "options.failure_ttl", least_s=LEAST_TTL_S)
        or defaults.failure_ttl_s,
        fairness_key=_fairness_key(options),
        fairness_weight=_fairness_weight(options),
        locks=_locks(options.locks) if options.locks else (),
        no_wait=options.no_wait if options.HasField("no_wait") else defaults.no_wait,
        agent_id=options.agent_id,
        group=options.group and check_resource_name(options.group, "options.group"),
        session=session,
    )


def _requirements(options: task_pb2.TaskOptions) -> Requirements:
    needed = ANY_AGENT
    if options.HasField("requirements"):
        needed = requirements(options.requirements, "options.requirements")
    if options.consumes:
        check_consumes(options.consumes, "options.consumes")
        needed = needed._replace(consumes=tuple(sorted(options.consumes.items())))
    if options.agent_id:
        needed = _for_agent(options.agent_id, needed)
    return needed


def _for_agent(agent_id: str, needed: Requirements) -> Requirements:
    labels = dict(needed.labels)
    if len(agent_id) > MAX_AGENT_ID or labels.setdefault(AGENT_ID_LABEL, agent_id) != agent_id:
        raise refusals.invalid_field(
            f"options.agent_id is {agent_id[:MAX_AGENT_ID]!r}; it must have at most {MAX_AGENT_ID} characters, and be the required"
            f" label {AGENT_ID_LABEL}, if that is given too",
            field="options.agent_id",
        )
    return needed._replace(labels=tuple(sorted(labels.items())))


def _locks(locks: Sequence[options_pb2.Lock]) -> tuple[LockClaim, ...]:
    option = "options.locks"
    if len(locks) > MAX_LOCKS:
        raise refusals.invalid_field(
            f"{option} has {len(locks)} locks; the most are {MAX_LOCKS}", field=option
        )
    for lock in locks:
        check_lock_name(lock.name, option)
        if lock.key:
            raise refusals.invalid_field(
                f"{option} has the key {lock.key[:128]!r}: keys are for methods' options, and a call gives whole names",
                field=option,
            )
        check_lock_state(lock, option)
    # A name that is given twice is one lock.
    return all_locks((LockClaim(lock.name, lock.shared, lock.state) for lock in locks), ())


def _fairness_key(options: task_pb2.TaskOptions) -> str:
    if len(options.fairness_key) > MAX_FAIRNESS_KEY:
        raise refusals.invalid_field(
            f"options.fairness_key has {len(options.fairness_key)} characters; the most are {MAX_FAIRNESS_KEY}",
            field="options.fairness_key",
        )
    return options.fairness_key


def _fairness_weight(options: task_pb2.TaskOptions) -> float:
    weight = options.fairness_weight or 1.0
    # A NaN is refused too.
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise refusals.invalid_field(
            f"options.fairness_weight is {weight:g}; it must be {MIN_WEIGHT:g} to {MAX_WEIGHT:g}",
            field="options.fairness_weight",
        )
    return weight


def _duration(
    message: task_pb2.TaskOptions | options_pb2.TimeLimits, name: str, field: str, *, least_s: float = 0.0
) -> float | None:
    if not message.HasField(name):
        return None
    return checked_duration(getattr(message, name), field, least_s=least_s)


def task(record: TaskRecord, view: int = task_pb2.TASK_VIEW_FULL, *, attempts: bool = False) -> task_pb2.Task:
    """A task in a view; `attempts`: with its attempts, if the record was read with its history."""
    full = view == task_pb2.TASK_VIEW_FULL
    given = record.submission
    message = task_pb2.Task(
        id=record.task_id,
        method=given.method,
        state=int(record.state),  # type: ignore[arg-type]
        request_id=given.request_id,
        options=told_options(given, full=full),
        attempt=record.attempt,
        crashes=record.crashes,
        agent_id=record.agent_id,
        cancel_requested=record.cancel_requested,
        progress_count=record.progress_count,
        create_time=timestamp(record.created_at),
        ready_time=timestamp(record.ready_at),
        failures=record.failures,
        avoid_agent_id=record.avoid,
        limited_by=record.limited_by,
        group=given.group,
        fallback_of=given.fallback_of,
    )
    if full:
        message.payload = given.payload
    if record.close_at is not None:
        message.deadline.CopyFrom(timestamp(record.close_at))
    if attempts:
        message.attempts.extend(map(history.message, history.attempts(record)))
    if record.started_at is not None:
        message.start_time.CopyFrom(timestamp(record.started_at))
    if record.finished_at is not None:
        message.finish_time.CopyFrom(timestamp(record.finished_at))
    if record.expires_at is not None:
        message.expire_time.CopyFrom(timestamp(record.expires_at))
    if record.outcome:
        message.outcome.MergeFromString(record.outcome)
        if not full:
            message.outcome.ClearField("response")
            _drop_stack(message.outcome)
    if record.expired:
        message.outcome.status.CopyFrom(result_expired(record).status())
    if given.fallback_of and record.state.terminal:
        message.outcome.fallback = given.method
    return message


def finished_task(record: TaskRecord) -> task_pb2.Task:
    """An ended task on a bulk stream: few fields, because there are many tasks."""
    message = task_pb2.Task(
        id=record.task_id,
        state=int(record.state),  # type: ignore[arg-type]
        attempt=record.attempt,
        crashes=record.crashes,
        agent_id=record.agent_id,
        progress_count=record.progress_count,
    )
    message.outcome.MergeFromString(record.outcome)
    _drop_stack(message.outcome)
    if record.submission.alternative:
        message.fallback_of = record.submission.fallback_of
        message.outcome.fallback = record.submission.method
    if record.expired:
        message.outcome.status.CopyFrom(result_expired(record).status())
    return message


def _drop_stack(outcome: task_pb2.Outcome) -> None:
    if outcome.HasField("error"):
        outcome.error.ClearField("stack")


def result_expired(record: TaskRecord) -> NotFound:
    """The error for an ended task whose outcome was dropped: an empty response would be wrong."""
    return refusals.result_expired(
        f"task {record.task_id} ended as {record.state.name}, and its result was dropped after its time",
        metadata={"task_id": record.task_id, "state": record.state.name},
    )
