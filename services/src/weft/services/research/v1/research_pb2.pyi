from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Activity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTIVITY_UNSPECIFIED: _ClassVar[Activity]
    ACTIVITY_SEARCHING: _ClassVar[Activity]
    ACTIVITY_READING: _ClassVar[Activity]
    ACTIVITY_CALLING_TOOL: _ClassVar[Activity]
    ACTIVITY_ANSWERING: _ClassVar[Activity]

class SourceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_KIND_UNSPECIFIED: _ClassVar[SourceKind]
    SOURCE_KIND_FILE: _ClassVar[SourceKind]
    SOURCE_KIND_TOOL: _ClassVar[SourceKind]

class AnswerSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANSWER_SOURCE_UNSPECIFIED: _ClassVar[AnswerSource]
    ANSWER_SOURCE_MODEL: _ClassVar[AnswerSource]
    ANSWER_SOURCE_RULES: _ClassVar[AnswerSource]
ACTIVITY_UNSPECIFIED: Activity
ACTIVITY_SEARCHING: Activity
ACTIVITY_READING: Activity
ACTIVITY_CALLING_TOOL: Activity
ACTIVITY_ANSWERING: Activity
SOURCE_KIND_UNSPECIFIED: SourceKind
SOURCE_KIND_FILE: SourceKind
SOURCE_KIND_TOOL: SourceKind
ANSWER_SOURCE_UNSPECIFIED: AnswerSource
ANSWER_SOURCE_MODEL: AnswerSource
ANSWER_SOURCE_RULES: AnswerSource

class AskRequest(_message.Message):
    __slots__ = ("session_id", "question", "model", "rules_only", "forget")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RULES_ONLY_FIELD_NUMBER: _ClassVar[int]
    FORGET_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    question: str
    model: str
    rules_only: bool
    forget: bool
    def __init__(self, session_id: _Optional[str] = ..., question: _Optional[str] = ..., model: _Optional[str] = ..., rules_only: bool = ..., forget: bool = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("progress", "answer")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    answer: Answer
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("activity", "detail")
    ACTIVITY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    activity: Activity
    detail: str
    def __init__(self, activity: _Optional[_Union[Activity, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class AskOnceRequest(_message.Message):
    __slots__ = ("ask",)
    ASK_FIELD_NUMBER: _ClassVar[int]
    ask: AskRequest
    def __init__(self, ask: _Optional[_Union[AskRequest, _Mapping]] = ...) -> None: ...

class AskOnceResponse(_message.Message):
    __slots__ = ("answer",)
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "citations", "source", "model", "notes", "rounds", "tokens", "tool_calls")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALLS_FIELD_NUMBER: _ClassVar[int]
    text: str
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    source: AnswerSource
    model: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    rounds: int
    tokens: int
    tool_calls: int
    def __init__(self, text: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping]]] = ..., source: _Optional[_Union[AnswerSource, str]] = ..., model: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ..., rounds: _Optional[int] = ..., tokens: _Optional[int] = ..., tool_calls: _Optional[int] = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("source", "kind", "first_line", "last_line", "text")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIRST_LINE_FIELD_NUMBER: _ClassVar[int]
    LAST_LINE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    source: str
    kind: SourceKind
    first_line: int
    last_line: int
    text: str
    def __init__(self, source: _Optional[str] = ..., kind: _Optional[_Union[SourceKind, str]] = ..., first_line: _Optional[int] = ..., last_line: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("turns", "dropped_turns")
    TURNS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_TURNS_FIELD_NUMBER: _ClassVar[int]
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    dropped_turns: int
    def __init__(self, turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., dropped_turns: _Optional[int] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("question", "answer", "time")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    question: str
    answer: Answer
    time: _timestamp_pb2.Timestamp
    def __init__(self, question: _Optional[str] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("prefix",)
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    def __init__(self, prefix: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "more")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[SessionEntry]
    more: bool
    def __init__(self, sessions: _Optional[_Iterable[_Union[SessionEntry, _Mapping]]] = ..., more: bool = ...) -> None: ...

class SessionEntry(_message.Message):
    __slots__ = ("session_id", "update_time", "expire_time")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    update_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, session_id: _Optional[str] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: Session
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ...) -> None: ...

class DeleteSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class DeleteSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
