from google.protobuf import duration_pb2 as _duration_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import security_pb2 as _security_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProvisionAgentRequest(_message.Message):
    __slots__ = ("kind", "name", "settings", "scope", "ttl", "dry_run", "namespace")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    settings: _containers.ScalarMap[str, str]
    scope: ProvisionScope
    ttl: _duration_pb2.Duration
    dry_run: bool
    namespace: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., settings: _Optional[_Mapping[str, str]] = ..., scope: _Optional[_Union[ProvisionScope, _Mapping]] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., dry_run: bool = ..., namespace: _Optional[str] = ...) -> None: ...

class ProvisionScope(_message.Message):
    __slots__ = ("hosts", "methods", "labels")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedScalarFieldContainer[str]
    methods: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, hosts: _Optional[_Iterable[str]] = ..., methods: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[str]] = ...) -> None: ...

class ProvisionAgentResponse(_message.Message):
    __slots__ = ("token", "text", "file_name", "steps", "warnings", "agent_ids")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    AGENT_IDS_FIELD_NUMBER: _ClassVar[int]
    token: _security_pb2.Token
    text: str
    file_name: str
    steps: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    agent_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, token: _Optional[_Union[_security_pb2.Token, _Mapping]] = ..., text: _Optional[str] = ..., file_name: _Optional[str] = ..., steps: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ..., agent_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListProvisionKindsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListProvisionKindsResponse(_message.Message):
    __slots__ = ("kinds",)
    KINDS_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedCompositeFieldContainer[ProvisionKind]
    def __init__(self, kinds: _Optional[_Iterable[_Union[ProvisionKind, _Mapping]]] = ...) -> None: ...

class ProvisionKind(_message.Message):
    __slots__ = ("name", "description", "settings", "package", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    settings: _containers.RepeatedCompositeFieldContainer[ProvisionSetting]
    package: str
    problem: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[ProvisionSetting, _Mapping]]] = ..., package: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class ProvisionSetting(_message.Message):
    __slots__ = ("name", "description", "default_value", "required")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    default_value: str
    required: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., default_value: _Optional[str] = ..., required: bool = ...) -> None: ...
