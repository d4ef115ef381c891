from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TokenScope(_message.Message):
    __slots__ = ("methods", "hosts", "agent_ids", "labels", "namespaces")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    hosts: _containers.RepeatedScalarFieldContainer[str]
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedScalarFieldContainer[str]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, methods: _Optional[_Iterable[str]] = ..., hosts: _Optional[_Iterable[str]] = ..., agent_ids: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[str]] = ..., namespaces: _Optional[_Iterable[str]] = ...) -> None: ...

class CallerLimits(_message.Message):
    __slots__ = ("calls_per_s", "open_calls", "open_streams", "bytes_per_s", "queued_tasks")
    CALLS_PER_S_FIELD_NUMBER: _ClassVar[int]
    OPEN_CALLS_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TASKS_FIELD_NUMBER: _ClassVar[int]
    calls_per_s: float
    open_calls: int
    open_streams: int
    bytes_per_s: float
    queued_tasks: int
    def __init__(self, calls_per_s: _Optional[float] = ..., open_calls: _Optional[int] = ..., open_streams: _Optional[int] = ..., bytes_per_s: _Optional[float] = ..., queued_tasks: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "role", "scope", "create_time", "expire_time", "revoke_time", "rotate_time", "created_by", "comment", "max_uses", "used_by", "name", "subjects", "member_until", "limits")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    ROTATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_USES_FIELD_NUMBER: _ClassVar[int]
    USED_BY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_UNTIL_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    id: str
    role: _access_pb2.Role
    scope: TokenScope
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    rotate_time: _timestamp_pb2.Timestamp
    created_by: str
    comment: str
    max_uses: int
    used_by: _containers.RepeatedScalarFieldContainer[str]
    name: str
    subjects: _containers.RepeatedScalarFieldContainer[str]
    member_until: _timestamp_pb2.Timestamp
    limits: CallerLimits
    def __init__(self, id: _Optional[str] = ..., role: _Optional[_Union[_access_pb2.Role, str]] = ..., scope: _Optional[_Union[TokenScope, _Mapping]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., rotate_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., comment: _Optional[str] = ..., max_uses: _Optional[int] = ..., used_by: _Optional[_Iterable[str]] = ..., name: _Optional[str] = ..., subjects: _Optional[_Iterable[str]] = ..., member_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., limits: _Optional[_Union[CallerLimits, _Mapping]] = ...) -> None: ...

class StoredToken(_message.Message):
    __slots__ = ("token", "hashes")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    token: Token
    hashes: _containers.RepeatedCompositeFieldContainer[TokenHash]
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., hashes: _Optional[_Iterable[_Union[TokenHash, _Mapping]]] = ...) -> None: ...

