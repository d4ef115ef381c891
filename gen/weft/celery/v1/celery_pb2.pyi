from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TaskCall(_message.Message):
    __slots__ = ("args_json", "kwargs_json", "message_json")
    ARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    KWARGS_JSON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_JSON_FIELD_NUMBER: _ClassVar[int]
    args_json: str
    kwargs_json: str
    message_json: str
    def __init__(self, args_json: _Optional[str] = ..., kwargs_json: _Optional[str] = ..., message_json: _Optional[str] = ...) -> None: ...

class TaskReturn(_message.Message):
    __slots__ = ("result_json",)
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    result_json: str
    def __init__(self, result_json: _Optional[str] = ...) -> None: ...

class TaskFailure(_message.Message):
    __slots__ = ("exception_json", "traceback")
    EXCEPTION_JSON_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    exception_json: str
    traceback: str
    def __init__(self, exception_json: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...
