from weft.rules import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_NAME_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_WORKSPACE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_WORKSPACE_EXISTS: _ClassVar[ErrorReason]
    ERROR_REASON_WORKSPACE_BUSY: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_MANY_WORKSPACES: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_GIT_TOO_SLOW: _ClassVar[ErrorReason]
    ERROR_REASON_GIT_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_GIT_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_REMOTE_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_REMOTE_UNAVAILABLE: _ClassVar[ErrorReason]
    ERROR_REASON_REPOSITORY_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_CREDENTIAL_MISSING: _ClassVar[ErrorReason]
    ERROR_REASON_BRANCH_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_REVISION_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_FAST_FORWARD: _ClassVar[ErrorReason]
    ERROR_REASON_LOCAL_CHANGES: _ClassVar[ErrorReason]
    ERROR_REASON_PATH_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_FILE_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_A_FILE: _ClassVar[ErrorReason]
    ERROR_REASON_CONTENT_CHANGED: _ClassVar[ErrorReason]
    ERROR_REASON_NOTHING_TO_COMMIT: _ClassVar[ErrorReason]
    ERROR_REASON_HEAD_MOVED: _ClassVar[ErrorReason]
    ERROR_REASON_PUSH_REJECTED: _ClassVar[ErrorReason]
    ERROR_REASON_API_REFUSED: _ClassVar[ErrorReason]
    ERROR_REASON_PULL_REQUEST_NOT_FOUND: _ClassVar[ErrorReason]

class FileChange(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILE_CHANGE_UNSPECIFIED: _ClassVar[FileChange]
    FILE_CHANGE_ADDED: _ClassVar[FileChange]
    FILE_CHANGE_MODIFIED: _ClassVar[FileChange]
    FILE_CHANGE_DELETED: _ClassVar[FileChange]
    FILE_CHANGE_CONFLICTED: _ClassVar[FileChange]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_NAME_REFUSED: ErrorReason
ERROR_REASON_WORKSPACE_NOT_FOUND: ErrorReason
ERROR_REASON_WORKSPACE_EXISTS: ErrorReason
ERROR_REASON_WORKSPACE_BUSY: ErrorReason
ERROR_REASON_TOO_MANY_WORKSPACES: ErrorReason
ERROR_REASON_TOO_LARGE: ErrorReason
ERROR_REASON_GIT_TOO_SLOW: ErrorReason
ERROR_REASON_GIT_MISSING: ErrorReason
ERROR_REASON_GIT_FAILED: ErrorReason
ERROR_REASON_REMOTE_REFUSED: ErrorReason
ERROR_REASON_REMOTE_UNAVAILABLE: ErrorReason
ERROR_REASON_REPOSITORY_NOT_FOUND: ErrorReason
ERROR_REASON_CREDENTIAL_MISSING: ErrorReason
ERROR_REASON_BRANCH_NOT_FOUND: ErrorReason
ERROR_REASON_REVISION_NOT_FOUND: ErrorReason
ERROR_REASON_NOT_FAST_FORWARD: ErrorReason
ERROR_REASON_LOCAL_CHANGES: ErrorReason
ERROR_REASON_PATH_REFUSED: ErrorReason
ERROR_REASON_FILE_NOT_FOUND: ErrorReason
ERROR_REASON_NOT_A_FILE: ErrorReason
ERROR_REASON_CONTENT_CHANGED: ErrorReason
ERROR_REASON_NOTHING_TO_COMMIT: ErrorReason
ERROR_REASON_HEAD_MOVED: ErrorReason
ERROR_REASON_PUSH_REJECTED: ErrorReason
ERROR_REASON_API_REFUSED: ErrorReason
ERROR_REASON_PULL_REQUEST_NOT_FOUND: ErrorReason
FILE_CHANGE_UNSPECIFIED: FileChange
FILE_CHANGE_ADDED: FileChange
FILE_CHANGE_MODIFIED: FileChange
FILE_CHANGE_DELETED: FileChange
FILE_CHANGE_CONFLICTED: FileChange

class CloneRequest(_message.Message):
    __slots__ = ("workspace", "url", "branch", "depth", "credential", "single_branch")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    SINGLE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    url: str
    branch: str
    depth: int
    credential: str
    single_branch: bool
    def __init__(self, workspace: _Optional[str] = ..., url: _Optional[str] = ..., branch: _Optional[str] = ..., depth: _Optional[int] = ..., credential: _Optional[str] = ..., single_branch: bool = ...) -> None: ...

class CloneResponse(_message.Message):
    __slots__ = ("workspace", "existed", "head")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    workspace: Workspace
    existed: bool
    head: str
    def __init__(self, workspace: _Optional[_Union[Workspace, _Mapping]] = ..., existed: bool = ..., head: _Optional[str] = ...) -> None: ...

class Workspace(_message.Message):
    __slots__ = ("name", "url", "credential", "agent_id", "created_at", "used_at", "folder")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    USED_AT_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    credential: str
    agent_id: str
    created_at: _timestamp_pb2.Timestamp
    used_at: _timestamp_pb2.Timestamp
    folder: str
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ..., credential: _Optional[str] = ..., agent_id: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., used_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., folder: _Optional[str] = ...) -> None: ...

class ListWorkspacesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkspacesResponse(_message.Message):
    __slots__ = ("workspaces",)
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    workspaces: _containers.RepeatedCompositeFieldContainer[Workspace]
    def __init__(self, workspaces: _Optional[_Iterable[_Union[Workspace, _Mapping]]] = ...) -> None: ...

class DeleteWorkspaceRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    def __init__(self, workspace: _Optional[str] = ...) -> None: ...

class DeleteWorkspaceResponse(_message.Message):
    __slots__ = ("existed",)
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    def __init__(self, existed: bool = ...) -> None: ...

class UpdateWorkspaceRequest(_message.Message):
    __slots__ = ("workspace", "fetch_only", "discard_changes")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    FETCH_ONLY_FIELD_NUMBER: _ClassVar[int]
    DISCARD_CHANGES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    fetch_only: bool
    discard_changes: bool
    def __init__(self, workspace: _Optional[str] = ..., fetch_only: bool = ..., discard_changes: bool = ...) -> None: ...

class UpdateWorkspaceResponse(_message.Message):
    __slots__ = ("old_head", "head")
    OLD_HEAD_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    old_head: str
    head: str
    def __init__(self, old_head: _Optional[str] = ..., head: _Optional[str] = ...) -> None: ...

class SwitchBranchRequest(_message.Message):
    __slots__ = ("workspace", "branch", "create", "start")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    branch: str
    create: bool
    start: str
    def __init__(self, workspace: _Optional[str] = ..., branch: _Optional[str] = ..., create: bool = ..., start: _Optional[str] = ...) -> None: ...

class SwitchBranchResponse(_message.Message):
    __slots__ = ("head", "created")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    head: str
    created: bool
    def __init__(self, head: _Optional[str] = ..., created: bool = ...) -> None: ...

class ListBranchesRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    def __init__(self, workspace: _Optional[str] = ...) -> None: ...

