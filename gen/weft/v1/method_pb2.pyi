from google.protobuf import field_mask_pb2 as _field_mask_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import fleet_pb2 as _fleet_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Method(_message.Message):
    __slots__ = ("name", "kind", "request_type", "response_type", "contract_hash", "agents", "policy", "contract_policy", "override", "override_problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TYPE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_TYPE_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_HASH_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_POLICY_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_FIELD_NUMBER: _ClassVar[int]
    OVERRIDE_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: _fleet_pb2.MethodKind
    request_type: str
    response_type: str
    contract_hash: str
    agents: int
    policy: _options_pb2.TaskPolicy
    contract_policy: _options_pb2.TaskPolicy
    override: _options_pb2.TaskPolicy
    override_problem: str
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[_fleet_pb2.MethodKind, str]] = ..., request_type: _Optional[str] = ..., response_type: _Optional[str] = ..., contract_hash: _Optional[str] = ..., agents: _Optional[int] = ..., policy: _Optional[_Union[_options_pb2.TaskPolicy, _Mapping]] = ..., contract_policy: _Optional[_Union[_options_pb2.TaskPolicy, _Mapping]] = ..., override: _Optional[_Union[_options_pb2.TaskPolicy, _Mapping]] = ..., override_problem: _Optional[str] = ...) -> None: ...

class ListMethodsRequest(_message.Message):
    __slots__ = ("service", "overridden")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    service: str
    overridden: bool
    def __init__(self, service: _Optional[str] = ..., overridden: bool = ...) -> None: ...

class ListMethodsResponse(_message.Message):
    __slots__ = ("methods",)
    METHODS_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedCompositeFieldContainer[Method]
    def __init__(self, methods: _Optional[_Iterable[_Union[Method, _Mapping]]] = ...) -> None: ...

class GetMethodRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetMethodResponse(_message.Message):
    __slots__ = ("method",)
    METHOD_FIELD_NUMBER: _ClassVar[int]
    method: Method
    def __init__(self, method: _Optional[_Union[Method, _Mapping]] = ...) -> None: ...

class UpdateMethodRequest(_message.Message):
    __slots__ = ("name", "policy", "update_mask")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    name: str
    policy: _options_pb2.TaskPolicy
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, name: _Optional[str] = ..., policy: _Optional[_Union[_options_pb2.TaskPolicy, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateMethodResponse(_message.Message):
    __slots__ = ("method",)
    METHOD_FIELD_NUMBER: _ClassVar[int]
    method: Method
    def __init__(self, method: _Optional[_Union[Method, _Mapping]] = ...) -> None: ...
