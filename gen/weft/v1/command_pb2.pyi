from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StackKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STACK_KIND_UNSPECIFIED: _ClassVar[StackKind]
    STACK_KIND_ASYNC_HANDLER: _ClassVar[StackKind]
    STACK_KIND_THREAD_HANDLER: _ClassVar[StackKind]
    STACK_KIND_ISOLATED_HANDLER: _ClassVar[StackKind]
    STACK_KIND_TASK: _ClassVar[StackKind]
    STACK_KIND_THREAD: _ClassVar[StackKind]
STACK_KIND_UNSPECIFIED: StackKind
STACK_KIND_ASYNC_HANDLER: StackKind
STACK_KIND_THREAD_HANDLER: StackKind
STACK_KIND_ISOLATED_HANDLER: StackKind
STACK_KIND_TASK: StackKind
STACK_KIND_THREAD: StackKind

class AgentSelector(_message.Message):
    __slots__ = ("agent_ids", "method", "labels", "all")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    method: str
    labels: _containers.ScalarMap[str, str]
    all: bool
    def __init__(self, agent_ids: _Optional[_Iterable[str]] = ..., method: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., all: bool = ...) -> None: ...

class CommandAgentsRequest(_message.Message):
    __slots__ = ("selector", "command", "timeout")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    selector: AgentSelector
    command: AgentCommand
    timeout: _duration_pb2.Duration
    def __init__(self, selector: _Optional[_Union[AgentSelector, _Mapping]] = ..., command: _Optional[_Union[AgentCommand, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TellAgentsRequest(_message.Message):
    __slots__ = ("selector", "message", "timeout")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    selector: AgentSelector
    message: AgentMessage
    timeout: _duration_pb2.Duration
    def __init__(self, selector: _Optional[_Union[AgentSelector, _Mapping]] = ..., message: _Optional[_Union[AgentMessage, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TellAgentsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CommandResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CommandResult, _Mapping]]] = ...) -> None: ...

class AgentMessage(_message.Message):
    __slots__ = ("type", "payload")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: bytes
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class CommandAgentsResponse(_message.Message):
    __slots__ = ("results", "selected")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CommandResult]
    selected: int
    def __init__(self, results: _Optional[_Iterable[_Union[CommandResult, _Mapping]]] = ..., selected: _Optional[int] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("agent_id", "status", "reply")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    status: _status_pb2.Status
    reply: CommandReply
    def __init__(self, agent_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., reply: _Optional[_Union[CommandReply, _Mapping]] = ...) -> None: ...

class AgentCommand(_message.Message):
    __slots__ = ("command_id", "desired_state", "restart", "stop", "labels", "log_level", "stacks", "gc", "message")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    GC_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    desired_state: _fleet_pb2.DesiredState
    restart: RestartAgent
    stop: StopAgent
    labels: ChangeLabels
    log_level: SetLogLevel
    stacks: DumpStacks
    gc: CollectGarbage
    message: AgentMessage
    def __init__(self, command_id: _Optional[str] = ..., desired_state: _Optional[_Union[_fleet_pb2.DesiredState, str]] = ..., restart: _Optional[_Union[RestartAgent, _Mapping]] = ..., stop: _Optional[_Union[StopAgent, _Mapping]] = ..., labels: _Optional[_Union[ChangeLabels, _Mapping]] = ..., log_level: _Optional[_Union[SetLogLevel, _Mapping]] = ..., stacks: _Optional[_Union[DumpStacks, _Mapping]] = ..., gc: _Optional[_Union[CollectGarbage, _Mapping]] = ..., message: _Optional[_Union[AgentMessage, _Mapping]] = ...) -> None: ...

class RestartAgent(_message.Message):
    __slots__ = ("grace",)
    GRACE_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    def __init__(self, grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StopAgent(_message.Message):
    __slots__ = ("grace",)
    GRACE_FIELD_NUMBER: _ClassVar[int]
    grace: _duration_pb2.Duration
    def __init__(self, grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ChangeLabels(_message.Message):
    __slots__ = ("set", "remove")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SET_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    set: _containers.ScalarMap[str, str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, set: _Optional[_Mapping[str, str]] = ..., remove: _Optional[_Iterable[str]] = ...) -> None: ...

class SetLogLevel(_message.Message):
    __slots__ = ("level",)
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    level: str
    def __init__(self, level: _Optional[str] = ...) -> None: ...

class DumpStacks(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CollectGarbage(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommandReply(_message.Message):
    __slots__ = ("command_id", "status", "stacks", "gc", "labels")
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STACKS_FIELD_NUMBER: _ClassVar[int]
    GC_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    status: _status_pb2.Status
    stacks: StackDump
    gc: GarbageCollected
    labels: AgentLabels
    def __init__(self, command_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., stacks: _Optional[_Union[StackDump, _Mapping]] = ..., gc: _Optional[_Union[GarbageCollected, _Mapping]] = ..., labels: _Optional[_Union[AgentLabels, _Mapping]] = ...) -> None: ...

class AgentLabels(_message.Message):
    __slots__ = ("labels",)
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StackDump(_message.Message):
    __slots__ = ("stacks", "children", "left_out", "process_id", "loop_blocked")
    STACKS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    LOOP_BLOCKED_FIELD_NUMBER: _ClassVar[int]
    stacks: _containers.RepeatedCompositeFieldContainer[ProgramStack]
    children: _containers.RepeatedCompositeFieldContainer[ChildProcess]
    left_out: int
    process_id: int
    loop_blocked: _duration_pb2.Duration
    def __init__(self, stacks: _Optional[_Iterable[_Union[ProgramStack, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[ChildProcess, _Mapping]]] = ..., left_out: _Optional[int] = ..., process_id: _Optional[int] = ..., loop_blocked: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ProgramStack(_message.Message):
    __slots__ = ("kind", "name", "process_id", "method", "task_id", "attempt", "running", "cancelled", "active", "frames", "missing")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    kind: StackKind
    name: str
    process_id: int
    method: str
    task_id: str
    attempt: int
    running: _duration_pb2.Duration
    cancelled: bool
    active: bool
    frames: _containers.RepeatedCompositeFieldContainer[StackFrame]
    missing: str
    def __init__(self, kind: _Optional[_Union[StackKind, str]] = ..., name: _Optional[str] = ..., process_id: _Optional[int] = ..., method: _Optional[str] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., running: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., cancelled: bool = ..., active: bool = ..., frames: _Optional[_Iterable[_Union[StackFrame, _Mapping]]] = ..., missing: _Optional[str] = ...) -> None: ...

class StackFrame(_message.Message):
    __slots__ = ("file", "line", "function")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    function: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., function: _Optional[str] = ...) -> None: ...

class ChildProcess(_message.Message):
    __slots__ = ("process_id", "parent_id", "name", "state", "cpu_time", "memory_bytes", "age")
    PROCESS_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CPU_TIME_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    process_id: int
    parent_id: int
    name: str
    state: str
    cpu_time: _duration_pb2.Duration
    memory_bytes: int
    age: _duration_pb2.Duration
    def __init__(self, process_id: _Optional[int] = ..., parent_id: _Optional[int] = ..., name: _Optional[str] = ..., state: _Optional[str] = ..., cpu_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., memory_bytes: _Optional[int] = ..., age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GarbageCollected(_message.Message):
    __slots__ = ("objects", "took", "memory_before_bytes", "memory_after_bytes")
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    TOOK_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BEFORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AFTER_BYTES_FIELD_NUMBER: _ClassVar[int]
    objects: int
    took: _duration_pb2.Duration
    memory_before_bytes: int
    memory_after_bytes: int
    def __init__(self, objects: _Optional[int] = ..., took: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., memory_before_bytes: _Optional[int] = ..., memory_after_bytes: _Optional[int] = ...) -> None: ...

class CommandPost(_message.Message):
    __slots__ = ("asker", "agent_ids", "command", "timeout", "results", "command_id")
    ASKER_FIELD_NUMBER: _ClassVar[int]
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    asker: str
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    command: AgentCommand
    timeout: _duration_pb2.Duration
    results: _containers.RepeatedCompositeFieldContainer[CommandResult]
    command_id: str
    def __init__(self, asker: _Optional[str] = ..., agent_ids: _Optional[_Iterable[str]] = ..., command: _Optional[_Union[AgentCommand, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., results: _Optional[_Iterable[_Union[CommandResult, _Mapping]]] = ..., command_id: _Optional[str] = ...) -> None: ...
