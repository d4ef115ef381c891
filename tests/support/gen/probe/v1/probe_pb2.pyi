from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Payload(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ProbeRequest(_message.Message):
    __slots__ = ("text", "sleep_s", "burn_s", "fail_code", "fail_attempts", "fail_message", "fail_reason", "raise_text", "crash_attempts", "reply_size_bytes", "stream_count", "ignore_cancel", "ledger", "retry_after_s", "blob", "no_trailers")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SLEEP_S_FIELD_NUMBER: _ClassVar[int]
    BURN_S_FIELD_NUMBER: _ClassVar[int]
    FAIL_CODE_FIELD_NUMBER: _ClassVar[int]
    FAIL_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FAIL_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FAIL_REASON_FIELD_NUMBER: _ClassVar[int]
    RAISE_TEXT_FIELD_NUMBER: _ClassVar[int]
    CRASH_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    REPLY_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAM_COUNT_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CANCEL_FIELD_NUMBER: _ClassVar[int]
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    NO_TRAILERS_FIELD_NUMBER: _ClassVar[int]
    text: str
    sleep_s: float
    burn_s: float
    fail_code: int
    fail_attempts: int
    fail_message: str
    fail_reason: str
    raise_text: str
    crash_attempts: int
    reply_size_bytes: int
    stream_count: int
    ignore_cancel: bool
    ledger: str
    retry_after_s: float
    blob: bytes
    no_trailers: bool
    def __init__(self, text: _Optional[str] = ..., sleep_s: _Optional[float] = ..., burn_s: _Optional[float] = ..., fail_code: _Optional[int] = ..., fail_attempts: _Optional[int] = ..., fail_message: _Optional[str] = ..., fail_reason: _Optional[str] = ..., raise_text: _Optional[str] = ..., crash_attempts: _Optional[int] = ..., reply_size_bytes: _Optional[int] = ..., stream_count: _Optional[int] = ..., ignore_cancel: bool = ..., ledger: _Optional[str] = ..., retry_after_s: _Optional[float] = ..., blob: _Optional[bytes] = ..., no_trailers: bool = ...) -> None: ...

class ProbeReply(_message.Message):
    __slots__ = ("text", "blob", "index", "agent_id", "task_id", "attempt", "metadata", "time_remaining_s")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TIME_REMAINING_S_FIELD_NUMBER: _ClassVar[int]
    text: str
    blob: bytes
    index: int
    agent_id: str
    task_id: str
    attempt: int
    metadata: _containers.RepeatedScalarFieldContainer[str]
    time_remaining_s: float
    def __init__(self, text: _Optional[str] = ..., blob: _Optional[bytes] = ..., index: _Optional[int] = ..., agent_id: _Optional[str] = ..., task_id: _Optional[str] = ..., attempt: _Optional[int] = ..., metadata: _Optional[_Iterable[str]] = ..., time_remaining_s: _Optional[float] = ...) -> None: ...
