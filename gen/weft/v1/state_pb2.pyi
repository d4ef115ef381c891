from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import event_pb2 as _event_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from weft.v1 import hook_pb2 as _hook_pb2
from weft.v1 import keyed_state_pb2 as _keyed_state_pb2
from weft.v1 import options_pb2 as _options_pb2
from weft.v1 import pool_pb2 as _pool_pb2
from weft.v1 import schedule_pb2 as _schedule_pb2
from weft.v1 import step_pb2 as _step_pb2
from weft.v1 import task_pb2 as _task_pb2
from weft.v1 import usage_pb2 as _usage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StateKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_KIND_UNSPECIFIED: _ClassVar[StateKind]
    STATE_KIND_CONTRACT: _ClassVar[StateKind]
    STATE_KIND_METHOD: _ClassVar[StateKind]
    STATE_KIND_AGENT: _ClassVar[StateKind]
    STATE_KIND_SCHEDULE: _ClassVar[StateKind]
    STATE_KIND_TASK: _ClassVar[StateKind]
    STATE_KIND_POOL: _ClassVar[StateKind]
    STATE_KIND_SUBSCRIPTION: _ClassVar[StateKind]
    STATE_KIND_EVENT: _ClassVar[StateKind]
    STATE_KIND_BUDGET: _ClassVar[StateKind]
    STATE_KIND_KEYED_STATE: _ClassVar[StateKind]
    STATE_KIND_HOOK: _ClassVar[StateKind]
    STATE_KIND_STEP: _ClassVar[StateKind]
STATE_KIND_UNSPECIFIED: StateKind
STATE_KIND_CONTRACT: StateKind
STATE_KIND_METHOD: StateKind
STATE_KIND_AGENT: StateKind
STATE_KIND_SCHEDULE: StateKind
STATE_KIND_TASK: StateKind
STATE_KIND_POOL: StateKind
STATE_KIND_SUBSCRIPTION: StateKind
STATE_KIND_EVENT: StateKind
STATE_KIND_BUDGET: StateKind
STATE_KIND_KEYED_STATE: StateKind
STATE_KIND_HOOK: StateKind
STATE_KIND_STEP: StateKind

class ExportStateRequest(_message.Message):
    __slots__ = ("kinds", "running", "events")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[StateKind]
    running: bool
    events: bool
    def __init__(self, kinds: _Optional[_Iterable[_Union[StateKind, str]]] = ..., running: bool = ..., events: bool = ...) -> None: ...

class ExportStateResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[StateRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[StateRecord, _Mapping]]] = ...) -> None: ...

class ImportStateRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[StateRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[StateRecord, _Mapping]]] = ...) -> None: ...

class ImportStateResponse(_message.Message):
    __slots__ = ("counts", "problems")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[StateCount]
    problems: _containers.RepeatedCompositeFieldContainer[StateProblem]
    def __init__(self, counts: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[StateProblem, _Mapping]]] = ...) -> None: ...

class StateRecord(_message.Message):
    __slots__ = ("header", "contract", "method", "agent", "schedule", "task", "end", "pool", "subscription", "event", "budget", "keyed_state", "hook", "step")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    KEYED_STATE_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    header: StateHeader
    contract: StateContract
    method: StateMethod
    agent: StateAgent
    schedule: _schedule_pb2.Schedule
    task: StateTask
    end: StateEnd
    pool: _pool_pb2.Pool
    subscription: _event_pb2.Subscription
    event: _event_pb2.Event
    budget: _usage_pb2.Budget
    keyed_state: _keyed_state_pb2.KeyedState
    hook: _hook_pb2.Hook
    step: StateStep
    def __init__(self, header: _Optional[_Union[StateHeader, _Mapping]] = ..., contract: _Optional[_Union[StateContract, _Mapping]] = ..., method: _Optional[_Union[StateMethod, _Mapping]] = ..., agent: _Optional[_Union[StateAgent, _Mapping]] = ..., schedule: _Optional[_Union[_schedule_pb2.Schedule, _Mapping]] = ..., task: _Optional[_Union[StateTask, _Mapping]] = ..., end: _Optional[_Union[StateEnd, _Mapping]] = ..., pool: _Optional[_Union[_pool_pb2.Pool, _Mapping]] = ..., subscription: _Optional[_Union[_event_pb2.Subscription, _Mapping]] = ..., event: _Optional[_Union[_event_pb2.Event, _Mapping]] = ..., budget: _Optional[_Union[_usage_pb2.Budget, _Mapping]] = ..., keyed_state: _Optional[_Union[_keyed_state_pb2.KeyedState, _Mapping]] = ..., hook: _Optional[_Union[_hook_pb2.Hook, _Mapping]] = ..., step: _Optional[_Union[StateStep, _Mapping]] = ...) -> None: ...

