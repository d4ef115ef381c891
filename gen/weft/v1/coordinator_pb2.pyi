from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from weft.v1 import event_pb2 as _event_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import command_pb2 as _command_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from weft.v1 import options_pb2 as _options_pb2
from weft.v1 import session_pb2 as _session_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitTaskRequest(_message.Message):
    __slots__ = ("method", "payload", "request_id", "options", "request_id_ttl", "events")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_TTL_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    method: str
    payload: bytes
    request_id: str
    options: _task_pb2.TaskOptions
    request_id_ttl: _duration_pb2.Duration
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.NewEvent]
    def __init__(self, method: _Optional[str] = ..., payload: _Optional[bytes] = ..., request_id: _Optional[str] = ..., options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ..., request_id_ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., events: _Optional[_Iterable[_Union[_event_pb2.NewEvent, _Mapping]]] = ...) -> None: ...

class SubmitTaskResponse(_message.Message):
    __slots__ = ("task", "existed", "cached")
    TASK_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    existed: bool
    cached: bool
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., existed: bool = ..., cached: bool = ...) -> None: ...

class SubmitTasksRequest(_message.Message):
    __slots__ = ("tasks", "deliver_results")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    DELIVER_RESULTS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[SubmitTaskRequest]
    deliver_results: bool
    def __init__(self, tasks: _Optional[_Iterable[_Union[SubmitTaskRequest, _Mapping]]] = ..., deliver_results: bool = ...) -> None: ...

class SubmitTasksResponse(_message.Message):
    __slots__ = ("acks", "finished")
    ACKS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[SubmitAck]
    finished: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    def __init__(self, acks: _Optional[_Iterable[_Union[SubmitAck, _Mapping]]] = ..., finished: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ...) -> None: ...

class SubmitAck(_message.Message):
    __slots__ = ("task_id", "existed", "error", "cached")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    existed: bool
    error: _status_pb2.Status
    cached: bool
    def __init__(self, task_id: _Optional[str] = ..., existed: bool = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., cached: bool = ...) -> None: ...

class GetTaskRequest(_message.Message):
    __slots__ = ("task_id", "view")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    view: _task_pb2.TaskView
    def __init__(self, task_id: _Optional[str] = ..., view: _Optional[_Union[_task_pb2.TaskView, str]] = ...) -> None: ...

class GetTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ...) -> None: ...

