from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import event_pb2 as _event_pb2
from weft.v1 import security_pb2 as _security_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HookKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOOK_KIND_UNSPECIFIED: _ClassVar[HookKind]
    HOOK_KIND_GITHUB: _ClassVar[HookKind]
    HOOK_KIND_GITLAB: _ClassVar[HookKind]
    HOOK_KIND_STRIPE: _ClassVar[HookKind]
    HOOK_KIND_STANDARD: _ClassVar[HookKind]
    HOOK_KIND_GENERIC: _ClassVar[HookKind]

class HookEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOOK_ENCODING_UNSPECIFIED: _ClassVar[HookEncoding]
    HOOK_ENCODING_HEX: _ClassVar[HookEncoding]
    HOOK_ENCODING_BASE64: _ClassVar[HookEncoding]

class HookDigest(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOOK_DIGEST_UNSPECIFIED: _ClassVar[HookDigest]
    HOOK_DIGEST_SHA256: _ClassVar[HookDigest]
    HOOK_DIGEST_SHA512: _ClassVar[HookDigest]
HOOK_KIND_UNSPECIFIED: HookKind
HOOK_KIND_GITHUB: HookKind
HOOK_KIND_GITLAB: HookKind
HOOK_KIND_STRIPE: HookKind
HOOK_KIND_STANDARD: HookKind
HOOK_KIND_GENERIC: HookKind
HOOK_ENCODING_UNSPECIFIED: HookEncoding
HOOK_ENCODING_HEX: HookEncoding
HOOK_ENCODING_BASE64: HookEncoding
HOOK_DIGEST_UNSPECIFIED: HookDigest
HOOK_DIGEST_SHA256: HookDigest
HOOK_DIGEST_SHA512: HookDigest

class HookSigning(_message.Message):
    __slots__ = ("header", "prefix", "encoding", "digest", "time_header", "id_header", "content")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TIME_HEADER_FIELD_NUMBER: _ClassVar[int]
    ID_HEADER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    header: str
    prefix: str
    encoding: HookEncoding
    digest: HookDigest
    time_header: str
    id_header: str
    content: str
    def __init__(self, header: _Optional[str] = ..., prefix: _Optional[str] = ..., encoding: _Optional[_Union[HookEncoding, str]] = ..., digest: _Optional[_Union[HookDigest, str]] = ..., time_header: _Optional[str] = ..., id_header: _Optional[str] = ..., content: _Optional[str] = ...) -> None: ...

class HookTask(_message.Message):
    __slots__ = ("method", "options")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    method: str
    options: _task_pb2.TaskOptions
    def __init__(self, method: _Optional[str] = ..., options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ...) -> None: ...

class HookEvent(_message.Message):
    __slots__ = ("topic", "key")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: str
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class IncomingHook(_message.Message):
    __slots__ = ("kind", "signing", "task", "event", "template", "filter", "tolerance")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIGNING_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    kind: HookKind
    signing: HookSigning
    task: HookTask
    event: HookEvent
    template: str
    filter: str
    tolerance: _duration_pb2.Duration
    def __init__(self, kind: _Optional[_Union[HookKind, str]] = ..., signing: _Optional[_Union[HookSigning, _Mapping]] = ..., task: _Optional[_Union[HookTask, _Mapping]] = ..., event: _Optional[_Union[HookEvent, _Mapping]] = ..., template: _Optional[str] = ..., filter: _Optional[str] = ..., tolerance: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class HookSpec(_message.Message):
    __slots__ = ("incoming", "outgoing")
    INCOMING_FIELD_NUMBER: _ClassVar[int]
    OUTGOING_FIELD_NUMBER: _ClassVar[int]
    incoming: IncomingHook
    outgoing: OutgoingHook
    def __init__(self, incoming: _Optional[_Union[IncomingHook, _Mapping]] = ..., outgoing: _Optional[_Union[OutgoingHook, _Mapping]] = ...) -> None: ...

class OutgoingHook(_message.Message):
    __slots__ = ("url", "task_ends", "group_ends", "events", "options")
    URL_FIELD_NUMBER: _ClassVar[int]
    TASK_ENDS_FIELD_NUMBER: _ClassVar[int]
    GROUP_ENDS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    url: str
    task_ends: HookTaskEnds
    group_ends: HookGroupEnds
    events: HookEvents
    options: _task_pb2.TaskOptions
    def __init__(self, url: _Optional[str] = ..., task_ends: _Optional[_Union[HookTaskEnds, _Mapping]] = ..., group_ends: _Optional[_Union[HookGroupEnds, _Mapping]] = ..., events: _Optional[_Union[HookEvents, _Mapping]] = ..., options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ...) -> None: ...

class HookTaskEnds(_message.Message):
    __slots__ = ("methods", "states")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[_task_pb2.TaskState]
    def __init__(self, methods: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[_task_pb2.TaskState, str]]] = ...) -> None: ...

