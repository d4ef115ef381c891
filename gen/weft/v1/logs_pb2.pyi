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

class MissingLogReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSING_LOG_REASON_UNSPECIFIED: _ClassVar[MissingLogReason]
    MISSING_LOG_REASON_AGENT_GONE: _ClassVar[MissingLogReason]
    MISSING_LOG_REASON_OFF: _ClassVar[MissingLogReason]
    MISSING_LOG_REASON_NONE_KEPT: _ClassVar[MissingLogReason]
    MISSING_LOG_REASON_TOO_MANY: _ClassVar[MissingLogReason]
    MISSING_LOG_REASON_NO_ANSWER: _ClassVar[MissingLogReason]
MISSING_LOG_REASON_UNSPECIFIED: MissingLogReason
MISSING_LOG_REASON_AGENT_GONE: MissingLogReason
MISSING_LOG_REASON_OFF: MissingLogReason
MISSING_LOG_REASON_NONE_KEPT: MissingLogReason
MISSING_LOG_REASON_TOO_MANY: MissingLogReason
MISSING_LOG_REASON_NO_ANSWER: MissingLogReason

class GetTaskLogsRequest(_message.Message):
    __slots__ = ("task_id", "follow")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    follow: bool
    def __init__(self, task_id: _Optional[str] = ..., follow: bool = ...) -> None: ...

class GetTaskLogsResponse(_message.Message):
    __slots__ = ("lines", "missing")
    LINES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    missing: MissingLog
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., missing: _Optional[_Union[MissingLog, _Mapping]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("time", "level", "event", "fields", "exception", "attempt", "agent_id", "sequence")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TIME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    EXCEPTION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    level: str
    event: str
    fields: _containers.ScalarMap[str, str]
    exception: str
    attempt: int
    agent_id: str
    sequence: int
    def __init__(self, time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., level: _Optional[str] = ..., event: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ..., exception: _Optional[str] = ..., attempt: _Optional[int] = ..., agent_id: _Optional[str] = ..., sequence: _Optional[int] = ...) -> None: ...

class MissingLog(_message.Message):
    __slots__ = ("attempt", "agent_id", "reason", "count")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    agent_id: str
    reason: MissingLogReason
    count: int
    def __init__(self, attempt: _Optional[int] = ..., agent_id: _Optional[str] = ..., reason: _Optional[_Union[MissingLogReason, str]] = ..., count: _Optional[int] = ...) -> None: ...

class LogRequest(_message.Message):
    __slots__ = ("request_id", "task_id", "attempt", "after_sequence", "wait")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    task_id: str
    attempt: int
    after_sequence: int
    wait: _duration_pb2.Duration
    def __init__(self, request_id: _Optional[int] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., after_sequence: _Optional[int] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LogPost(_message.Message):
    __slots__ = ("asker", "agent_id", "request", "reply", "missing")
    ASKER_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    asker: str
    agent_id: str
    request: LogRequest
    reply: LogReply
    missing: MissingLogReason
    def __init__(self, asker: _Optional[str] = ..., agent_id: _Optional[str] = ..., request: _Optional[_Union[LogRequest, _Mapping]] = ..., reply: _Optional[_Union[LogReply, _Mapping]] = ..., missing: _Optional[_Union[MissingLogReason, str]] = ...) -> None: ...

class LogReply(_message.Message):
    __slots__ = ("request_id", "lines", "more", "ended", "last_sequence")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    more: bool
    ended: bool
    last_sequence: int
    def __init__(self, request_id: _Optional[int] = ..., lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., more: bool = ..., ended: bool = ..., last_sequence: _Optional[int] = ...) -> None: ...
