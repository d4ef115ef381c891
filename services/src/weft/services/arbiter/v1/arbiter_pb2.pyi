from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reservation(_message.Message):
    __slots__ = ("id", "resource", "holder", "amount", "labels", "start_time", "end_time", "priority", "create_time", "displaced_by", "at_risk", "request_digest")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    DISPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    AT_RISK_FIELD_NUMBER: _ClassVar[int]
    REQUEST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    id: str
    resource: str
    holder: str
    amount: float
    labels: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    priority: int
    create_time: _timestamp_pb2.Timestamp
    displaced_by: str
    at_risk: bool
    request_digest: bytes
    def __init__(self, id: _Optional[str] = ..., resource: _Optional[str] = ..., holder: _Optional[str] = ..., amount: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., displaced_by: _Optional[str] = ..., at_risk: bool = ..., request_digest: _Optional[bytes] = ...) -> None: ...

class Book(_message.Message):
    __slots__ = ("reservations",)
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    reservations: _containers.RepeatedCompositeFieldContainer[Reservation]
    def __init__(self, reservations: _Optional[_Iterable[_Union[Reservation, _Mapping]]] = ...) -> None: ...

class ReserveRequest(_message.Message):
    __slots__ = ("resource", "reservation_id", "holder", "amount", "labels", "start_time", "duration", "latest_start_time", "priority", "displace")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    LATEST_START_TIME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DISPLACE_FIELD_NUMBER: _ClassVar[int]
    resource: str
    reservation_id: str
    holder: str
    amount: float
    labels: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    latest_start_time: _timestamp_pb2.Timestamp
    priority: int
    displace: bool
    def __init__(self, resource: _Optional[str] = ..., reservation_id: _Optional[str] = ..., holder: _Optional[str] = ..., amount: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., latest_start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., displace: bool = ...) -> None: ...

class ReserveResponse(_message.Message):
    __slots__ = ("reservation", "task_options", "displaced")
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    TASK_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    DISPLACED_FIELD_NUMBER: _ClassVar[int]
    reservation: Reservation
    task_options: _task_pb2.TaskOptions
    displaced: _containers.RepeatedCompositeFieldContainer[Reservation]
    def __init__(self, reservation: _Optional[_Union[Reservation, _Mapping]] = ..., task_options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ..., displaced: _Optional[_Iterable[_Union[Reservation, _Mapping]]] = ...) -> None: ...

class ExtendRequest(_message.Message):
    __slots__ = ("resource", "reservation_id", "holder", "end_time")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    resource: str
    reservation_id: str
    holder: str
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, resource: _Optional[str] = ..., reservation_id: _Optional[str] = ..., holder: _Optional[str] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ExtendResponse(_message.Message):
    __slots__ = ("reservation",)
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    reservation: Reservation
    def __init__(self, reservation: _Optional[_Union[Reservation, _Mapping]] = ...) -> None: ...

class HandOverRequest(_message.Message):
    __slots__ = ("resource", "reservation_id", "holder", "new_holder")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    NEW_HOLDER_FIELD_NUMBER: _ClassVar[int]
    resource: str
    reservation_id: str
    holder: str
    new_holder: str
    def __init__(self, resource: _Optional[str] = ..., reservation_id: _Optional[str] = ..., holder: _Optional[str] = ..., new_holder: _Optional[str] = ...) -> None: ...

class HandOverResponse(_message.Message):
    __slots__ = ("reservation",)
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    reservation: Reservation
    def __init__(self, reservation: _Optional[_Union[Reservation, _Mapping]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("resource", "reservation_id", "holder")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    resource: str
    reservation_id: str
    holder: str
    def __init__(self, resource: _Optional[str] = ..., reservation_id: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: bool
    def __init__(self, released: bool = ...) -> None: ...

class CheckReservationRequest(_message.Message):
    __slots__ = ("resource", "reservation_id", "holder", "amount")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    resource: str
    reservation_id: str
    holder: str
    amount: float
    def __init__(self, resource: _Optional[str] = ..., reservation_id: _Optional[str] = ..., holder: _Optional[str] = ..., amount: _Optional[float] = ...) -> None: ...

class CheckReservationResponse(_message.Message):
    __slots__ = ("reservation", "remaining")
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    reservation: Reservation
    remaining: _duration_pb2.Duration
    def __init__(self, reservation: _Optional[_Union[Reservation, _Mapping]] = ..., remaining: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListReservationsRequest(_message.Message):
    __slots__ = ("resource", "holder")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    resource: str
    holder: str
    def __init__(self, resource: _Optional[str] = ..., holder: _Optional[str] = ...) -> None: ...

class ListReservationsResponse(_message.Message):
    __slots__ = ("reservations", "capacity", "reserved")
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    reservations: _containers.RepeatedCompositeFieldContainer[Reservation]
    capacity: float
    reserved: float
    def __init__(self, reservations: _Optional[_Iterable[_Union[Reservation, _Mapping]]] = ..., capacity: _Optional[float] = ..., reserved: _Optional[float] = ...) -> None: ...

class ExplainConflictRequest(_message.Message):
    __slots__ = ("resource", "amount", "labels", "start_time", "duration")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    resource: str
    amount: float
    labels: _containers.ScalarMap[str, str]
    start_time: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    def __init__(self, resource: _Optional[str] = ..., amount: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExplainConflictResponse(_message.Message):
    __slots__ = ("fits", "reason", "conflicts", "conflict_time", "capacity", "first_fit_time")
    FITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_TIME_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIT_TIME_FIELD_NUMBER: _ClassVar[int]
    fits: bool
    reason: str
    conflicts: _containers.RepeatedCompositeFieldContainer[Reservation]
    conflict_time: _timestamp_pb2.Timestamp
    capacity: float
    first_fit_time: _timestamp_pb2.Timestamp
    def __init__(self, fits: bool = ..., reason: _Optional[str] = ..., conflicts: _Optional[_Iterable[_Union[Reservation, _Mapping]]] = ..., conflict_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., capacity: _Optional[float] = ..., first_fit_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