class HookGroupEnds(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...

class HookEvents(_message.Message):
    __slots__ = ("topic", "filter")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    topic: str
    filter: str
    def __init__(self, topic: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class HookCall(_message.Message):
    __slots__ = ("hook", "uid", "event")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    hook: str
    uid: str
    event: _event_pb2.Event
    def __init__(self, hook: _Optional[str] = ..., uid: _Optional[str] = ..., event: _Optional[_Union[_event_pb2.Event, _Mapping]] = ...) -> None: ...

class HookReceipt(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: int
    def __init__(self, status: _Optional[int] = ...) -> None: ...

class HookTried(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: str
    def __init__(self, hook: _Optional[str] = ...) -> None: ...

class Hook(_message.Message):
    __slots__ = ("name", "spec", "uid", "create_time", "update_time", "paused", "pause_reason", "maker", "secrets", "counts", "path")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    MAKER_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: HookSpec
    uid: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    paused: bool
    pause_reason: str
    maker: _security_pb2.Maker
    secrets: _containers.RepeatedCompositeFieldContainer[HookSecret]
    counts: HookCounts
    path: str
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[HookSpec, _Mapping]] = ..., uid: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., paused: bool = ..., pause_reason: _Optional[str] = ..., maker: _Optional[_Union[_security_pb2.Maker, _Mapping]] = ..., secrets: _Optional[_Iterable[_Union[HookSecret, _Mapping]]] = ..., counts: _Optional[_Union[HookCounts, _Mapping]] = ..., path: _Optional[str] = ...) -> None: ...

class HookSecret(_message.Message):
    __slots__ = ("create_time", "expire_time")
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class HookCounts(_message.Message):
    __slots__ = ("accepted_count", "repeated_count", "filtered_count", "unsigned_count", "failed_count", "last_time", "last_error", "last_error_time")
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REPEATED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FILTERED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNSIGNED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_TIME_FIELD_NUMBER: _ClassVar[int]
    accepted_count: int
    repeated_count: int
    filtered_count: int
    unsigned_count: int
    failed_count: int
    last_time: _timestamp_pb2.Timestamp
    last_error: str
    last_error_time: _timestamp_pb2.Timestamp
    def __init__(self, accepted_count: _Optional[int] = ..., repeated_count: _Optional[int] = ..., filtered_count: _Optional[int] = ..., unsigned_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., last_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_error: _Optional[str] = ..., last_error_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StoredHook(_message.Message):
    __slots__ = ("hook", "secrets", "start_sequence", "subscription_uid")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_UID_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    secrets: _containers.RepeatedCompositeFieldContainer[StoredHookSecret]
    start_sequence: int
    subscription_uid: str
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ..., secrets: _Optional[_Iterable[_Union[StoredHookSecret, _Mapping]]] = ..., start_sequence: _Optional[int] = ..., subscription_uid: _Optional[str] = ...) -> None: ...

class StoredHookSecret(_message.Message):
    __slots__ = ("secret", "plain", "sealed", "salt")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    secret: HookSecret
    plain: bytes
    sealed: bytes
    salt: bytes
    def __init__(self, secret: _Optional[_Union[HookSecret, _Mapping]] = ..., plain: _Optional[bytes] = ..., sealed: _Optional[bytes] = ..., salt: _Optional[bytes] = ...) -> None: ...

class StoredHookCounts(_message.Message):
    __slots__ = ("uid", "counts")
    UID_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    counts: HookCounts
    def __init__(self, uid: _Optional[str] = ..., counts: _Optional[_Union[HookCounts, _Mapping]] = ...) -> None: ...

class CreateHookRequest(_message.Message):
    __slots__ = ("name", "spec", "secret")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: HookSpec
    secret: str
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[HookSpec, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class CreateHookResponse(_message.Message):
    __slots__ = ("hook", "secret")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    secret: str
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class GetHookRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetHookResponse(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ...) -> None: ...

class ListHooksRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHooksResponse(_message.Message):
    __slots__ = ("hooks", "next_page_token")
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    hooks: _containers.RepeatedCompositeFieldContainer[Hook]
    next_page_token: str
    def __init__(self, hooks: _Optional[_Iterable[_Union[Hook, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateHookRequest(_message.Message):
    __slots__ = ("name", "spec", "paused", "pause_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: HookSpec
    paused: bool
    pause_reason: str
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[HookSpec, _Mapping]] = ..., paused: bool = ..., pause_reason: _Optional[str] = ...) -> None: ...

class UpdateHookResponse(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ...) -> None: ...

class RotateHookSecretRequest(_message.Message):
    __slots__ = ("name", "secret", "overlap")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    name: str
    secret: str
    overlap: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., secret: _Optional[str] = ..., overlap: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RotateHookSecretResponse(_message.Message):
    __slots__ = ("hook", "secret")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    hook: Hook
    secret: str
    def __init__(self, hook: _Optional[_Union[Hook, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class DeleteHookRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteHookResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TestHookRequest(_message.Message):
    __slots__ = ("name", "body", "headers", "query")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class QueryEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    name: str
    body: bytes
    headers: _containers.ScalarMap[str, str]
    query: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., body: _Optional[bytes] = ..., headers: _Optional[_Mapping[str, str]] = ..., query: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TestHookResponse(_message.Message):
    __slots__ = ("matched", "payload", "target", "key", "task_id")
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    matched: bool
    payload: bytes
    target: str
    key: str
    task_id: str
    def __init__(self, matched: bool = ..., payload: _Optional[bytes] = ..., target: _Optional[str] = ..., key: _Optional[str] = ..., task_id: _Optional[str] = ...) -> None: ...
