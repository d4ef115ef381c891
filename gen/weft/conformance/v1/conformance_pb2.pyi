from google.protobuf import duration_pb2 as _duration_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EchoRequest(_message.Message):
    __slots__ = ("payload",)
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    def __init__(self, payload: _Optional[bytes] = ...) -> None: ...

class EchoResponse(_message.Message):
    __slots__ = ("payload", "metadata", "waits_started", "waits_cancelled")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    WAITS_STARTED_FIELD_NUMBER: _ClassVar[int]
    WAITS_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    metadata: str
    waits_started: int
    waits_cancelled: int
    def __init__(self, payload: _Optional[bytes] = ..., metadata: _Optional[str] = ..., waits_started: _Optional[int] = ..., waits_cancelled: _Optional[int] = ...) -> None: ...

class WaitRequest(_message.Message):
    __slots__ = ("time", "ignore_cancellation")
    TIME_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CANCELLATION_FIELD_NUMBER: _ClassVar[int]
    time: _duration_pb2.Duration
    ignore_cancellation: bool
    def __init__(self, time: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ignore_cancellation: bool = ...) -> None: ...

class WaitResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FailRequest(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class FailResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountRequest(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class CountResponse(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...
