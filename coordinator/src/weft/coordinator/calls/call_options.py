"""The options of a transparent call: its `weft-*` metadata, checked, as options of the task API."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from weft.coordinator.codec import MAX_FAIRNESS_KEY
from weft.coordinator.policy.retry_text import from_text, seconds_of
from weft.coordinator.request_checks import bad_request_id, check_resource_name, is_callers_id
from weft.coordinator.steps.remembered_calls import check_step_name
from weft.coordinator.store.rules import DEFAULT_PRIORITY, MAX_AGENT_ID
from weft.rpc import refusals
from weft.rpc.calls import call_keys, metadata
from weft.rpc.calls.call_context import MAX_ID_CHARS, ROOT_ID_KEY, TREE_BUDGET_KEY
from weft.rpc.calls.metadata import DURABLE, MODE_KEY, STEP_ANEW_KEY, STEP_KEY
from weft.rpc.calls.session_keys import SESSION_KEYS, said_session
from weft.rpc.calls.tree_budgets import BUDGET_KEY, amounts_of, inherited
from weft.rpc.errors import InvalidArgument
from weft.rpc.security.token_metadata import shows_token
from weft.rpc.task_policy.option_checks import (
    LEAST_LIMIT_S,
    LEAST_TTL_S,
    check_consumes,
    check_lock_name,
    check_requirements,
)
from weft.rpc.times import MAX_DURATION_S, duration
from weft.v1 import options_pb2, task_pb2

_REQUIREMENT = re.compile(r"\s*([^=<>,\s]+)\s*(>=|=)\s*([^,]*?)\s*")
_ID = re.compile(rf"[\x21-\x7e]{{1,{MAX_ID_CHARS}}}")
PRIORITY_KEY = "weft-priority"
_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")


@dataclass(slots=True)
class CallOptions:
    """The options of one call."""

    request_id: str = ""
    detach: bool = False
    options: task_pb2.TaskOptions = field(default_factory=task_pb2.TaskOptions)


def from_metadata(pairs: Collection[tuple[str, str | bytes]]) -> CallOptions:
    """Read a call's metadata.

    Raises:
        InvalidArgument: a `weft-*` entry that is unknown or malformed; `field` names it.
    """
    call = CallOptions()
    options = call.options
    for key, value in pairs:
        if key.startswith(call_keys.PREFIX):
            if key in SESSION_KEYS:
                _take_session(options, pairs)
            elif key == TREE_BUDGET_KEY:
                if not options.context.budgets:
                    options.context.budgets.extend(inherited(pairs))
            else:
                _read(call, key, call_keys.text(value))
        elif key == "traceparent":
            options.context.traceparent = str(value)
        elif key == "tracestate":
            options.context.tracestate = str(value)
        elif key == "baggage":
            options.context.baggage = str(value)
        elif metadata.belongs_to_caller(key) and not shows_token(key, value):
            raw = value if isinstance(value, bytes) else value.encode()
            options.context.metadata.add(key=key, value=raw)
    return call


def _take_session(options: task_pb2.TaskOptions, pairs: Iterable[tuple[str, str | bytes]]) -> None:
    if not options.HasField("session") and (said := said_session(pairs)) is not None:
        options.session.CopyFrom(said.message())


def mode(pairs: Iterable[tuple[str, str | bytes]]) -> str | bytes:
    """The mode that a call asks for; empty: none. `from_metadata` and `check_direct` refuse unknown modes."""
    remembered = False
    for key, value in pairs:
        if key == MODE_KEY:
            return value
        remembered = remembered or key == STEP_KEY
    # A step of its parent is a task, whatever the method's policy says.
    return DURABLE if remembered else ""


def is_urgent(pairs: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether a call asks for a higher priority than calls have by default."""
    return any(
        key == PRIORITY_KEY and str(DEFAULT_PRIORITY) < call_keys.text(value) <= "9" for key, value in pairs
    )


