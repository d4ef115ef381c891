from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ask(_message.Message):
    __slots__ = ("text", "blob", "headers", "headers_first", "trailers", "answers", "answer_bytes", "stop_after", "wait_s", "linger_s", "code", "message", "reason", "raise_text", "gzip", "ledger", "inner", "answer_depth")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIRST_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_BYTES_FIELD_NUMBER: _ClassVar[int]
    STOP_AFTER_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    LINGER_S_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RAISE_TEXT_FIELD_NUMBER: _ClassVar[int]
    GZIP_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    INNER_FIELD_NUMBER: _ClassVar[int]
    ANSWER_DEPTH_FIELD_NUMBER: _ClassVar[int]
    text: str
    blob: bytes
    headers: _containers.RepeatedCompositeFieldContainer[Entry]
    headers_first: bool
    trailers: _containers.RepeatedCompositeFieldContainer[Entry]
    answers: int
    answer_bytes: int
    stop_after: int
    wait_s: float
    linger_s: float
    code: int
    message: str
    reason: str
    raise_text: str
    gzip: bool
    ledger: str
    inner: Ask
    answer_depth: int
    def __init__(self, text: _Optional[str] = ..., blob: _Optional[bytes] = ..., headers: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., headers_first: bool = ..., trailers: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., answers: _Optional[int] = ..., answer_bytes: _Optional[int] = ..., stop_after: _Optional[int] = ..., wait_s: _Optional[float] = ..., linger_s: _Optional[float] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., raise_text: _Optional[str] = ..., gzip: bool = ..., ledger: _Optional[str] = ..., inner: _Optional[_Union[Ask, _Mapping]] = ..., answer_depth: _Optional[int] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("text", "blob", "index", "seen", "time_left_s", "requests", "depth", "inner")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    INNER_FIELD_NUMBER: _ClassVar[int]
    text: str
    blob: bytes
    index: int
    seen: _containers.RepeatedCompositeFieldContainer[Entry]
    time_left_s: float
    requests: int
    depth: int
    inner: Answer
    def __init__(self, text: _Optional[str] = ..., blob: _Optional[bytes] = ..., index: _Optional[int] = ..., seen: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., time_left_s: _Optional[float] = ..., requests: _Optional[int] = ..., depth: _Optional[int] = ..., inner: _Optional[_Union[Answer, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
