"""Options of a method in Python: what `(weft.v1.task)` says in a .proto, as typed values with their units in the names."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.similar_names import similar_names
from weft.rpc.task_policy.retry_policy import RetryPolicy
from weft.rpc.times import duration
from weft.v1 import options_pb2

AtLimit = Literal["queue", "refuse", "cancel_newest", "cancel_oldest"]


@dataclass(frozen=True, slots=True)
class RunLimit:
    """A limit on a method's attempts over the whole fleet. It needs `max_running`, `max_rate_per_s`, or both.

    Args:
        key: the limit holds for each value of this key by itself: a path into the request such as "order.customer_id",
            `metadata["x-tenant"]`, or "fairness_key". Empty: for the method as a whole.
        max_running: attempts that run at a time. None: any number.
        max_rate_per_s: attempts that start each second, on average (a token bucket). None: any number.
        burst: attempts that start at once after a pause. None: as many as in one second, at least 1.
        at_limit: what happens to a call for which there is no room. "queue": its task waits; "refuse": the call fails with
            RESOURCE_EXHAUSTED; "cancel_newest": its task is stored as cancelled; "cancel_oldest": the oldest unfinished
            task is cancelled. All but "queue" count unfinished tasks, and need `max_running`. None: as the policy below says,
            such as the contract for a limit of operators, or "queue".

    Raises:
        InvalidArgument: a number is less than 1, or not more than 0 in the case of the rate; or there is no such action.
    """

    key: str = ""
    max_running: int | None = None
    max_rate_per_s: float | None = None
    burst: int | None = None
    at_limit: AtLimit | None = None

    def __post_init__(self) -> None:
        # On the wire, 0 means "no limit". So it cannot mean "none may run" here.
        for name in ("max_running", "burst"):
            number = getattr(self, name)
            if number is not None and (not isinstance(number, int) or not 1 <= number < 2**32):
                raise _wrong(name, number, "it must be a whole number from 1 on; leave it out for no limit")
        rate = self.max_rate_per_s
        if rate is not None and (not isinstance(rate, int | float) or not rate > 0):
            raise _wrong("max_rate_per_s", rate, "it must be a number above 0; leave it out for no limit")
        if self.at_limit is not None and self.at_limit not in _AT_LIMIT:
            raise _wrong("at_limit", self.at_limit, f"it must be one of {', '.join(_AT_LIMIT)}")

    @classmethod
    def of(cls, proto: options_pb2.RunLimit) -> RunLimit:
        actions: dict[int, AtLimit] = {int(number): name for name, number in _AT_LIMIT.items()}
        return cls(
            proto.key,
            proto.max_running or None,
            proto.max_rate_per_s or None,
            proto.burst or None,
            actions.get(proto.at_limit),
        )

    def to_proto(self) -> options_pb2.RunLimit:
        return options_pb2.RunLimit(
            key=self.key,
            max_running=self.max_running or 0,
            max_rate_per_s=self.max_rate_per_s or 0.0,
            burst=self.burst or 0,
            at_limit=None if self.at_limit is None else _AT_LIMIT[self.at_limit],
        )


@dataclass(frozen=True, slots=True)
class Lock:
    """A named lock of the whole fleet, which a task holds while it runs.

    Args:
        name: 1 to 128 characters.
        key: its value is appended to the name, after a colon: a path into the request, or `metadata["x-tenant"]`.
        shared: any number of tasks may hold it shared, if none holds it exclusively.
        state: it keeps a state, which the handler of its holder reads and changes: `current_task().state`. One lock of a task at most,
            and none that is shared.
    """

    name: str
    key: str = ""
    shared: bool = False
    state: bool = False

    def to_proto(self) -> options_pb2.Lock:
        return options_pb2.Lock(name=self.name, key=self.key, shared=self.shared, state=self.state)


class MethodOptions(TypedDict, total=False):
    """How calls of a method run. Each option is optional; times are in seconds.

    What the .proto says comes first, option by option. Of time limits, and of run limits with the same key, the strictest
    holds. An operator's override and the call itself come before both.
    """

    # When failed attempts are repeated.
    retry: RetryPolicy
    # Time limits: to the first attempt's start; of one attempt; of everything. Default: none.
    schedule_to_start_s: float
    start_to_close_s: float
    schedule_to_close_s: float
    # 0 to 9, higher first. Default: 5.
    priority: int
    # Slots that one call takes at this agent, at least as many as the .proto says. Default: 1.
    slot_cost: int
    # How long a task is kept that succeeded or was cancelled, and one that failed. At least 1.
    result_ttl_s: float
    failure_ttl_s: float
    # Requirements on the agent: these labels, and at least these resources.
    require_labels: Mapping[str, str]
    require_resources: Mapping[str, float]
    # How a call without the metadata `weft-mode` is made. Default: durable at a coordinator, direct at a sidecar's egress.
    mode: Literal["durable", "direct"]
    # A key whose value is the request id of calls without one: a path into the request, or `metadata["x-order"]`.
    idempotency_key: str
    # A key whose values get their turns fairly.
    fairness_key: str
    # At most 8.
    run_limits: Sequence[RunLimit]
    # Locks that a task holds while it runs, by name or as `Lock`. At most 8.
    locks: Sequence[Lock | str]
    # Amounts of the agent's resources that a task uses while it runs, such as {"gpu": 1}.
    consumes: Mapping[str, float]
    # How much each task and all calls below it may use, by unit, such as {"tokens": 10000}. At most 16 units.
    budget: Mapping[str, float]
    # Equal durable calls are answered with a stored result for so long from its end on. At least 1. A method whose answer
    # depends on its caller's metadata must not have this.
    cache_s: float
    # Full name of the method that runs instead when a task of this one would fail, or no agent serves it.
    fallback: str
    # Refuse a call at once if no connected agent can serve it.
    no_wait: bool
    # Check requests and responses by the rules of `buf.validate` in the .proto. Default: true.
    check_rules: bool
    # Each event of the method's request type becomes a task of the method: a filter in CEL, such as "event.total > 100", or "" for all.
    on_event: str
    # The calls that the handler makes of durable methods are remembered: another attempt gets their answers instead of calling again.
    durable_children: bool
    # Running a call twice does no harm: direct calls are retried at another agent. In a .proto this is protobuf's
    # `idempotency_level`.
    idempotent: bool


def to_policy(options: MethodOptions) -> options_pb2.TaskPolicy:
    """The options as they stand in a contract, without `idempotent`, which has its own place there.

    Raises:
        InvalidArgument: there is no such option, or a value has the wrong type; `field` is the option.
    """
    policy = options_pb2.TaskPolicy()
    for name, value in options.items():
        option = _OPTIONS.get(name)
        if option is None:
            near = similar_names(name, _OPTIONS)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_OPTIONS)}"
            raise refusals.invalid_field(f"there is no option {name!r}; {hint}", field=name)
        try:
            option.put(policy, value)
        except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
            raise _wrong(name, value, f"it must be {option.wanted}") from error
    return policy


def places(options: MethodOptions) -> list[str]:
    """The place of each option in a policy, such as "limits.start_to_close" of `start_to_close_s`."""
    return [_OPTIONS[name].field for name in options]


def option_name(field: str) -> str:
    """The option whose value is at this place in a policy: "cache_s" for "cache.ttl"."""
    return next((name for name, option in _OPTIONS.items() if option.field == field), field)


class _Option(NamedTuple):
    """How an option gets into a policy."""

    # Raises some exception for a value of the wrong type.
    put: Callable[[options_pb2.TaskPolicy, Any], object]
    # Which values it takes.
    wanted: str
    # Its place in the policy.
    field: str


def _plain(field: str, wanted: str) -> _Option:
    return _Option(lambda policy, value: setattr(policy, field, value), wanted, field)


def _seconds(field: str) -> _Option:
    def put(policy: options_pb2.TaskPolicy, value: float) -> None:
        parent, _, name = field.rpartition(".")
        message: Any = getattr(policy, parent) if parent else policy
        getattr(message, name).CopyFrom(duration(value))

    return _Option(put, "a number of seconds", field)


def _entries(field: str, wanted: str) -> _Option:
    def put(policy: options_pb2.TaskPolicy, value: Mapping[str, Any]) -> None:
        parent, _, name = field.rpartition(".")
        message: Any = getattr(policy, parent) if parent else policy
        getattr(message, name).update(value)

    return _Option(put, wanted, field)


def _put_locks(policy: options_pb2.TaskPolicy, value: Sequence[Lock | str]) -> None:
    policy.locks.extend(each.to_proto() for each in as_locks(value))


def _put_on_event(policy: options_pb2.TaskPolicy, value: str) -> None:
    policy.on_event.SetInParent()
    policy.on_event.filter = value


def as_locks(given: Sequence[Lock | str]) -> list[Lock]:
    """Locks that are given by name or as `Lock`.

    Raises:
        TypeError: it is a text: its letters would become locks.
    """
    if isinstance(given, str):
        raise TypeError(f"locks are a sequence, such as [{given!r}]")
    return [Lock(each) if isinstance(each, str) else each for each in given]


_AT_LIMIT: dict[AtLimit, options_pb2.AtLimit] = {
    "queue": options_pb2.AT_LIMIT_QUEUE,
    "refuse": options_pb2.AT_LIMIT_REFUSE,
    "cancel_newest": options_pb2.AT_LIMIT_CANCEL_NEWEST,
    "cancel_oldest": options_pb2.AT_LIMIT_CANCEL_OLDEST,
}
_MODES: dict[str, options_pb2.CallMode] = {
    "durable": options_pb2.CALL_MODE_DURABLE,
    "direct": options_pb2.CALL_MODE_DIRECT,
}
_KEY = 'a path into the request such as "order.customer_id", or \'metadata["x-tenant"]\''
_YES_NO = "True or False"
_OPTIONS: dict[str, _Option] = {
    "retry": _Option(
        lambda policy, value: policy.retry.CopyFrom(value.to_proto()),
        "a RetryPolicy of numbers and grpc.StatusCode",
        "retry",
    ),
    "schedule_to_start_s": _seconds("limits.schedule_to_start"),
    "start_to_close_s": _seconds("limits.start_to_close"),
    "schedule_to_close_s": _seconds("limits.schedule_to_close"),
    "priority": _plain("priority", "0 to 9"),
    "slot_cost": _plain("slot_cost", "a whole number from 1 on"),
    "result_ttl_s": _seconds("result_ttl"),
    "failure_ttl_s": _seconds("failure_ttl"),
    "require_labels": _entries("requirements.labels", "a dict of labels and their values"),
    "require_resources": _entries("requirements.resources", "a dict of resources and amounts"),
    "mode": _Option(
        lambda policy, value: setattr(policy, "mode", _MODES[value]), '"durable" or "direct"', "mode"
    ),
    "idempotency_key": _plain("idempotency_key", _KEY),
    "fairness_key": _plain("fairness_key", _KEY),
    "run_limits": _Option(
        lambda policy, value: policy.run_limits.extend([each.to_proto() for each in value]),
        "a list of RunLimit",
        "run_limits",
    ),
    "locks": _Option(_put_locks, "a list of names or Lock", "locks"),
    "consumes": _entries("consumes", "a dict of resources and amounts"),
    "budget": _entries("budget", "a dict of units and amounts"),
    "cache_s": _seconds("cache.ttl"),
    "fallback": _plain("fallback", 'the full name of a method such as "acme.v1.Greeter/Greet"'),
    "no_wait": _plain("no_wait", _YES_NO),
    "check_rules": _plain("check_rules", _YES_NO),
    "on_event": _Option(_put_on_event, 'a filter such as "event.total > 100", or ""', "on_event"),
    "durable_children": _plain("durable_children", _YES_NO),
    # In a contract it is no part of the policy.
    "idempotent": _Option(lambda _policy, value: operator.index(value), _YES_NO, "idempotency_level"),
}


def _wrong(name: str, value: object, wanted: str) -> InvalidArgument:
    return refusals.invalid_field(f"{name} is {value!r:.100}: {wanted}", field=name)
