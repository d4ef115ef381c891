from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CallMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CALL_MODE_UNSPECIFIED: _ClassVar[CallMode]
    CALL_MODE_DURABLE: _ClassVar[CallMode]
    CALL_MODE_DIRECT: _ClassVar[CallMode]

class AtLimit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AT_LIMIT_UNSPECIFIED: _ClassVar[AtLimit]
    AT_LIMIT_QUEUE: _ClassVar[AtLimit]
    AT_LIMIT_REFUSE: _ClassVar[AtLimit]
    AT_LIMIT_CANCEL_NEWEST: _ClassVar[AtLimit]
    AT_LIMIT_CANCEL_OLDEST: _ClassVar[AtLimit]
CALL_MODE_UNSPECIFIED: CallMode
CALL_MODE_DURABLE: CallMode
CALL_MODE_DIRECT: CallMode
AT_LIMIT_UNSPECIFIED: AtLimit
AT_LIMIT_QUEUE: AtLimit
AT_LIMIT_REFUSE: AtLimit
AT_LIMIT_CANCEL_NEWEST: AtLimit
AT_LIMIT_CANCEL_OLDEST: AtLimit
TASK_FIELD_NUMBER: _ClassVar[int]
task: _descriptor.FieldDescriptor
TASKS_FIELD_NUMBER: _ClassVar[int]
tasks: _descriptor.FieldDescriptor
FIELD_FIELD_NUMBER: _ClassVar[int]
field: _descriptor.FieldDescriptor

class FieldPolicy(_message.Message):
    __slots__ = ("secret",)
    SECRET_FIELD_NUMBER: _ClassVar[int]
    secret: bool
    def __init__(self, secret: bool = ...) -> None: ...

class TaskPolicy(_message.Message):
    __slots__ = ("retry", "limits", "priority", "slot_cost", "result_ttl", "failure_ttl", "requirements", "mode", "idempotency_key", "fairness_key", "run_limits", "locks", "consumes", "cache", "fallback", "no_wait", "check_rules", "on_event", "durable_children", "budget")
    class ConsumesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class BudgetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    RETRY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SLOT_COST_FIELD_NUMBER: _ClassVar[int]
    RESULT_TTL_FIELD_NUMBER: _ClassVar[int]
    FAILURE_TTL_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    RUN_LIMITS_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    CONSUMES_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    CHECK_RULES_FIELD_NUMBER: _ClassVar[int]
    ON_EVENT_FIELD_NUMBER: _ClassVar[int]
    DURABLE_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    retry: RetryPolicy
    limits: TimeLimits
    priority: int
    slot_cost: int
    result_ttl: _duration_pb2.Duration
    failure_ttl: _duration_pb2.Duration
    requirements: Requirements
    mode: CallMode
    idempotency_key: str
    fairness_key: str
    run_limits: _containers.RepeatedCompositeFieldContainer[RunLimit]
    locks: _containers.RepeatedCompositeFieldContainer[Lock]
    consumes: _containers.ScalarMap[str, float]
    cache: CachePolicy
    fallback: str
    no_wait: bool
    check_rules: bool
    on_event: OnEvent
    durable_children: bool
    budget: _containers.ScalarMap[str, float]
    def __init__(self, retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., limits: _Optional[_Union[TimeLimits, _Mapping]] = ..., priority: _Optional[int] = ..., slot_cost: _Optional[int] = ..., result_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., failure_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., requirements: _Optional[_Union[Requirements, _Mapping]] = ..., mode: _Optional[_Union[CallMode, str]] = ..., idempotency_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., run_limits: _Optional[_Iterable[_Union[RunLimit, _Mapping]]] = ..., locks: _Optional[_Iterable[_Union[Lock, _Mapping]]] = ..., consumes: _Optional[_Mapping[str, float]] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., fallback: _Optional[str] = ..., no_wait: bool = ..., check_rules: bool = ..., on_event: _Optional[_Union[OnEvent, _Mapping]] = ..., durable_children: bool = ..., budget: _Optional[_Mapping[str, float]] = ...) -> None: ...

class OnEvent(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: str
    def __init__(self, filter: _Optional[str] = ...) -> None: ...

class RunLimit(_message.Message):
    __slots__ = ("key", "max_running", "max_rate_per_s", "burst", "at_limit")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MAX_RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    AT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    key: str
    max_running: int
    max_rate_per_s: float
    burst: int
    at_limit: AtLimit
    def __init__(self, key: _Optional[str] = ..., max_running: _Optional[int] = ..., max_rate_per_s: _Optional[float] = ..., burst: _Optional[int] = ..., at_limit: _Optional[_Union[AtLimit, str]] = ...) -> None: ...

class Lock(_message.Message):
    __slots__ = ("name", "key", "shared", "state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    key: str
    shared: bool
    state: bool
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ..., shared: bool = ..., state: bool = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("ttl",)
    TTL_FIELD_NUMBER: _ClassVar[int]
    ttl: _duration_pb2.Duration
    def __init__(self, ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "initial_backoff", "max_backoff", "backoff_multiplier", "retryable_codes", "max_crashes")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_CODES_FIELD_NUMBER: _ClassVar[int]
    MAX_CRASHES_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_backoff: _duration_pb2.Duration
    max_backoff: _duration_pb2.Duration
    backoff_multiplier: float
    retryable_codes: _containers.RepeatedScalarFieldContainer[int]
    max_crashes: int
    def __init__(self, max_attempts: _Optional[int] = ..., initial_backoff: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_backoff: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., backoff_multiplier: _Optional[float] = ..., retryable_codes: _Optional[_Iterable[int]] = ..., max_crashes: _Optional[int] = ...) -> None: ...

class TimeLimits(_message.Message):
    __slots__ = ("schedule_to_start", "start_to_close", "schedule_to_close")
    SCHEDULE_TO_START_FIELD_NUMBER: _ClassVar[int]
    START_TO_CLOSE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TO_CLOSE_FIELD_NUMBER: _ClassVar[int]
    schedule_to_start: _duration_pb2.Duration
    start_to_close: _duration_pb2.Duration
    schedule_to_close: _duration_pb2.Duration
    def __init__(self, schedule_to_start: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., start_to_close: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., schedule_to_close: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Requirements(_message.Message):
    __slots__ = ("labels", "resources")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ...) -> None: ...