def check_direct(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse options that only a task can have on a direct call.

    Raises:
        InvalidArgument: a `weft-*` entry that is unknown, malformed, or for tasks alone; `field` names it.
    """
    given = tuple(pairs)
    call_keys.check_direct(given)
    for key, value in given:
        if key == TREE_BUDGET_KEY:
            inherited(given)
        elif key in call_keys.LINEAGE:
            _check_id(key, call_keys.text(value))


def check_mode(pairs: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse an unknown mode.

    Raises:
        InvalidArgument: `field` names the key.
    """
    for key, value in pairs:
        if key == MODE_KEY:
            call_keys.check(key, str(value))


def _read(call: CallOptions, key: str, value: str) -> None:
    if key == "weft-request-id":
        if not is_callers_id(value):
            raise bad_request_id(key)
        call.request_id = value
    elif key == "weft-detach":
        call.detach = _flag(key, value)
    elif (read := _OPTIONS.get(key)) is not None:
        read(call.options, key, value)
    elif key in call_keys.LINEAGE:
        _check_id(key, value)
        name = "root_id" if key == ROOT_ID_KEY else "parent_id"
        setattr(call.options.context, name, value)
    else:
        call_keys.check(key, value)


def _check_id(key: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise refusals.invalid_field(
            f"{key} must be 1 to {MAX_ID_CHARS} printable ASCII characters without spaces", field=key
        )


def _priority(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    if not (value.isascii() and value.isdecimal()) or len(value) > 1:
        raise refusals.invalid_field(f"weft-priority is {value!r}; it must be 0 to 9", field=key)
    options.priority = int(value)


def _flag(key: str, value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise refusals.invalid_field(f"{key} is {value!r}; it must be true or false", field=key)
    return value.lower() in _TRUE


def _text(key: str, value: str, most_chars: int) -> str:
    if not 1 <= len(value) <= most_chars:
        raise refusals.invalid_field(
            f"{key} has {len(value)} characters; it must have 1 to {most_chars}", field=key
        )
    return value


def _no_wait(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.no_wait = _flag(key, value)


def _cache(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    if value.lower() not in ("on", "off"):
        raise refusals.invalid_field(f"{key} is {value!r}; it must be on or off", field=key)
    options.no_cache = value.lower() == "off"


def _agent(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.agent_id = _text(key, value, MAX_AGENT_ID)


def _delay(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.delay.CopyFrom(duration(_seconds(key, value)))


def _start_to_close(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.limits.start_to_close.CopyFrom(duration(_seconds(key, value, least_s=LEAST_LIMIT_S)))


def _schedule_to_start(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.limits.schedule_to_start.CopyFrom(duration(_seconds(key, value, least_s=LEAST_LIMIT_S)))


def _result_ttl(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.result_ttl.CopyFrom(duration(_seconds(key, value, least_s=LEAST_TTL_S)))


def _fairness_key(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.fairness_key = _text(key, value, MAX_FAIRNESS_KEY)


def _step(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.context.step = check_step_name(value, key)


def _step_anew(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.context.step_anew = _flag(key, value)


def _group(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.group = check_resource_name(value, key)


def _lock(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    check_lock_name(value, key)
    options.locks.add(name=value, shared=key == "weft-shared-lock", state=key == "weft-state-lock")


def _consume(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    for part in value.split(","):
        name, _, amount = (text.strip() for text in part.partition("="))
        try:
            options.consumes[name] = float(amount)
        except ValueError:
            raise refusals.invalid_field(f"{key} has {part!r}; write resource=amount", field=key) from None
    check_consumes(options.consumes, key)


def _budget(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    options.budget.update(amounts_of(value, key))


def _retry(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    if value != call_keys.MARK:
        options.retry.CopyFrom(from_text(value, key))


def _seconds(key: str, value: str, *, least_s: float = 0.0) -> float:
    try:
        seconds = seconds_of(value)
    except ValueError:
        seconds = -1.0
    # A NaN is refused too.
    if not least_s <= seconds <= MAX_DURATION_S:
        raise refusals.invalid_field(
            f"{key} is {value!r}; it must be seconds from {least_s:g} to {MAX_DURATION_S:g}, such as 1.5",
            field=key,
        )
    return seconds


def _requirements(options: task_pb2.TaskOptions, key: str, value: str) -> None:
    for part in value.split(","):
        _require(options.requirements, key, part)
    try:
        check_requirements(options.requirements, key)
    except InvalidArgument as error:
        error.field = key
        raise


def _require(requirements: options_pb2.Requirements, key: str, part: str) -> None:
    match = _REQUIREMENT.fullmatch(part)
    if match is None:
        raise refusals.invalid_field(
            f"weft-require has {part!r}; write label=value or resource>=amount", field=key
        )
    name, relation, value = match.groups()
    if relation == "=":
        requirements.labels[name] = value
        return
    try:
        requirements.resources[name] = float(value)
    except ValueError as error:
        raise refusals.invalid_field(f"weft-require: {value!r} is no amount of {name}", field=key) from error


_OPTIONS: Mapping[str, Callable[[task_pb2.TaskOptions, str, str], None]] = {
    PRIORITY_KEY: _priority,
    "weft-delay": _delay,
    "weft-require": _requirements,
    "weft-start-to-close": _start_to_close,
    "weft-schedule-to-start": _schedule_to_start,
    "weft-result-ttl": _result_ttl,
    "weft-fairness-key": _fairness_key,
    "weft-group": _group,
    STEP_KEY: _step,
    STEP_ANEW_KEY: _step_anew,
    metadata.NO_WAIT_KEY: _no_wait,
    "weft-cache": _cache,
    "weft-lock": _lock,
    "weft-shared-lock": _lock,
    "weft-state-lock": _lock,
    "weft-consume": _consume,
    BUDGET_KEY: _budget,
    metadata.AGENT_KEY: _agent,
    call_keys.RETRY_KEY: _retry,
}