class WaitTasksRequest(_message.Message):
    __slots__ = ("task_ids", "timeout", "view")
    TASK_IDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    task_ids: _containers.RepeatedScalarFieldContainer[str]
    timeout: _duration_pb2.Duration
    view: _task_pb2.TaskView
    def __init__(self, task_ids: _Optional[_Iterable[str]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., view: _Optional[_Union[_task_pb2.TaskView, str]] = ...) -> None: ...

class WaitTasksResponse(_message.Message):
    __slots__ = ("tasks", "not_found")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    not_found: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tasks: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ..., not_found: _Optional[_Iterable[str]] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "view")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    filter: TaskFilter
    page_size: int
    page_token: str
    view: _task_pb2.TaskView
    def __init__(self, filter: _Optional[_Union[TaskFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[_task_pb2.TaskView, str]] = ...) -> None: ...

class TaskFilter(_message.Message):
    __slots__ = ("states", "method", "create_time_from", "create_time_to", "agent_id", "request_id", "error_codes", "error_reason", "error_text", "group", "root_id")
    STATES_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_TO_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODES_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_TEXT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    ROOT_ID_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedScalarFieldContainer[_task_pb2.TaskState]
    method: str
    create_time_from: _timestamp_pb2.Timestamp
    create_time_to: _timestamp_pb2.Timestamp
    agent_id: str
    request_id: str
    error_codes: _containers.RepeatedScalarFieldContainer[int]
    error_reason: str
    error_text: str
    group: str
    root_id: str
    def __init__(self, states: _Optional[_Iterable[_Union[_task_pb2.TaskState, str]]] = ..., method: _Optional[str] = ..., create_time_from: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., create_time_to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., agent_id: _Optional[str] = ..., request_id: _Optional[str] = ..., error_codes: _Optional[_Iterable[int]] = ..., error_reason: _Optional[str] = ..., error_text: _Optional[str] = ..., group: _Optional[str] = ..., root_id: _Optional[str] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelTaskRequest(_message.Message):
    __slots__ = ("task_id", "reason", "grace")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, task_id: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CancelTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ...) -> None: ...

class RetryTaskRequest(_message.Message):
    __slots__ = ("task_id",)
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    def __init__(self, task_id: _Optional[str] = ...) -> None: ...

class RetryTaskResponse(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ...) -> None: ...

class WatchTaskRequest(_message.Message):
    __slots__ = ("task_id", "after_sequence")
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    task_id: str
    after_sequence: int
    def __init__(self, task_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchTaskResponse(_message.Message):
    __slots__ = ("task", "progress", "sequence")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    task: _task_pb2.Task
    progress: _task_pb2.ProgressEvent
    sequence: int
    def __init__(self, task: _Optional[_Union[_task_pb2.Task, _Mapping]] = ..., progress: _Optional[_Union[_task_pb2.ProgressEvent, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class ListAgentsRequest(_message.Message):
    __slots__ = ("method", "page_size", "page_token")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    method: str
    page_size: int
    page_token: str
    def __init__(self, method: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAgentsResponse(_message.Message):
    __slots__ = ("agents", "next_page_token")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Agent]
    next_page_token: str
    def __init__(self, agents: _Optional[_Iterable[_Union[_fleet_pb2.Agent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetAgentRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class GetAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: _fleet_pb2.Agent
    def __init__(self, agent: _Optional[_Union[_fleet_pb2.Agent, _Mapping]] = ...) -> None: ...

class WatchAgentsRequest(_message.Message):
    __slots__ = ("methods", "cursor")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    cursor: str
    def __init__(self, methods: _Optional[_Iterable[str]] = ..., cursor: _Optional[str] = ...) -> None: ...

class WatchAgentsResponse(_message.Message):
    __slots__ = ("agents", "removed", "snapshot", "cursor")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Agent]
    removed: _containers.RepeatedScalarFieldContainer[str]
    snapshot: bool
    cursor: str
    def __init__(self, agents: _Optional[_Iterable[_Union[_fleet_pb2.Agent, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ..., snapshot: bool = ..., cursor: _Optional[str] = ...) -> None: ...

class UpdateAgentRequest(_message.Message):
    __slots__ = ("agent_id", "desired_state")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DESIRED_STATE_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    desired_state: _fleet_pb2.DesiredState
    def __init__(self, agent_id: _Optional[str] = ..., desired_state: _Optional[_Union[_fleet_pb2.DesiredState, str]] = ...) -> None: ...

class UpdateAgentResponse(_message.Message):
    __slots__ = ("agent",)
    AGENT_FIELD_NUMBER: _ClassVar[int]
    agent: _fleet_pb2.Agent
    def __init__(self, agent: _Optional[_Union[_fleet_pb2.Agent, _Mapping]] = ...) -> None: ...

class ListQueuesRequest(_message.Message):
    __slots__ = ("method",)
    METHOD_FIELD_NUMBER: _ClassVar[int]
    method: str
    def __init__(self, method: _Optional[str] = ...) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues",)
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Queue]
    def __init__(self, queues: _Optional[_Iterable[_Union[_fleet_pb2.Queue, _Mapping]]] = ...) -> None: ...

class UpdateQueueRequest(_message.Message):
    __slots__ = ("method", "paused", "limits", "clear_limits")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_LIMITS_FIELD_NUMBER: _ClassVar[int]
    method: str
    paused: bool
    limits: QueueLimits
    clear_limits: bool
    def __init__(self, method: _Optional[str] = ..., paused: bool = ..., limits: _Optional[_Union[QueueLimits, _Mapping]] = ..., clear_limits: bool = ...) -> None: ...

class QueueLimits(_message.Message):
    __slots__ = ("max_running", "max_rate_per_s", "per_fairness_key", "burst", "at_limit", "key")
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MAX_RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    PER_FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    AT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    max_running: int
    max_rate_per_s: float
    per_fairness_key: bool
    burst: int
    at_limit: _options_pb2.AtLimit
    key: str
    def __init__(self, max_running: _Optional[int] = ..., max_rate_per_s: _Optional[float] = ..., per_fairness_key: bool = ..., burst: _Optional[int] = ..., at_limit: _Optional[_Union[_options_pb2.AtLimit, str]] = ..., key: _Optional[str] = ...) -> None: ...

class UpdateQueueResponse(_message.Message):
    __slots__ = ("queues",)
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Queue]
    def __init__(self, queues: _Optional[_Iterable[_Union[_fleet_pb2.Queue, _Mapping]]] = ...) -> None: ...

class ListResourcesRequest(_message.Message):
    __slots__ = ("method", "lock")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LOCK_FIELD_NUMBER: _ClassVar[int]
    method: str
    lock: str
    def __init__(self, method: _Optional[str] = ..., lock: _Optional[str] = ...) -> None: ...

class ListResourcesResponse(_message.Message):
    __slots__ = ("agents", "locks")
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    LOCKS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[AgentResources]
    locks: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.LockState]
    def __init__(self, agents: _Optional[_Iterable[_Union[AgentResources, _Mapping]]] = ..., locks: _Optional[_Iterable[_Union[_fleet_pb2.LockState, _Mapping]]] = ...) -> None: ...

class AgentResources(_message.Message):
    __slots__ = ("agent_id", "resources")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    resources: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.ResourceUse]
    def __init__(self, agent_id: _Optional[str] = ..., resources: _Optional[_Iterable[_Union[_fleet_pb2.ResourceUse, _Mapping]]] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("agent_id", "epoch", "message", "report_key")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REPORT_KEY_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    message: _session_pb2.ConnectRequest
    report_key: bytes
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., message: _Optional[_Union[_session_pb2.ConnectRequest, _Mapping]] = ..., report_key: _Optional[bytes] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("commands",)
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    commands: _containers.RepeatedCompositeFieldContainer[_command_pb2.AgentCommand]
    def __init__(self, commands: _Optional[_Iterable[_Union[_command_pb2.AgentCommand, _Mapping]]] = ...) -> None: ...