class TokenHash(_message.Message):
    __slots__ = ("sha256", "expire_time")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, sha256: _Optional[bytes] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("role", "scope", "ttl", "never_expires", "comment", "max_uses", "name", "subjects", "limits")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    NEVER_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    MAX_USES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    role: _access_pb2.Role
    scope: TokenScope
    ttl: _duration_pb2.Duration
    never_expires: bool
    comment: str
    max_uses: int
    name: str
    subjects: _containers.RepeatedScalarFieldContainer[str]
    limits: CallerLimits
    def __init__(self, role: _Optional[_Union[_access_pb2.Role, str]] = ..., scope: _Optional[_Union[TokenScope, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., never_expires: bool = ..., comment: _Optional[str] = ..., max_uses: _Optional[int] = ..., name: _Optional[str] = ..., subjects: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[CallerLimits, _Mapping]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "text")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    token: Token
    text: str
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next_page_token")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    next_page_token: str
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetTokenRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetTokenResponse(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: Token
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class RotateTokenRequest(_message.Message):
    __slots__ = ("id", "overlap", "ttl")
    ID_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    id: str
    overlap: _duration_pb2.Duration
    ttl: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., overlap: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RotateTokenResponse(_message.Message):
    __slots__ = ("token", "text")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    token: Token
    text: str
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: Token
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class CheckTokenRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class CheckTokenResponse(_message.Message):
    __slots__ = ("refusal", "id", "role", "scope", "time_left", "subject", "rules", "unchecked", "ends_in")
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    UNCHECKED_FIELD_NUMBER: _ClassVar[int]
    ENDS_IN_FIELD_NUMBER: _ClassVar[int]
    refusal: _status_pb2.Status
    id: str
    role: _access_pb2.Role
    scope: TokenScope
    time_left: _duration_pb2.Duration
    subject: str
    rules: AccessRules
    unchecked: bool
    ends_in: _duration_pb2.Duration
    def __init__(self, refusal: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., id: _Optional[str] = ..., role: _Optional[_Union[_access_pb2.Role, str]] = ..., scope: _Optional[_Union[TokenScope, _Mapping]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., subject: _Optional[str] = ..., rules: _Optional[_Union[AccessRules, _Mapping]] = ..., unchecked: bool = ..., ends_in: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AccessRules(_message.Message):
    __slots__ = ("rules", "deny_others")
    RULES_FIELD_NUMBER: _ClassVar[int]
    DENY_OTHERS_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[AccessRule]
    deny_others: bool
    def __init__(self, rules: _Optional[_Iterable[_Union[AccessRule, _Mapping]]] = ..., deny_others: bool = ...) -> None: ...

class AccessRule(_message.Message):
    __slots__ = ("allow", "methods", "namespaces")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    allow: bool
    methods: _containers.RepeatedScalarFieldContainer[str]
    namespaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allow: bool = ..., methods: _Optional[_Iterable[str]] = ..., namespaces: _Optional[_Iterable[str]] = ...) -> None: ...

class AgentProcess(_message.Message):
    __slots__ = ("agent_id", "instance_id")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    instance_id: str
    def __init__(self, agent_id: _Optional[str] = ..., instance_id: _Optional[str] = ...) -> None: ...

class CreateTicketsRequest(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[AgentProcess]
    def __init__(self, agents: _Optional[_Iterable[_Union[AgentProcess, _Mapping]]] = ...) -> None: ...

class CreateTicketsResponse(_message.Message):
    __slots__ = ("texts", "time_left", "unchecked")
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    TIME_LEFT_FIELD_NUMBER: _ClassVar[int]
    UNCHECKED_FIELD_NUMBER: _ClassVar[int]
    texts: _containers.RepeatedScalarFieldContainer[str]
    time_left: _duration_pb2.Duration
    unchecked: bool
    def __init__(self, texts: _Optional[_Iterable[str]] = ..., time_left: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., unchecked: bool = ...) -> None: ...

class Maker(_message.Message):
    __slots__ = ("subject", "token_id", "role", "scope")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    subject: str
    token_id: str
    role: _access_pb2.Role
    scope: TokenScope
    def __init__(self, subject: _Optional[str] = ..., token_id: _Optional[str] = ..., role: _Optional[_Union[_access_pb2.Role, str]] = ..., scope: _Optional[_Union[TokenScope, _Mapping]] = ...) -> None: ...

class Ticket(_message.Message):
    __slots__ = ("agent", "namespace", "caller", "create_time", "expire_time", "text_hash")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TEXT_HASH_FIELD_NUMBER: _ClassVar[int]
    agent: AgentProcess
    namespace: str
    caller: CheckTokenResponse
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    text_hash: bytes
    def __init__(self, agent: _Optional[_Union[AgentProcess, _Mapping]] = ..., namespace: _Optional[str] = ..., caller: _Optional[_Union[CheckTokenResponse, _Mapping]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., text_hash: _Optional[bytes] = ...) -> None: ...

class TicketSecrets(_message.Message):
    __slots__ = ("secrets",)
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[TicketSecret]
    def __init__(self, secrets: _Optional[_Iterable[_Union[TicketSecret, _Mapping]]] = ...) -> None: ...

class TicketSecret(_message.Message):
    __slots__ = ("secret", "create_time")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    secret: bytes
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, secret: _Optional[bytes] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
