from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PoolState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POOL_STATE_UNSPECIFIED: _ClassVar[PoolState]
    POOL_STATE_CHANGING: _ClassVar[PoolState]
    POOL_STATE_READY: _ClassVar[PoolState]
    POOL_STATE_FAILING: _ClassVar[PoolState]
    POOL_STATE_PAUSED: _ClassVar[PoolState]
    POOL_STATE_STOPPED: _ClassVar[PoolState]
    POOL_STATE_DELETING: _ClassVar[PoolState]
    POOL_STATE_ENDED: _ClassVar[PoolState]
    POOL_STATE_IDLE: _ClassVar[PoolState]

class PoolMemberState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POOL_MEMBER_STATE_UNSPECIFIED: _ClassVar[PoolMemberState]
    POOL_MEMBER_STATE_STARTING: _ClassVar[PoolMemberState]
    POOL_MEMBER_STATE_READY: _ClassVar[PoolMemberState]
    POOL_MEMBER_STATE_STOPPING: _ClassVar[PoolMemberState]
POOL_STATE_UNSPECIFIED: PoolState
POOL_STATE_CHANGING: PoolState
POOL_STATE_READY: PoolState
POOL_STATE_FAILING: PoolState
POOL_STATE_PAUSED: PoolState
POOL_STATE_STOPPED: PoolState
POOL_STATE_DELETING: PoolState
POOL_STATE_ENDED: PoolState
POOL_STATE_IDLE: PoolState
POOL_MEMBER_STATE_UNSPECIFIED: PoolMemberState
POOL_MEMBER_STATE_STARTING: PoolMemberState
POOL_MEMBER_STATE_READY: PoolMemberState
POOL_MEMBER_STATE_STOPPING: PoolMemberState

class PoolTemplate(_message.Message):
    __slots__ = ("provider", "program", "app", "command", "image", "slots", "labels", "resources", "environment", "folder", "settings", "ready_timeout", "stop_grace")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    READY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STOP_GRACE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    program: str
    app: str
    command: _containers.RepeatedScalarFieldContainer[str]
    image: str
    slots: int
    labels: _containers.ScalarMap[str, str]
    resources: _containers.ScalarMap[str, float]
    environment: _containers.ScalarMap[str, str]
    folder: str
    settings: _containers.ScalarMap[str, str]
    ready_timeout: _duration_pb2.Duration
    stop_grace: _duration_pb2.Duration
    def __init__(self, provider: _Optional[str] = ..., program: _Optional[str] = ..., app: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., image: _Optional[str] = ..., slots: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Mapping[str, float]] = ..., environment: _Optional[_Mapping[str, str]] = ..., folder: _Optional[str] = ..., settings: _Optional[_Mapping[str, str]] = ..., ready_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stop_grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class PoolSpec(_message.Message):
    __slots__ = ("template", "size", "ephemeral", "autoscale", "ttl", "idle_stop", "rollout")
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    AUTOSCALE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDLE_STOP_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    template: PoolTemplate
    size: int
    ephemeral: bool
    autoscale: Autoscale
    ttl: _duration_pb2.Duration
    idle_stop: _duration_pb2.Duration
    rollout: Rollout
    def __init__(self, template: _Optional[_Union[PoolTemplate, _Mapping]] = ..., size: _Optional[int] = ..., ephemeral: bool = ..., autoscale: _Optional[_Union[Autoscale, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., idle_stop: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ...) -> None: ...

class Autoscale(_message.Message):
    __slots__ = ("min", "max", "target_per_member", "cool_down", "methods")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    TARGET_PER_MEMBER_FIELD_NUMBER: _ClassVar[int]
    COOL_DOWN_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    target_per_member: int
    cool_down: _duration_pb2.Duration
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ..., target_per_member: _Optional[int] = ..., cool_down: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("surge", "healthy_for", "max_failures")
    SURGE_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FOR_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILURES_FIELD_NUMBER: _ClassVar[int]
    surge: int
    healthy_for: _duration_pb2.Duration
    max_failures: int
    def __init__(self, surge: _Optional[int] = ..., healthy_for: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_failures: _Optional[int] = ...) -> None: ...

class PoolMember(_message.Message):
    __slots__ = ("id", "state", "version", "place", "coordinator_id", "handle", "create_time", "start_time", "ready_time", "away_time", "stop_time", "reason", "token_id", "paused", "frozen", "freeze_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    READY_TIME_FIELD_NUMBER: _ClassVar[int]
    AWAY_TIME_FIELD_NUMBER: _ClassVar[int]
    STOP_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    FREEZE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: PoolMemberState
    version: int
    place: str
    coordinator_id: str
    handle: str
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    ready_time: _timestamp_pb2.Timestamp
    away_time: _timestamp_pb2.Timestamp
    stop_time: _timestamp_pb2.Timestamp
    reason: str
    token_id: str
    paused: bool
    frozen: bool
    freeze_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[PoolMemberState, str]] = ..., version: _Optional[int] = ..., place: _Optional[str] = ..., coordinator_id: _Optional[str] = ..., handle: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ready_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., away_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., stop_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., token_id: _Optional[str] = ..., paused: bool = ..., frozen: bool = ..., freeze_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("name", "spec", "uid", "create_time", "update_time", "version", "state", "problem", "paused", "pause_reason", "stopped", "deleting", "members", "wanted", "ready_count", "failures", "retry_time", "started_count", "lost_count", "failed_count", "end_time", "failure_time", "methods", "scaled", "lower_time", "lower_size", "idle_time", "idle", "last_version", "rolling", "previous_version", "previous_template", "percent", "rolled_back", "frozen", "pause_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    DELETING_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    READY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    RETRY_TIME_FIELD_NUMBER: _ClassVar[int]
    STARTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOST_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_TIME_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    SCALED_FIELD_NUMBER: _ClassVar[int]
    LOWER_TIME_FIELD_NUMBER: _ClassVar[int]
    LOWER_SIZE_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIME_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    LAST_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLLING_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    ROLLED_BACK_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    PAUSE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: PoolSpec
    uid: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    version: int
    state: PoolState
    problem: str
    paused: bool
    pause_reason: str
    stopped: bool
    deleting: bool
    members: _containers.RepeatedCompositeFieldContainer[PoolMember]
    wanted: int
    ready_count: int
    failures: int
    retry_time: _timestamp_pb2.Timestamp
    started_count: int
    lost_count: int
    failed_count: int
    end_time: _timestamp_pb2.Timestamp
    failure_time: _timestamp_pb2.Timestamp
    methods: _containers.RepeatedScalarFieldContainer[str]
    scaled: int
    lower_time: _timestamp_pb2.Timestamp
    lower_size: int
    idle_time: _timestamp_pb2.Timestamp
    idle: bool
    last_version: int
    rolling: bool
    previous_version: int
    previous_template: PoolTemplate
    percent: int
    rolled_back: str
    frozen: bool
    pause_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[PoolSpec, _Mapping]] = ..., uid: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[int] = ..., state: _Optional[_Union[PoolState, str]] = ..., problem: _Optional[str] = ..., paused: bool = ..., pause_reason: _Optional[str] = ..., stopped: bool = ..., deleting: bool = ..., members: _Optional[_Iterable[_Union[PoolMember, _Mapping]]] = ..., wanted: _Optional[int] = ..., ready_count: _Optional[int] = ..., failures: _Optional[int] = ..., retry_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_count: _Optional[int] = ..., lost_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., failure_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ..., scaled: _Optional[int] = ..., lower_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., lower_size: _Optional[int] = ..., idle_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., idle: bool = ..., last_version: _Optional[int] = ..., rolling: bool = ..., previous_version: _Optional[int] = ..., previous_template: _Optional[_Union[PoolTemplate, _Mapping]] = ..., percent: _Optional[int] = ..., rolled_back: _Optional[str] = ..., frozen: bool = ..., pause_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreatePoolRequest(_message.Message):
    __slots__ = ("name", "spec")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: PoolSpec
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[PoolSpec, _Mapping]] = ...) -> None: ...

