from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FindStickySessionRequest(_message.Message):
    __slots__ = ("method", "session")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    method: str
    session: _task_pb2.StickySession
    def __init__(self, method: _Optional[str] = ..., session: _Optional[_Union[_task_pb2.StickySession, _Mapping]] = ...) -> None: ...

class FindStickySessionResponse(_message.Message):
    __slots__ = ("agent_id", "instance_id", "valid")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    instance_id: str
    valid: _duration_pb2.Duration
    def __init__(self, agent_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., valid: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListStickySessionsRequest(_message.Message):
    __slots__ = ("agent_id", "page_size", "page_token")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    page_size: int
    page_token: str
    def __init__(self, agent_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListStickySessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[StickySessionRecord]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[StickySessionRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StickySessionRecord(_message.Message):
    __slots__ = ("service", "session", "instance_id", "begin_time", "expire_time", "lost")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    service: str
    session: _task_pb2.StickySession
    instance_id: str
    begin_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    lost: str
    def __init__(self, service: _Optional[str] = ..., session: _Optional[_Union[_task_pb2.StickySession, _Mapping]] = ..., instance_id: _Optional[str] = ..., begin_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., lost: _Optional[str] = ...) -> None: ...

class EndStickySessionRequest(_message.Message):
    __slots__ = ("service", "session")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    service: str
    session: _task_pb2.StickySession
    def __init__(self, service: _Optional[str] = ..., session: _Optional[_Union[_task_pb2.StickySession, _Mapping]] = ...) -> None: ...

class EndStickySessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
