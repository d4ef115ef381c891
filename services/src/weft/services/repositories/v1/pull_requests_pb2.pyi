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

class PullRequestState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PULL_REQUEST_STATE_UNSPECIFIED: _ClassVar[PullRequestState]
    PULL_REQUEST_STATE_OPEN: _ClassVar[PullRequestState]
    PULL_REQUEST_STATE_CLOSED: _ClassVar[PullRequestState]
    PULL_REQUEST_STATE_MERGED: _ClassVar[PullRequestState]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_COMMENT: _ClassVar[Verdict]
    VERDICT_APPROVE: _ClassVar[Verdict]
    VERDICT_REQUEST_CHANGES: _ClassVar[Verdict]
PULL_REQUEST_STATE_UNSPECIFIED: PullRequestState
PULL_REQUEST_STATE_OPEN: PullRequestState
PULL_REQUEST_STATE_CLOSED: PullRequestState
PULL_REQUEST_STATE_MERGED: PullRequestState
VERDICT_UNSPECIFIED: Verdict
VERDICT_COMMENT: Verdict
VERDICT_APPROVE: Verdict
VERDICT_REQUEST_CHANGES: Verdict

class RepositoryPlace(_message.Message):
    __slots__ = ("url", "credential")
    URL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    url: str
    credential: str
    def __init__(self, url: _Optional[str] = ..., credential: _Optional[str] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("number", "url", "title", "body", "state", "draft", "head_branch", "head", "base_branch", "author", "created_at", "updated_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    HEAD_BRANCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    BASE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    url: str
    title: str
    body: str
    state: PullRequestState
    draft: bool
    head_branch: str
    head: str
    base_branch: str
    author: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., url: _Optional[str] = ..., title: _Optional[str] = ..., body: _Optional[str] = ..., state: _Optional[_Union[PullRequestState, str]] = ..., draft: bool = ..., head_branch: _Optional[str] = ..., head: _Optional[str] = ..., base_branch: _Optional[str] = ..., author: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OpenPullRequestRequest(_message.Message):
    __slots__ = ("repository", "head_branch", "head_owner", "base_branch", "title", "body", "draft")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    HEAD_BRANCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_OWNER_FIELD_NUMBER: _ClassVar[int]
    BASE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    head_branch: str
    head_owner: str
    base_branch: str
    title: str
    body: str
    draft: bool
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., head_branch: _Optional[str] = ..., head_owner: _Optional[str] = ..., base_branch: _Optional[str] = ..., title: _Optional[str] = ..., body: _Optional[str] = ..., draft: bool = ...) -> None: ...

class OpenPullRequestResponse(_message.Message):
    __slots__ = ("pull_request", "existed")
    PULL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    pull_request: PullRequest
    existed: bool
    def __init__(self, pull_request: _Optional[_Union[PullRequest, _Mapping]] = ..., existed: bool = ...) -> None: ...

class GetPullRequestRequest(_message.Message):
    __slots__ = ("repository", "number")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ...) -> None: ...

class GetPullRequestResponse(_message.Message):
    __slots__ = ("pull_request",)
    PULL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    pull_request: PullRequest
    def __init__(self, pull_request: _Optional[_Union[PullRequest, _Mapping]] = ...) -> None: ...

class ListPullRequestsRequest(_message.Message):
    __slots__ = ("repository", "all", "head_branch", "page")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    HEAD_BRANCH_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    all: bool
    head_branch: str
    page: int
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., all: bool = ..., head_branch: _Optional[str] = ..., page: _Optional[int] = ...) -> None: ...

class ListPullRequestsResponse(_message.Message):
    __slots__ = ("pull_requests", "more")
    PULL_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    pull_requests: _containers.RepeatedCompositeFieldContainer[PullRequest]
    more: bool
    def __init__(self, pull_requests: _Optional[_Iterable[_Union[PullRequest, _Mapping]]] = ..., more: bool = ...) -> None: ...