class ListBranchesResponse(_message.Message):
    __slots__ = ("branches", "truncated")
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    branches: _containers.RepeatedCompositeFieldContainer[Branch]
    truncated: bool
    def __init__(self, branches: _Optional[_Iterable[_Union[Branch, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("name", "head", "remote", "checked_out")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    REMOTE_FIELD_NUMBER: _ClassVar[int]
    CHECKED_OUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    head: str
    remote: bool
    checked_out: bool
    def __init__(self, name: _Optional[str] = ..., head: _Optional[str] = ..., remote: bool = ..., checked_out: bool = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("workspace",)
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    def __init__(self, workspace: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("branch", "head", "ahead", "behind", "has_remote", "files", "truncated", "workspace")
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    HAS_REMOTE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    branch: str
    head: str
    ahead: int
    behind: int
    has_remote: bool
    files: _containers.RepeatedCompositeFieldContainer[ChangedFile]
    truncated: bool
    workspace: Workspace
    def __init__(self, branch: _Optional[str] = ..., head: _Optional[str] = ..., ahead: _Optional[int] = ..., behind: _Optional[int] = ..., has_remote: bool = ..., files: _Optional[_Iterable[_Union[ChangedFile, _Mapping]]] = ..., truncated: bool = ..., workspace: _Optional[_Union[Workspace, _Mapping]] = ...) -> None: ...

class ChangedFile(_message.Message):
    __slots__ = ("path", "change")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    path: str
    change: FileChange
    def __init__(self, path: _Optional[str] = ..., change: _Optional[_Union[FileChange, str]] = ...) -> None: ...

class GetDiffRequest(_message.Message):
    __slots__ = ("workspace", "to", "paths", "max_bytes", "context_lines")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LINES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    to: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    max_bytes: int
    context_lines: int
    def __init__(self, workspace: _Optional[str] = ..., to: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ..., max_bytes: _Optional[int] = ..., context_lines: _Optional[int] = ..., **kwargs) -> None: ...

class GetDiffResponse(_message.Message):
    __slots__ = ("diff", "truncated")
    DIFF_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    diff: str
    truncated: bool
    def __init__(self, diff: _Optional[str] = ..., truncated: bool = ...) -> None: ...

class ListCommitsRequest(_message.Message):
    __slots__ = ("workspace", "revision", "without", "paths", "max_commits")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    MAX_COMMITS_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    revision: str
    without: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    max_commits: int
    def __init__(self, workspace: _Optional[str] = ..., revision: _Optional[str] = ..., without: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ..., max_commits: _Optional[int] = ...) -> None: ...

class ListCommitsResponse(_message.Message):
    __slots__ = ("commits", "truncated")
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    commits: _containers.RepeatedCompositeFieldContainer[CommitInfo]
    truncated: bool
    def __init__(self, commits: _Optional[_Iterable[_Union[CommitInfo, _Mapping]]] = ..., truncated: bool = ...) -> None: ...

class CommitInfo(_message.Message):
    __slots__ = ("id", "parents", "author", "authored_at", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    AUTHORED_AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    parents: _containers.RepeatedScalarFieldContainer[str]
    author: Person
    authored_at: _timestamp_pb2.Timestamp
    message: str
    def __init__(self, id: _Optional[str] = ..., parents: _Optional[_Iterable[str]] = ..., author: _Optional[_Union[Person, _Mapping]] = ..., authored_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., message: _Optional[str] = ...) -> None: ...

class Person(_message.Message):
    __slots__ = ("name", "email")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    email: str
    def __init__(self, name: _Optional[str] = ..., email: _Optional[str] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("workspace", "folder", "after", "max_files")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    MAX_FILES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    folder: str
    after: str
    max_files: int
    def __init__(self, workspace: _Optional[str] = ..., folder: _Optional[str] = ..., after: _Optional[str] = ..., max_files: _Optional[int] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("paths", "truncated")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    truncated: bool
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., truncated: bool = ...) -> None: ...

class ReadFileRequest(_message.Message):
    __slots__ = ("workspace", "path", "offset", "max_bytes")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    path: str
    offset: int
    max_bytes: int
    def __init__(self, workspace: _Optional[str] = ..., path: _Optional[str] = ..., offset: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class ReadFileResponse(_message.Message):
    __slots__ = ("content", "size_bytes", "truncated", "sha256", "executable", "lfs_pointer")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    LFS_POINTER_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    size_bytes: int
    truncated: bool
    sha256: str
    executable: bool
    lfs_pointer: bool
    def __init__(self, content: _Optional[bytes] = ..., size_bytes: _Optional[int] = ..., truncated: bool = ..., sha256: _Optional[str] = ..., executable: bool = ..., lfs_pointer: bool = ...) -> None: ...

class WriteFilesRequest(_message.Message):
    __slots__ = ("workspace", "files")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    files: _containers.RepeatedCompositeFieldContainer[FileWrite]
    def __init__(self, workspace: _Optional[str] = ..., files: _Optional[_Iterable[_Union[FileWrite, _Mapping]]] = ...) -> None: ...

class FileWrite(_message.Message):
    __slots__ = ("path", "content", "delete", "executable", "expected_sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    content: bytes
    delete: bool
    executable: bool
    expected_sha256: str
    def __init__(self, path: _Optional[str] = ..., content: _Optional[bytes] = ..., delete: bool = ..., executable: bool = ..., expected_sha256: _Optional[str] = ...) -> None: ...

class WriteFilesResponse(_message.Message):
    __slots__ = ("written",)
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    written: int
    def __init__(self, written: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("workspace", "message", "paths", "author", "expected_head", "key")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_HEAD_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    message: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    author: Person
    expected_head: str
    key: str
    def __init__(self, workspace: _Optional[str] = ..., message: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ..., author: _Optional[_Union[Person, _Mapping]] = ..., expected_head: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("commit", "existed")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    commit: str
    existed: bool
    def __init__(self, commit: _Optional[str] = ..., existed: bool = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("workspace", "branch", "replace")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    branch: str
    replace: str
    def __init__(self, workspace: _Optional[str] = ..., branch: _Optional[str] = ..., replace: _Optional[str] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("branch", "head", "up_to_date")
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    UP_TO_DATE_FIELD_NUMBER: _ClassVar[int]
    branch: str
    head: str
    up_to_date: bool
    def __init__(self, branch: _Optional[str] = ..., head: _Optional[str] = ..., up_to_date: bool = ...) -> None: ...
