from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictStartRequest(_message.Message):
    __slots__ = ("method", "labels", "resources", "priority")
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
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    method: str
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    priority: int
    def __init__(self, method: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., priority: _Optional[int] = ...) -> None: ...

class PredictStartResponse(_message.Message):
    __slots__ = ("forecast",)
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    forecast: Forecast
    def __init__(self, forecast: _Optional[_Union[Forecast, _Mapping]] = ...) -> None: ...

class Forecast(_message.Message):
    __slots__ = ("earliest", "likely", "latest", "queued", "slots", "free_slots", "run_time", "reasons")
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    LIKELY_FIELD_NUMBER: _ClassVar[int]
    LATEST_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    FREE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUN_TIME_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    earliest: _duration_pb2.Duration
    likely: _duration_pb2.Duration
    latest: _duration_pb2.Duration
    queued: int
    slots: int
    free_slots: int
    run_time: _duration_pb2.Duration
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, earliest: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., likely: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., latest: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., queued: _Optional[int] = ..., slots: _Optional[int] = ..., free_slots: _Optional[int] = ..., run_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class WorkItem(_message.Message):
    __slots__ = ("name", "method", "payload", "json", "labels", "resources", "priority", "deadline", "run_time")
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
    NAME_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    RUN_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    method: str
    payload: bytes
    json: str
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    priority: int
    deadline: _timestamp_pb2.Timestamp
    run_time: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., method: _Optional[str] = ..., payload: _Optional[bytes] = ..., json: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., priority: _Optional[int] = ..., deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., run_time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AssignRequest(_message.Message):
    __slots__ = ("items", "submit", "batch_id", "pin")
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PIN_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[WorkItem]
    submit: bool
    batch_id: str
    pin: bool
    def __init__(self, items: _Optional[_Iterable[_Union[WorkItem, _Mapping]]] = ..., submit: bool = ..., batch_id: _Optional[str] = ..., pin: bool = ...) -> None: ...

class AssignResponse(_message.Message):
    __slots__ = ("assignments", "done_after")
    ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    DONE_AFTER_FIELD_NUMBER: _ClassVar[int]
    assignments: _containers.RepeatedCompositeFieldContainer[Assignment]
    done_after: _duration_pb2.Duration
    def __init__(self, assignments: _Optional[_Iterable[_Union[Assignment, _Mapping]]] = ..., done_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("name", "agent_id", "start_after", "end_after", "in_time", "reason", "task_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    START_AFTER_FIELD_NUMBER: _ClassVar[int]
    END_AFTER_FIELD_NUMBER: _ClassVar[int]
    IN_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    agent_id: str
    start_after: _duration_pb2.Duration
    end_after: _duration_pb2.Duration
    in_time: bool
    reason: str
    task_id: str
    def __init__(self, name: _Optional[str] = ..., agent_id: _Optional[str] = ..., start_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., end_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., in_time: bool = ..., reason: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("state", "method", "waits_for", "forecast", "reasons")
    STATE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    state: str
    method: str
    waits_for: str
    forecast: Forecast
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, state: _Optional[str] = ..., method: _Optional[str] = ..., waits_for: _Optional[str] = ..., forecast: _Optional[_Union[Forecast, _Mapping]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...
