from google.protobuf import timestamp_pb2 as _timestamp_pb2
from weft.v1 import access_pb2 as _access_pb2
from weft.v1 import security_pb2 as _security_pb2
from weft.v1 import task_pb2 as _task_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubscriptionSpec(_message.Message):
    __slots__ = ("topic", "filter", "delivery", "partitions")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    filter: str
    delivery: EventDelivery
    partitions: int
    def __init__(self, topic: _Optional[str] = ..., filter: _Optional[str] = ..., delivery: _Optional[_Union[EventDelivery, _Mapping]] = ..., partitions: _Optional[int] = ...) -> None: ...

class EventDelivery(_message.Message):
    __slots__ = ("method", "options")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    method: str
    options: _task_pb2.TaskOptions
    def __init__(self, method: _Optional[str] = ..., options: _Optional[_Union[_task_pb2.TaskOptions, _Mapping]] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("name", "spec", "uid", "create_time", "paused", "pause_reason", "start_sequence", "declared", "cursor", "submitted_count", "refused_count", "missed_count", "error", "maker")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    START_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MAKER_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: SubscriptionSpec
    uid: str
    create_time: _timestamp_pb2.Timestamp
    paused: bool
    pause_reason: str
    start_sequence: int
    declared: bool
    cursor: int
    submitted_count: int
    refused_count: int
    missed_count: int
    error: str
    maker: _security_pb2.Maker
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[SubscriptionSpec, _Mapping]] = ..., uid: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., paused: bool = ..., pause_reason: _Optional[str] = ..., start_sequence: _Optional[int] = ..., declared: bool = ..., cursor: _Optional[int] = ..., submitted_count: _Optional[int] = ..., refused_count: _Optional[int] = ..., missed_count: _Optional[int] = ..., error: _Optional[str] = ..., maker: _Optional[_Union[_security_pb2.Maker, _Mapping]] = ...) -> None: ...

class SubscriptionState(_message.Message):
    __slots__ = ("uid", "cursor", "submitted_count", "refused_count", "missed_count", "error", "holder", "hold_time", "partitions", "members")
    UID_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    MISSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    HOLD_TIME_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    uid: str
    cursor: int
    submitted_count: int
    refused_count: int
    missed_count: int
    error: str
    holder: str
    hold_time: _timestamp_pb2.Timestamp
    partitions: _containers.RepeatedCompositeFieldContainer[ConsumerPartition]
    members: _containers.RepeatedCompositeFieldContainer[ConsumerMember]
    def __init__(self, uid: _Optional[str] = ..., cursor: _Optional[int] = ..., submitted_count: _Optional[int] = ..., refused_count: _Optional[int] = ..., missed_count: _Optional[int] = ..., error: _Optional[str] = ..., holder: _Optional[str] = ..., hold_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., partitions: _Optional[_Iterable[_Union[ConsumerPartition, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[ConsumerMember, _Mapping]]] = ...) -> None: ...

class ConsumerPartition(_message.Message):
    __slots__ = ("cursor", "owner")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    owner: str
    def __init__(self, cursor: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class ConsumerMember(_message.Message):
    __slots__ = ("id", "hold_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOLD_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    hold_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., hold_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NewEvent(_message.Message):
    __slots__ = ("topic", "payload", "id", "key", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    payload: bytes
    id: str
    key: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, topic: _Optional[str] = ..., payload: _Optional[bytes] = ..., id: _Optional[str] = ..., key: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("topic", "sequence", "id", "key", "publish_time", "payload", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_TIME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    sequence: int
    id: str
    key: str
    publish_time: _timestamp_pb2.Timestamp
    payload: bytes
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, topic: _Optional[str] = ..., sequence: _Optional[int] = ..., id: _Optional[str] = ..., key: _Optional[str] = ..., publish_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., payload: _Optional[bytes] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Topic(_message.Message):
    __slots__ = ("name", "first_sequence", "last_sequence", "size_bytes", "last_publish_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_PUBLISH_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    first_sequence: int
    last_sequence: int
    size_bytes: int
    last_publish_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., size_bytes: _Optional[int] = ..., last_publish_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PublishEventsRequest(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[NewEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[NewEvent, _Mapping]]] = ...) -> None: ...

class PublishEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[PublishedEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[PublishedEvent, _Mapping]]] = ...) -> None: ...

class PublishedEvent(_message.Message):
    __slots__ = ("sequence", "existed")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    existed: bool
    def __init__(self, sequence: _Optional[int] = ..., existed: bool = ...) -> None: ...

class SubscribeEventsRequest(_message.Message):
    __slots__ = ("topic", "after", "since", "keep_up", "filter")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    KEEP_UP_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    topic: str
    after: int
    since: _timestamp_pb2.Timestamp
    keep_up: bool
    filter: str
    def __init__(self, topic: _Optional[str] = ..., after: _Optional[int] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., keep_up: bool = ..., filter: _Optional[str] = ...) -> None: ...

class SubscribeEventsResponse(_message.Message):
    __slots__ = ("events", "cursor", "missed")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    cursor: int
    missed: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., cursor: _Optional[int] = ..., missed: _Optional[int] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("topic", "after", "page_size")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    topic: str
    after: int
    page_size: int
    def __init__(self, topic: _Optional[str] = ..., after: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_after")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_AFTER_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_after: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_after: _Optional[int] = ...) -> None: ...

class ListTopicsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTopicsResponse(_message.Message):
    __slots__ = ("topics", "next_page_token")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[Topic]
    next_page_token: str
    def __init__(self, topics: _Optional[_Iterable[_Union[Topic, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateSubscriptionRequest(_message.Message):
    __slots__ = ("name", "spec", "after", "since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: SubscriptionSpec
    after: int
    since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[SubscriptionSpec, _Mapping]] = ..., after: _Optional[int] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateSubscriptionResponse(_message.Message):
    __slots__ = ("subscription", "existed")
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    subscription: Subscription
    existed: bool
    def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ..., existed: bool = ...) -> None: ...

class GetSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: Subscription
    def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ...) -> None: ...

class ListSubscriptionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[Subscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[Subscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateSubscriptionRequest(_message.Message):
    __slots__ = ("name", "paused", "pause_reason", "after", "since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    paused: bool
    pause_reason: str
    after: int
    since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., paused: bool = ..., pause_reason: _Optional[str] = ..., after: _Optional[int] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UpdateSubscriptionResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: Subscription
    def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ...) -> None: ...

class DeleteSubscriptionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteSubscriptionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConsumeEventsRequest(_message.Message):
    __slots__ = ("subscription", "max_unacknowledged", "acknowledged")
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MAX_UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    subscription: str
    max_unacknowledged: int
    acknowledged: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, subscription: _Optional[str] = ..., max_unacknowledged: _Optional[int] = ..., acknowledged: _Optional[_Iterable[int]] = ...) -> None: ...

class ConsumeEventsResponse(_message.Message):
    __slots__ = ("events", "partitions")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    partitions: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., partitions: _Optional[int] = ...) -> None: ...