class UpdatePullRequestRequest(_message.Message):
    __slots__ = ("repository", "number", "title", "body", "state")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    title: str
    body: str
    state: PullRequestState
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ..., title: _Optional[str] = ..., body: _Optional[str] = ..., state: _Optional[_Union[PullRequestState, str]] = ...) -> None: ...

class UpdatePullRequestResponse(_message.Message):
    __slots__ = ("pull_request",)
    PULL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    pull_request: PullRequest
    def __init__(self, pull_request: _Optional[_Union[PullRequest, _Mapping]] = ...) -> None: ...

class ReviewPullRequestRequest(_message.Message):
    __slots__ = ("repository", "number", "verdict", "body", "comments", "commit", "key")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    COMMENTS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    verdict: Verdict
    body: str
    comments: _containers.RepeatedCompositeFieldContainer[LineComment]
    commit: str
    key: str
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., body: _Optional[str] = ..., comments: _Optional[_Iterable[_Union[LineComment, _Mapping]]] = ..., commit: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class LineComment(_message.Message):
    __slots__ = ("path", "line", "body")
    PATH_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    path: str
    line: int
    body: str
    def __init__(self, path: _Optional[str] = ..., line: _Optional[int] = ..., body: _Optional[str] = ...) -> None: ...

class ReviewPullRequestResponse(_message.Message):
    __slots__ = ("review", "existed")
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    review: Review
    existed: bool
    def __init__(self, review: _Optional[_Union[Review, _Mapping]] = ..., existed: bool = ...) -> None: ...

class Review(_message.Message):
    __slots__ = ("id", "url", "author", "verdict", "body", "commit", "submitted_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    id: int
    url: str
    author: str
    verdict: Verdict
    body: str
    commit: str
    submitted_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., url: _Optional[str] = ..., author: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., body: _Optional[str] = ..., commit: _Optional[str] = ..., submitted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListReviewsRequest(_message.Message):
    __slots__ = ("repository", "number", "page")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    page: int
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ..., page: _Optional[int] = ...) -> None: ...

class ListReviewsResponse(_message.Message):
    __slots__ = ("reviews", "more")
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    more: bool
    def __init__(self, reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., more: bool = ...) -> None: ...

class AddCommentRequest(_message.Message):
    __slots__ = ("repository", "number", "body", "key")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    body: str
    key: str
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ..., body: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class AddCommentResponse(_message.Message):
    __slots__ = ("comment", "existed")
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    comment: Comment
    existed: bool
    def __init__(self, comment: _Optional[_Union[Comment, _Mapping]] = ..., existed: bool = ...) -> None: ...

class Comment(_message.Message):
    __slots__ = ("id", "url", "author", "body", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: int
    url: str
    author: str
    body: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., url: _Optional[str] = ..., author: _Optional[str] = ..., body: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListCommentsRequest(_message.Message):
    __slots__ = ("repository", "number", "page")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    repository: RepositoryPlace
    number: int
    page: int
    def __init__(self, repository: _Optional[_Union[RepositoryPlace, _Mapping]] = ..., number: _Optional[int] = ..., page: _Optional[int] = ...) -> None: ...

class ListCommentsResponse(_message.Message):
    __slots__ = ("comments", "more")
    COMMENTS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    comments: _containers.RepeatedCompositeFieldContainer[Comment]
    more: bool
    def __init__(self, comments: _Optional[_Iterable[_Union[Comment, _Mapping]]] = ..., more: bool = ...) -> None: ...

class PullRequestChanged(_message.Message):
    __slots__ = ("repository", "number", "action", "title", "head_branch", "head", "base_branch", "url", "sender", "merged")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HEAD_BRANCH_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    BASE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    repository: str
    number: int
    action: str
    title: str
    head_branch: str
    head: str
    base_branch: str
    url: str
    sender: str
    merged: bool
    def __init__(self, repository: _Optional[str] = ..., number: _Optional[int] = ..., action: _Optional[str] = ..., title: _Optional[str] = ..., head_branch: _Optional[str] = ..., head: _Optional[str] = ..., base_branch: _Optional[str] = ..., url: _Optional[str] = ..., sender: _Optional[str] = ..., merged: bool = ...) -> None: ...
