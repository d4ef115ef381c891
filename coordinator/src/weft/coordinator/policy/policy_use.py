"""Fills in a submission what its call leaves open, by the policy of its method. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from google.protobuf.message import Message

from weft.coordinator.policy.method_policy import LockOption, MethodPolicy, strictest
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import alternative_of
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, Requirements
from weft.coordinator.store.run_limits import LockClaim
from weft.rpc import refusals
from weft.rpc.task_policy.key_paths import DeepMessage, Metadata
from weft.v1 import task_pb2

# Request ids: their characters, and how many.
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def apply(
    policy: MethodPolicy,
    submission: Submission,
    options: task_pb2.TaskOptions | None,
    request: Message | DeepMessage,
    *,
    generated_id: bool = False,
) -> None:
    """Put a policy in force for one submission, which has the call's own options and the coordinator's defaults so far.

    The call's own values come first. Of time limits the strictest holds.

    Args:
        options: the call's own options.
        generated_id: the submission's request id is not the caller's own: one by the idempotency key replaces it.
    """
    if policy.retry is not None and (options is None or not options.HasField("retry")):
        submission.retry = policy.retry
    if policy.priority is not None and (options is None or not options.HasField("priority")):
        submission.priority = policy.priority
    if policy.result_ttl_s is not None and (options is None or not options.HasField("result_ttl")):
        submission.result_ttl_s = policy.result_ttl_s
    if policy.failure_ttl_s is not None and (options is None or not options.HasField("failure_ttl")):
        submission.failure_ttl_s = policy.failure_ttl_s
    if policy.no_wait is not None and (options is None or not options.HasField("no_wait")):
        submission.no_wait = policy.no_wait
    if policy.schedule_to_start_s is not None:
        submission.schedule_to_start_s = strictest(submission.schedule_to_start_s, policy.schedule_to_start_s)
    if policy.start_to_close_s is not None:
        submission.start_to_close_s = strictest(submission.start_to_close_s, policy.start_to_close_s)
    if policy.schedule_to_close_s is not None:
        submission.schedule_to_close_s = strictest(submission.schedule_to_close_s, policy.schedule_to_close_s)
    if policy.requirements is not ANY_AGENT:
        submission.requirements = merged(policy.requirements, submission.requirements)
    metadata = () if options is None else options.context.metadata
    _apply_keys(policy, submission, request, metadata)
    if policy.idempotency_key is not None and (generated_id or not submission.request_id):
        value = policy.idempotency_key.value(request, metadata)
        if value:
            submission.request_id = request_id(policy.method, value)


def with_fallbacks(
    given: Submission,
    fallbacks: Iterable[tuple[Submission, MethodPolicy | None]],
    options: task_pb2.TaskOptions | None,
    request: Message | DeepMessage,
) -> tuple[Alternative, ...]:
    """The alternatives of a submission: itself, and each fallback as its own policy has it.

    Args:
        fallbacks: for each a submission to it as the call alone says it, and its policy.
    """
    found = [alternative_of(given)]
    for other, policy in fallbacks:
        if policy is not None:
            apply(policy, other, options, request)
        found.append(alternative_of(other))
    return tuple(found)


def _apply_keys(
    policy: MethodPolicy, submission: Submission, request: Message | DeepMessage, metadata: Metadata
) -> None:
    if policy.fairness_key is not None and not submission.fairness_key:
        submission.fairness_key = policy.fairness_key.value(request, metadata)
    if policy.run_limits:
        submission.limit_keys = tuple(
            (limit.expression, limit.key.value(request, metadata))
            for limit in policy.run_limits
            if limit.key is not None
        )
    if policy.locks:
        submission.locks = all_locks(locks_of(policy.locks, request, metadata), submission.locks)


def merged(under: Requirements, over: Requirements) -> Requirements:
    """The requirements of a policy and of a call: all labels, the call's value first; of each resource the larger amount."""
    if under == ANY_AGENT or over == ANY_AGENT:  # noqa: PLR1714 - no set of them: a hash costs more
        return over if under == ANY_AGENT else under
    return Requirements.of(
        {**dict(under.labels), **dict(over.labels)},
        _larger(under.resources, over.resources),
        _larger(under.consumes, over.consumes),
    )


def _larger(one: Iterable[tuple[str, float]], other: Iterable[tuple[str, float]]) -> dict[str, float]:
    amounts = dict(one)
    for resource, amount in other:
        amounts[resource] = max(amount, amounts.get(resource, 0.0))
    return amounts


def locks_of(
    locks: Iterable[LockOption], request: Message | DeepMessage, metadata: Metadata
) -> tuple[LockClaim, ...]:
    """The locks of one call by its method's policy."""
    return tuple(LockClaim(lock.of(request, metadata), lock.shared, lock.state) for lock in locks)


def all_locks(one: Iterable[LockClaim], other: Iterable[LockClaim]) -> tuple[LockClaim, ...]:
    """The locks of a policy and of a call together, each name once. A lock that is shared in one alone is exclusive.

    Raises:
        InvalidArgument: two of them keep a state.
    """
    claims: dict[str, LockClaim] = {}
    for claim in (*one, *other):
        known = claims.get(claim.name)
        if known is not None:
            claim = LockClaim(claim.name, known.shared and claim.shared, known.state or claim.state)
        claims[claim.name] = claim
    found = tuple(claims.values())
    if sum(claim.state for claim in found) > 1:
        names = ", ".join(repr(claim.name[:64]) for claim in found if claim.state)
        raise refusals.invalid_field(
            f"only one lock of a task keeps a state, and these would: {names}", field="options.locks"
        )
    return found


def request_id(method: str, value: str) -> str:
    """The request id for a value of the method's idempotency key: another method's equal value is another id."""
    plain = f"{method}:{value}"
    if _REQUEST_ID.fullmatch(plain):
        return plain
    return f"sha256:{hashlib.sha256(plain.encode(errors='surrogatepass')).hexdigest()}"