class StateHeader(_message.Message):
    __slots__ = ("format", "time", "weft_version", "mesh_id")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    WEFT_VERSION_FIELD_NUMBER: _ClassVar[int]
    MESH_ID_FIELD_NUMBER: _ClassVar[int]
    format: int
    time: _timestamp_pb2.Timestamp
    weft_version: str
    mesh_id: str
    def __init__(self, format: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., weft_version: _Optional[str] = ..., mesh_id: _Optional[str] = ...) -> None: ...

class StateContract(_message.Message):
    __slots__ = ("file_descriptor_set", "methods")
    FILE_DESCRIPTOR_SET_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    file_descriptor_set: bytes
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, file_descriptor_set: _Optional[bytes] = ..., methods: _Optional[_Iterable[str]] = ...) -> None: ...

class StateMethod(_message.Message):
    __slots__ = ("name", "paused", "override", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    paused: bool
    override: _options_pb2.TaskPolicy
    limits: _containers.RepeatedCompositeFieldContainer[_options_pb2.RunLimit]
    def __init__(self, name: _Optional[str] = ..., paused: bool = ..., override: _Optional[_Union[_options_pb2.TaskPolicy, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[_options_pb2.RunLimit, _Mapping]]] = ...) -> None: ...

class StateAgent(_message.Message):
    __slots__ = ("id", "desired_state")
    ID_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    id: str
    desired_state: _fleet_pb2.DesiredState
    def __init__(self, id: _Optional[str] = ..., desired_state: _Optional[_Union[_fleet_pb2.DesiredState, str]] = ...) -> None: ...

class StateTask(_message.Message):
    __slots__ = ("task", "outcome")
    TASK_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    outcome: bytes
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., outcome: _Optional[bytes] = ...) -> None: ...

class StateStep(_message.Message):
    __slots__ = ("task_id", "request_id", "steps", "call")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    request_id: str
    steps: _containers.RepeatedCompositeFieldContainer[_step_pb2.Step]
    call: StateTask
    def __init__(self, task_id: _Optional[str] = ..., request_id: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[_step_pb2.Step, _Mapping]]] = ..., call: _Optional[_Union[StateTask, _Mapping]] = ...) -> None: ...

class StateEnd(_message.Message):
    __slots__ = ("counts", "running_left_out", "events_left_out")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[StateCount]
    running_left_out: int
    events_left_out: int
    def __init__(self, counts: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ..., running_left_out: _Optional[int] = ..., events_left_out: _Optional[int] = ...) -> None: ...

class StateImportedEvents(_message.Message):
    __slots__ = ("first_sequence", "first_stored", "last_sequence")
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_STORED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    first_sequence: int
    first_stored: int
    last_sequence: int
    def __init__(self, first_sequence: _Optional[int] = ..., first_stored: _Optional[int] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class StateCount(_message.Message):
    __slots__ = ("kind", "records", "existed", "refused")
    KIND_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    kind: StateKind
    records: int
    existed: int
    refused: int
    def __init__(self, kind: _Optional[_Union[StateKind, str]] = ..., records: _Optional[int] = ..., existed: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...

class StateProblem(_message.Message):
    __slots__ = ("kind", "name", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: StateKind
    name: str
    reason: str
    def __init__(self, kind: _Optional[_Union[StateKind, str]] = ..., name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
