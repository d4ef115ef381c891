from google.rpc import status_pb2 as _status_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayloadKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYLOAD_KIND_UNSPECIFIED: _ClassVar[PayloadKind]
    PAYLOAD_KIND_REQUEST: _ClassVar[PayloadKind]
    PAYLOAD_KIND_RESPONSE: _ClassVar[PayloadKind]
    PAYLOAD_KIND_FAILURE: _ClassVar[PayloadKind]
    PAYLOAD_KIND_EVENT: _ClassVar[PayloadKind]
PAYLOAD_KIND_UNSPECIFIED: PayloadKind
PAYLOAD_KIND_REQUEST: PayloadKind
PAYLOAD_KIND_RESPONSE: PayloadKind
PAYLOAD_KIND_FAILURE: PayloadKind
PAYLOAD_KIND_EVENT: PayloadKind

class PayloadHeader(_message.Message):
    __slots__ = ("method", "kind", "size", "compression", "key_id", "salt", "request_digest", "stored", "codec")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    method: str
    kind: PayloadKind
    size: int
    compression: str
    key_id: str
    salt: bytes
    request_digest: bytes
    stored: StoredPayload
    codec: str
    def __init__(self, method: _Optional[str] = ..., kind: _Optional[_Union[PayloadKind, str]] = ..., size: _Optional[int] = ..., compression: _Optional[str] = ..., key_id: _Optional[str] = ..., salt: _Optional[bytes] = ..., request_digest: _Optional[bytes] = ..., stored: _Optional[_Union[StoredPayload, _Mapping]] = ..., codec: _Optional[str] = ...) -> None: ...

class StoredPayload(_message.Message):
    __slots__ = ("name", "size", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    sha256: bytes
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("status", "error")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.Status
    error: _task_pb2.HandlerError
    def __init__(self, status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., error: _Optional[_Union[_task_pb2.HandlerError, _Mapping]] = ...) -> None: ...

class CodedFailure(_message.Message):
    __slots__ = ("coded",)
    CODED_FIELD_NUMBER: _ClassVar[int]
    coded: bytes
    def __init__(self, coded: _Optional[bytes] = ...) -> None: ...
