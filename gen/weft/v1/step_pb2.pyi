from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_KIND_UNSPECIFIED: _ClassVar[StepKind]
    STEP_KIND_VALUE: _ClassVar[StepKind]
    STEP_KIND_SLEEP: _ClassVar[StepKind]
    STEP_KIND_WAIT: _ClassVar[StepKind]
    STEP_KIND_TIMEOUT: _ClassVar[StepKind]
    STEP_KIND_SIGNAL: _ClassVar[StepKind]
STEP_KIND_UNSPECIFIED: StepKind
STEP_KIND_VALUE: StepKind
STEP_KIND_SLEEP: StepKind
STEP_KIND_WAIT: StepKind
STEP_KIND_TIMEOUT: StepKind
STEP_KIND_SIGNAL: StepKind

class Step(_message.Message):
    __slots__ = ("sequence", "name", "kind", "value", "attempt", "record_time", "wake_time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RECORD_TIME_FIELD_NUMBER: _ClassVar[int]
    WAKE_TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    name: str
    kind: StepKind
    value: bytes
    attempt: int
    record_time: _timestamp_pb2.Timestamp
    wake_time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[StepKind, str]] = ..., value: _Optional[bytes] = ..., attempt: _Optional[int] = ..., record_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., wake_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RecordStepRequest(_message.Message):
    __slots__ = ("task_id", "attempt", "agent_id", "name", "kind", "value", "delay")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    attempt: int
    agent_id: str
    name: str
    kind: StepKind
    value: bytes
    delay: _duration_pb2.Duration
    def __init__(self, task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., agent_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[StepKind, str]] = ..., value: _Optional[bytes] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RecordStepResponse(_message.Message):
    __slots__ = ("step", "existed", "time_left")
    STEP_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    step: Step
    existed: bool
    time_left: _duration_pb2.Duration
    def __init__(self, step: _Optional[_Union[Step, _Mapping]] = ..., existed: bool = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListStepsRequest(_message.Message):
    __slots__ = ("task_id", "after_sequence", "no_values")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NO_VALUES_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    after_sequence: int
    no_values: bool
    def __init__(self, task_id: _Optional[str] = ..., after_sequence: _Optional[int] = ..., no_values: bool = ...) -> None: ...

class ListStepsResponse(_message.Message):
    __slots__ = ("steps", "more", "time")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    more: bool
    time: _timestamp_pb2.Timestamp
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., more: bool = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SendSignalRequest(_message.Message):
    __slots__ = ("task_id", "name", "value", "id")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    name: str
    value: bytes
    id: str
    def __init__(self, task_id: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[bytes] = ..., id: _Optional[str] = ...) -> None: ...

class SendSignalResponse(_message.Message):
    __slots__ = ("step", "existed")
    STEP_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    step: Step
    existed: bool
    def __init__(self, step: _Optional[_Union[Step, _Mapping]] = ..., existed: bool = ...) -> None: ...
