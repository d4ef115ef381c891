from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IssueCertificateRequest(_message.Message):
    __slots__ = ("signing_request", "agent_id")
    SIGNING_REQUEST_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    signing_request: bytes
    agent_id: str
    def __init__(self, signing_request: _Optional[bytes] = ..., agent_id: _Optional[str] = ...) -> None: ...

class IssueCertificateResponse(_message.Message):
    __slots__ = ("certificate", "authorities", "expire_time", "renew_after")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEW_AFTER_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    authorities: bytes
    expire_time: _timestamp_pb2.Timestamp
    renew_after: _duration_pb2.Duration
    def __init__(self, certificate: _Optional[bytes] = ..., authorities: _Optional[bytes] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., renew_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetAuthorityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetAuthorityResponse(_message.Message):
    __slots__ = ("pin", "certificate", "join_port", "expire_time", "change")
    PIN_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    JOIN_PORT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    pin: str
    certificate: bytes
    join_port: int
    expire_time: _timestamp_pb2.Timestamp
    change: AuthorityChange
    def __init__(self, pin: _Optional[str] = ..., certificate: _Optional[bytes] = ..., join_port: _Optional[int] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., change: _Optional[_Union[AuthorityChange, _Mapping]] = ...) -> None: ...

class RotateAuthorityRequest(_message.Message):
    __slots__ = ("overlap",)
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    overlap: _duration_pb2.Duration
    def __init__(self, overlap: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RotateAuthorityResponse(_message.Message):
    __slots__ = ("change", "existed")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    change: AuthorityChange
    existed: bool
    def __init__(self, change: _Optional[_Union[AuthorityChange, _Mapping]] = ..., existed: bool = ...) -> None: ...

class AuthorityChange(_message.Message):
    __slots__ = ("pin", "next_pin", "sign_time", "end_time")
    PIN_FIELD_NUMBER: _ClassVar[int]
    NEXT_PIN_FIELD_NUMBER: _ClassVar[int]
    SIGN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    pin: str
    next_pin: str
    sign_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, pin: _Optional[str] = ..., next_pin: _Optional[str] = ..., sign_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StoredAuthority(_message.Message):
    __slots__ = ("certificate", "key", "locked", "next")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LOCKED_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    key: bytes
    locked: bool
    next: NextAuthority
    def __init__(self, certificate: _Optional[bytes] = ..., key: _Optional[bytes] = ..., locked: bool = ..., next: _Optional[_Union[NextAuthority, _Mapping]] = ...) -> None: ...

class NextAuthority(_message.Message):
    __slots__ = ("certificate", "key", "locked", "crossed", "sign_time", "end_time")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LOCKED_FIELD_NUMBER: _ClassVar[int]
    CROSSED_FIELD_NUMBER: _ClassVar[int]
    SIGN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    key: bytes
    locked: bool
    crossed: bytes
    sign_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, certificate: _Optional[bytes] = ..., key: _Optional[bytes] = ..., locked: bool = ..., crossed: _Optional[bytes] = ..., sign_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
