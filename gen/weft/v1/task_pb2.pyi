from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_SCHEDULED: _ClassVar[TaskState]
    TASK_STATE_QUEUED: _ClassVar[TaskState]
    TASK_STATE_RUNNING: _ClassVar[TaskState]
    TASK_STATE_SUCCEEDED: _ClassVar[TaskState]
    TASK_STATE_FAILED: _ClassVar[TaskState]
    TASK_STATE_CANCELLED: _ClassVar[TaskState]

class TaskView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_VIEW_UNSPECIFIED: _ClassVar[TaskView]
    TASK_VIEW_BASIC: _ClassVar[TaskView]
    TASK_VIEW_FULL: _ClassVar[TaskView]

class SessionMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_MODE_UNSPECIFIED: _ClassVar[SessionMode]
    SESSION_MODE_SOFT: _ClassVar[SessionMode]
    SESSION_MODE_HARD: _ClassVar[SessionMode]
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_SCHEDULED: TaskState
TASK_STATE_QUEUED: TaskState
TASK_STATE_RUNNING: TaskState
TASK_STATE_SUCCEEDED: TaskState
TASK_STATE_FAILED: TaskState
TASK_STATE_CANCELLED: TaskState
TASK_VIEW_UNSPECIFIED: TaskView
TASK_VIEW_BASIC: TaskView
TASK_VIEW_FULL: TaskView
SESSION_MODE_UNSPECIFIED: SessionMode
SESSION_MODE_SOFT: SessionMode
SESSION_MODE_HARD: SessionMode

class Metadatum(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class CallContext(_message.Message):
    __slots__ = ("metadata", "traceparent", "tracestate", "root_id", "parent_id", "baggage", "batch_traceparent", "session", "step", "step_anew", "budgets")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    ROOT_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    BAGGAGE_FIELD_NUMBER: _ClassVar[int]
    BATCH_TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEP_ANEW_FIELD_NUMBER: _ClassVar[int]
    BUDGETS_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.RepeatedCompositeFieldContainer[Metadatum]
    traceparent: str
    tracestate: str
    root_id: str
    parent_id: str
    baggage: str
    batch_traceparent: str
    session: StickySession
    step: str
    step_anew: bool
    budgets: _containers.RepeatedCompositeFieldContainer[TreeBudget]
    def __init__(self, metadata: _Optional[_Iterable[_Union[Metadatum, _Mapping]]] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., root_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., baggage: _Optional[str] = ..., batch_traceparent: _Optional[str] = ..., session: _Optional[_Union[StickySession, _Mapping]] = ..., step: _Optional[str] = ..., step_anew: bool = ..., budgets: _Optional[_Iterable[_Union[TreeBudget, _Mapping]]] = ...) -> None: ...

class TreeBudget(_message.Message):
    __slots__ = ("task_id", "amounts")
    class AmountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    amounts: _containers.ScalarMap[str, float]
    def __init__(self, task_id: _Optional[str] = ..., amounts: _Optional[_Mapping[str, float]] = ...) -> None: ...

class StickySession(_message.Message):
    __slots__ = ("key", "mode", "idle_ttl", "agent_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IDLE_TTL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    key: str
    mode: SessionMode
    idle_ttl: _duration_pb2.Duration
    agent_id: str
    def __init__(self, key: _Optional[str] = ..., mode: _Optional[_Union[SessionMode, str]] = ..., idle_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., agent_id: _Optional[str] = ...) -> None: ...

class TaskOptions(_message.Message):
    __slots__ = ("priority", "delay", "limits", "retry", "requirements", "context", "result_ttl", "failure_ttl", "fairness_key", "fairness_weight", "group", "no_wait", "locks", "consumes", "agent_id", "no_cache", "session", "budget")
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
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RESULT_TTL_FIELD_NUMBER: _ClassVar[int]
    FAILURE_TTL_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    CONSUMES_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NO_CACHE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    priority: int
    delay: _duration_pb2.Duration
    limits: _options_pb2.TimeLimits
    retry: _options_pb2.RetryPolicy
    requirements: _options_pb2.Requirements
    context: CallContext
    result_ttl: _duration_pb2.Duration
    failure_ttl: _duration_pb2.Duration
    fairness_key: str
    fairness_weight: float
    group: str
    no_wait: bool
    locks: _containers.RepeatedCompositeFieldContainer[_options_pb2.Lock]
    consumes: _containers.ScalarMap[str, float]
    agent_id: str
    no_cache: bool
    session: StickySession
    budget: _containers.ScalarMap[str, float]
    def __init__(self, priority: _Optional[int] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Union[_options_pb2.TimeLimits, _Mapping]] = ..., retry: _Optional[_Union[_options_pb2.RetryPolicy, _Mapping]] = ..., requirements: _Optional[_Union[_options_pb2.Requirements, _Mapping]] = ..., context: _Optional[_Union[CallContext, _Mapping]] = ..., result_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., failure_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., fairness_key: _Optional[str] = ..., fairness_weight: _Optional[float] = ..., group: _Optional[str] = ..., no_wait: bool = ..., locks: _Optional[_Iterable[_Union[_options_pb2.Lock, _Mapping]]] = ..., consumes: _Optional[_Mapping[str, float]] = ..., agent_id: _Optional[str] = ..., no_cache: bool = ..., session: _Optional[_Union[StickySession, _Mapping]] = ..., budget: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("status", "response", "headers", "trailers", "error", "fallback", "used", "suspension")
    class UsedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    SUSPENSION_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    response: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Metadatum]
    trailers: _containers.RepeatedCompositeFieldContainer[Metadatum]
    error: HandlerError
    fallback: str
    used: _containers.ScalarMap[str, float]
    suspension: Suspension
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., response: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Metadatum, _Mapping]]] = ..., trailers: _Optional[_Iterable[_Union[Metadatum, _Mapping]]] = ..., error: _Optional[_Union[HandlerError, _Mapping]] = ..., fallback: _Optional[str] = ..., used: _Optional[_Mapping[str, float]] = ..., suspension: _Optional[_Union[Suspension, _Mapping]] = ...) -> None: ...

