from weft.v1 import command_pb2 as _command_pb2
from weft.v1 import logs_pb2 as _logs_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CoordinatorPost(_message.Message):
    __slots__ = ("log", "command")
    LOG_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    log: _logs_pb2.LogPost
    command: _command_pb2.CommandPost
    def __init__(self, log: _Optional[_Union[_logs_pb2.LogPost, _Mapping]] = ..., command: _Optional[_Union[_command_pb2.CommandPost, _Mapping]] = ...) -> None: ...
