from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Graph(_message.Message):
    __slots__ = ("name", "description", "inputs", "nodes", "output")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    output: _struct_pb2.Value
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("name", "type", "default", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    default: _struct_pb2.Value
    description: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., default: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., description: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("name", "after", "when", "step", "parallel", "map", "condition", "approval", "on_failure", "undo", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    ON_FAILURE_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    after: _containers.RepeatedScalarFieldContainer[str]
    when: str
    step: Step
    parallel: Parallel
    map: Map
    condition: Condition
    approval: Approval
    on_failure: OnFailure
    undo: Step
    reason: str
    def __init__(self, name: _Optional[str] = ..., after: _Optional[_Iterable[str]] = ..., when: _Optional[str] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., parallel: _Optional[_Union[Parallel, _Mapping]] = ..., map: _Optional[_Union[Map, _Mapping]] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., approval: _Optional[_Union[Approval, _Mapping]] = ..., on_failure: _Optional[_Union[OnFailure, _Mapping]] = ..., undo: _Optional[_Union[Step, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("method", "request", "options")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    method: str
    request: _struct_pb2.Struct
    options: StepOptions
    def __init__(self, method: _Optional[str] = ..., request: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., options: _Optional[_Union[StepOptions, _Mapping]] = ...) -> None: ...

class StepOptions(_message.Message):
    __slots__ = ("priority", "max_attempts", "retryable_codes", "start_to_close", "schedule_to_close", "labels", "resources", "locks")
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
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_CODES_FIELD_NUMBER: _ClassVar[int]
    START_TO_CLOSE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TO_CLOSE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    priority: int
    max_attempts: int
    retryable_codes: _containers.RepeatedScalarFieldContainer[int]
    start_to_close: _duration_pb2.Duration
    schedule_to_close: _duration_pb2.Duration
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    locks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, priority: _Optional[int] = ..., max_attempts: _Optional[int] = ..., retryable_codes: _Optional[_Iterable[int]] = ..., start_to_close: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., schedule_to_close: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., locks: _Optional[_Iterable[str]] = ...) -> None: ...

class Parallel(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Map(_message.Message):
    __slots__ = ("items", "concurrency", "nodes", "output")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    AS_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    items: str
    concurrency: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    output: _struct_pb2.Value
    def __init__(self, items: _Optional[str] = ..., concurrency: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., **kwargs) -> None: ...

class Condition(_message.Message):
    __slots__ = ("choices", "otherwise")
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    choices: _containers.RepeatedCompositeFieldContainer[Choice]
    otherwise: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, choices: _Optional[_Iterable[_Union[Choice, _Mapping]]] = ..., otherwise: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Choice(_message.Message):
    __slots__ = ("when", "nodes")
    WHEN_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    when: str
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, when: _Optional[str] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("question", "timeout")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    question: str
    timeout: _duration_pb2.Duration
    def __init__(self, question: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class OnFailure(_message.Message):
    __slots__ = ("output", "instead", "codes")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INSTEAD_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    output: _struct_pb2.Value
    instead: Node
    codes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., instead: _Optional[_Union[Node, _Mapping]] = ..., codes: _Optional[_Iterable[int]] = ...) -> None: ...