class Suspension(_message.Message):
    __slots__ = ("wake_time", "signals", "calls")
    WAKE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    wake_time: _timestamp_pb2.Timestamp
    signals: int
    calls: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, wake_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., signals: _Optional[int] = ..., calls: _Optional[_Iterable[str]] = ...) -> None: ...

class HandlerError(_message.Message):
    __slots__ = ("type", "message", "stack")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    stack: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., stack: _Optional[str] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "agent_id", "start_time", "end_time", "status", "crashed", "released", "error", "choice", "suspension")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CRASHED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    SUSPENSION_FIELD_NUMBER: _ClassVar[int]
    number: int
    agent_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    status: _status_pb2.Status
    crashed: bool
    released: bool
    error: HandlerError
    choice: str
    suspension: Suspension
    def __init__(self, number: _Optional[int] = ..., agent_id: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., crashed: bool = ..., released: bool = ..., error: _Optional[_Union[HandlerError, _Mapping]] = ..., choice: _Optional[str] = ..., suspension: _Optional[_Union[Suspension, _Mapping]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "method", "state", "request_id", "options", "payload", "attempt", "crashes", "agent_id", "cancel_requested", "progress_count", "create_time", "ready_time", "start_time", "finish_time", "expire_time", "outcome", "attempts", "failures", "deadline", "waiting", "avoid_agent_id", "limited_by", "group", "fallback_of")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    READY_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISH_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    AVOID_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITED_BY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_OF_FIELD_NUMBER: _ClassVar[int]
    id: str
    method: str
    state: TaskState
    request_id: str
    options: TaskOptions
    payload: bytes
    attempt: int
    crashes: int
    agent_id: str
    cancel_requested: bool
    progress_count: int
    create_time: _timestamp_pb2.Timestamp
    ready_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    finish_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    outcome: Outcome
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    failures: int
    deadline: _timestamp_pb2.Timestamp
    waiting: _fleet_pb2.Waiting
    avoid_agent_id: str
    limited_by: str
    group: str
    fallback_of: str
    def __init__(self, id: _Optional[str] = ..., method: _Optional[str] = ..., state: _Optional[_Union[TaskState, str]] = ..., request_id: _Optional[str] = ..., options: _Optional[_Union[TaskOptions, _Mapping]] = ..., payload: _Optional[bytes] = ..., attempt: _Optional[int] = ..., crashes: _Optional[int] = ..., agent_id: _Optional[str] = ..., cancel_requested: bool = ..., progress_count: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ready_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., finish_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., failures: _Optional[int] = ..., deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., waiting: _Optional[_Union[_fleet_pb2.Waiting, _Mapping]] = ..., avoid_agent_id: _Optional[str] = ..., limited_by: _Optional[str] = ..., group: _Optional[str] = ..., fallback_of: _Optional[str] = ...) -> None: ...

class ProgressEvent(_message.Message):
    __slots__ = ("sequence", "attempt", "payload", "headers")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    attempt: int
    payload: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Metadatum]
    def __init__(self, sequence: _Optional[int] = ..., attempt: _Optional[int] = ..., payload: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Metadatum, _Mapping]]] = ...) -> None: ...
