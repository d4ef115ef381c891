from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from weft.services.planner.v1 import graph_pb2 as _graph_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PlanSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_SOURCE_UNSPECIFIED: _ClassVar[PlanSource]
    PLAN_SOURCE_RULES: _ClassVar[PlanSource]
    PLAN_SOURCE_MODEL: _ClassVar[PlanSource]

class DrawFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRAW_FORMAT_UNSPECIFIED: _ClassVar[DrawFormat]
    DRAW_FORMAT_TEXT: _ClassVar[DrawFormat]
    DRAW_FORMAT_MERMAID: _ClassVar[DrawFormat]

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_SUCCEEDED: _ClassVar[RunState]
    RUN_STATE_FAILED: _ClassVar[RunState]

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_SUCCEEDED: _ClassVar[NodeState]
    NODE_STATE_FAILED: _ClassVar[NodeState]
    NODE_STATE_RECOVERED: _ClassVar[NodeState]
    NODE_STATE_SKIPPED: _ClassVar[NodeState]
    NODE_STATE_NOT_REACHED: _ClassVar[NodeState]
    NODE_STATE_UNDONE: _ClassVar[NodeState]
    NODE_STATE_UNDO_FAILED: _ClassVar[NodeState]
PLAN_SOURCE_UNSPECIFIED: PlanSource
PLAN_SOURCE_RULES: PlanSource
PLAN_SOURCE_MODEL: PlanSource
DRAW_FORMAT_UNSPECIFIED: DrawFormat
DRAW_FORMAT_TEXT: DrawFormat
DRAW_FORMAT_MERMAID: DrawFormat
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_SUCCEEDED: RunState
RUN_STATE_FAILED: RunState
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_SUCCEEDED: NodeState
NODE_STATE_FAILED: NodeState
NODE_STATE_RECOVERED: NodeState
NODE_STATE_SKIPPED: NodeState
NODE_STATE_NOT_REACHED: NodeState
NODE_STATE_UNDONE: NodeState
NODE_STATE_UNDO_FAILED: NodeState

class ListToolsRequest(_message.Message):
    __slots__ = ("match",)
    MATCH_FIELD_NUMBER: _ClassVar[int]
    match: str
    def __init__(self, match: _Optional[str] = ...) -> None: ...

class ListToolsResponse(_message.Message):
    __slots__ = ("tools", "left_out")
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    tools: _containers.RepeatedCompositeFieldContainer[Tool]
    left_out: int
    def __init__(self, tools: _Optional[_Iterable[_Union[Tool, _Mapping]]] = ..., left_out: _Optional[int] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("method", "description", "request_schema_json", "response_schema_json", "may_run_twice")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    MAY_RUN_TWICE_FIELD_NUMBER: _ClassVar[int]
    method: str
    description: str
    request_schema_json: str
    response_schema_json: str
    may_run_twice: bool
    def __init__(self, method: _Optional[str] = ..., description: _Optional[str] = ..., request_schema_json: _Optional[str] = ..., response_schema_json: _Optional[str] = ..., may_run_twice: bool = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("goal", "methods", "rules_only", "model")
    GOAL_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    RULES_ONLY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    goal: str
    methods: _containers.RepeatedScalarFieldContainer[str]
    rules_only: bool
    model: str
    def __init__(self, goal: _Optional[str] = ..., methods: _Optional[_Iterable[str]] = ..., rules_only: bool = ..., model: _Optional[str] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("graph", "source", "reasons")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    source: PlanSource
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., source: _Optional[_Union[PlanSource, str]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class ValidateRequest(_message.Message):
    __slots__ = ("graph",)
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ...) -> None: ...

class ValidateResponse(_message.Message):
    __slots__ = ("problems",)
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    def __init__(self, problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("place", "message")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    place: str
    message: str
    def __init__(self, place: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DrawRequest(_message.Message):
    __slots__ = ("graph", "format")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    format: DrawFormat
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., format: _Optional[_Union[DrawFormat, str]] = ...) -> None: ...

class DrawResponse(_message.Message):
    __slots__ = ("drawing",)
    DRAWING_FIELD_NUMBER: _ClassVar[int]
    drawing: str
    def __init__(self, drawing: _Optional[str] = ...) -> None: ...

class RunGraphRequest(_message.Message):
    __slots__ = ("graph", "inputs", "replan")
    GRAPH_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    REPLAN_FIELD_NUMBER: _ClassVar[int]
    graph: _graph_pb2.Graph
    inputs: _struct_pb2.Struct
    replan: Replan
    def __init__(self, graph: _Optional[_Union[_graph_pb2.Graph, _Mapping]] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., replan: _Optional[_Union[Replan, _Mapping]] = ...) -> None: ...

class Replan(_message.Message):
    __slots__ = ("goal", "max_plans", "methods")
    GOAL_FIELD_NUMBER: _ClassVar[int]
    MAX_PLANS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    goal: str
    max_plans: int
    methods: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, goal: _Optional[str] = ..., max_plans: _Optional[int] = ..., methods: _Optional[_Iterable[str]] = ...) -> None: ...

class RunGraphResponse(_message.Message):
    __slots__ = ("state", "output", "nodes", "error")
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    state: RunState
    output: _struct_pb2.Value
    nodes: _containers.RepeatedCompositeFieldContainer[NodeOutcome]
    error: _status_pb2.Status
    def __init__(self, state: _Optional[_Union[RunState, str]] = ..., output: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., nodes: _Optional[_Iterable[_Union[NodeOutcome, _Mapping]]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class NodeOutcome(_message.Message):
    __slots__ = ("name", "state", "method", "task_id", "attempts", "agent_id", "submitted_at", "started_at", "ended_at", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TASK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: NodeState
    method: str
    task_id: str
    attempts: int
    agent_id: str
    submitted_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., method: _Optional[str] = ..., task_id: _Optional[str] = ..., attempts: _Optional[int] = ..., agent_id: _Optional[str] = ..., submitted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