class CreatePoolResponse(_message.Message):
    __slots__ = ("pool", "existed")
    POOL_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    existed: bool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ..., existed: bool = ...) -> None: ...

class LaunchAgentsRequest(_message.Message):
    __slots__ = ("name", "template", "count", "ttl", "idle_stop")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    IDLE_STOP_FIELD_NUMBER: _ClassVar[int]
    name: str
    template: PoolTemplate
    count: int
    ttl: _duration_pb2.Duration
    idle_stop: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., template: _Optional[_Union[PoolTemplate, _Mapping]] = ..., count: _Optional[int] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., idle_stop: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LaunchAgentsResponse(_message.Message):
    __slots__ = ("pool", "existed")
    POOL_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    existed: bool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ..., existed: bool = ...) -> None: ...

class GetPoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ListPoolsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools", "next_page_token")
    POOLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    next_page_token: str
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ScalePoolRequest(_message.Message):
    __slots__ = ("name", "size", "autoscale")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    AUTOSCALE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    autoscale: Autoscale
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., autoscale: _Optional[_Union[Autoscale, _Mapping]] = ...) -> None: ...

class ScalePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class PausePoolRequest(_message.Message):
    __slots__ = ("name", "reason", "freeze")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    freeze: bool
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., freeze: bool = ...) -> None: ...

class PausePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ResumePoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ResumePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class RestartPoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RestartPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class UpdatePoolRequest(_message.Message):
    __slots__ = ("name", "template", "percent")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    template: PoolTemplate
    percent: int
    def __init__(self, name: _Optional[str] = ..., template: _Optional[_Union[PoolTemplate, _Mapping]] = ..., percent: _Optional[int] = ...) -> None: ...

class UpdatePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class RollBackPoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RollBackPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class StopPoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class StopPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class DeletePoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeletePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ListPoolProvidersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoolProvidersResponse(_message.Message):
    __slots__ = ("providers",)
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[PoolProvider]
    def __init__(self, providers: _Optional[_Iterable[_Union[PoolProvider, _Mapping]]] = ...) -> None: ...

class PoolProvider(_message.Message):
    __slots__ = ("name", "description", "package", "place", "problem", "can_freeze")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CAN_FREEZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    package: str
    place: str
    problem: str
    can_freeze: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., package: _Optional[str] = ..., place: _Optional[str] = ..., problem: _Optional[str] = ..., can_freeze: bool = ...) -> None: ...
