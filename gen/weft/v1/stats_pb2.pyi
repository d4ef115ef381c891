from google.protobuf import duration_pb2 as _duration_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatsRequest(_message.Message):
    __slots__ = ("method", "window")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    method: str
    window: _duration_pb2.Duration
    def __init__(self, method: _Optional[str] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("methods", "coordinator_id", "covered", "shared_store", "insecure_ports", "limited")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_ID_FIELD_NUMBER: _ClassVar[int]
    COVERED_FIELD_NUMBER: _ClassVar[int]
    SHARED_STORE_FIELD_NUMBER: _ClassVar[int]
    INSECURE_PORTS_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[MethodStats]
    coordinator_id: str
    covered: _duration_pb2.Duration
    shared_store: bool
    insecure_ports: _containers.RepeatedScalarFieldContainer[str]
    limited: _containers.RepeatedCompositeFieldContainer[LimitedCaller]
    def __init__(self, methods: _Optional[_Iterable[_Union[MethodStats, _Mapping]]] = ..., coordinator_id: _Optional[str] = ..., covered: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., shared_store: bool = ..., insecure_ports: _Optional[_Iterable[str]] = ..., limited: _Optional[_Iterable[_Union[LimitedCaller, _Mapping]]] = ...) -> None: ...

class LimitedCaller(_message.Message):
    __slots__ = ("name", "is_namespace", "refused")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    name: str
    is_namespace: bool
    refused: _containers.ScalarMap[str, int]
    def __init__(self, name: _Optional[str] = ..., is_namespace: bool = ..., refused: _Optional[_Mapping[str, int]] = ...) -> None: ...

class MethodStats(_message.Message):
    __slots__ = ("method", "submitted", "succeeded", "failed", "cancelled", "retried", "rerun", "attempts", "wait", "run")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    RETRIED_FIELD_NUMBER: _ClassVar[int]
    RERUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    method: str
    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    retried: int
    rerun: int
    attempts: AttemptStats
    wait: Quantiles
    run: Quantiles
    def __init__(self, method: _Optional[str] = ..., submitted: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., retried: _Optional[int] = ..., rerun: _Optional[int] = ..., attempts: _Optional[_Union[AttemptStats, _Mapping]] = ..., wait: _Optional[_Union[Quantiles, _Mapping]] = ..., run: _Optional[_Union[Quantiles, _Mapping]] = ...) -> None: ...

class AttemptStats(_message.Message):
    __slots__ = ("succeeded", "failed", "cancelled", "timed_out", "crashed", "lost", "released")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    CRASHED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    crashed: int
    lost: int
    released: int
    def __init__(self, succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., cancelled: _Optional[int] = ..., timed_out: _Optional[int] = ..., crashed: _Optional[int] = ..., lost: _Optional[int] = ..., released: _Optional[int] = ...) -> None: ...

class Quantiles(_message.Message):
    __slots__ = ("count", "p50", "p90", "p99")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P90_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    count: int
    p50: _duration_pb2.Duration
    p90: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    def __init__(self, count: _Optional[int] = ..., p50: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p90: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...
