"""The coordinator's bounds: what it takes of all callers together, of a connection, and of a peer that does not read."""

from __future__ import annotations

from pydantic import Field

from weft.coordinator.store.state_store import MAX_STATES, MOST_STATE_BYTES, STATE_BYTES
from weft.coordinator.store.store_config import MAX_PROGRESS_BYTES
from weft.rpc.network.channel import (
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PENDING_CALLS,
    MAX_STREAMS,
)
from weft.rpc.process.file_settings import FileSettings


class LimitSettings(FileSettings):
    """A part of the coordinator's settings."""

    max_payload_bytes: int = Field(
        # Past the upper bound a task with its request and its response would not fit one message of weft's own.
        MAX_PAYLOAD_BYTES,
        ge=1024,
        le=MAX_PAYLOAD_BYTES * 3 // 2,
        description="largest request or response of a task",
    )
    max_metadata_bytes: int = Field(
        # Beyond the upper bound, it would not fit through weft's own connections together with weft's own metadata.
        128 * 1024,
        ge=1024,
        le=MAX_METADATA_BYTES // 2,
        description="largest metadata of a durable call, which is stored with its task",
    )
    max_message_bytes: int = Field(
        MAX_MESSAGE_BYTES,
        ge=MAX_MESSAGE_BYTES,
        le=2**31 - 1,
        description="largest message, either way, of a direct call by this coordinator",
    )
    max_calls: int = Field(
        10_000,
        ge=1,
        le=MAX_PENDING_CALLS // 2,
        description="transparent calls, durable and direct, that wait here at a time; more are refused, beyond a tenth of it for"
        " calls of a higher priority than the default",
    )
    max_state_bytes: int = Field(
        STATE_BYTES,
        ge=1024,
        le=MOST_STATE_BYTES,
        description="largest keyed state; a handler that leaves a larger one fails",
    )
    max_states: int = Field(
        MAX_STATES,
        ge=1,
        description="keyed states that the store takes before it refuses tasks that would make new ones",
    )
    max_progress_bytes: int = Field(
        MAX_PROGRESS_BYTES,
        ge=1024,
        description="largest total of the stored responses of one streaming task; a task that sends more fails",
    )
    max_unread_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="a streaming handler waits while its transparent caller has so much left to read",
    )
    max_queued_tasks: int = Field(
        2_000_000, ge=1, description="unfinished tasks that the store takes before it refuses more"
    )
    max_queues_per_method: int = Field(
        1024, ge=1, description="different requirements that unfinished tasks of one method may have"
    )
    max_undelivered: int = Field(
        65_536, ge=1, description="tasks of one bulk stream whose results are not delivered yet"
    )
    max_agents: int = Field(20_000, ge=1, description="connected agents")
    max_watchers: int = Field(10_000, ge=1, description="streams that follow a task")
    stalled_stream_s: float = Field(
        30.0, ge=1, le=3600, description="a peer that does not read its stream for so long is dropped"
    )
    max_streams: int = Field(
        MAX_STREAMS,
        ge=1,
        le=2**31 - 1,
        description="calls and streams of one connection at a time; its client lets more of them wait",
    )
    max_connections: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="connections at a time; more are closed at once. 0: as many as the limit of open files leaves room for",
    )
    idle_connection_s: float = Field(
        900.0,
        ge=1,
        le=86_400,
        description="a connection without a call is closed after so long; its client dials again for the next call",
    )
