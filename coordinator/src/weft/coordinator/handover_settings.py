"""The coordinator's settings of a change of processes: how it takes another one's place, and how it leaves its own."""

from __future__ import annotations

from pydantic import Field

from weft.rpc.network.channel import CONNECTION_AGE_S
from weft.rpc.process.file_settings import FileSettings


class HandoverSettings(FileSettings):
    """A part of the coordinator's settings."""

    connection_age_s: float = Field(
        CONNECTION_AGE_S,
        ge=0,
        le=86_400,
        description="a connection is renewed after about so long: its client dials again for the next call, and loses none. So callers"
        " move to another coordinator, or to a new version; 0: never",
    )
    replace_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="with --replace: the coordinator that has the place gets so long to leave it, and is killed then",
    )
    leave_s: float = Field(
        150.0,
        ge=0,
        le=3600,
        description="a replaced coordinator serves those who are still connected to it for at most so long, then it ends",
    )
    drain_s: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="with a Redis: a coordinator that is told to stop sends its agents to the others, and serves those who are still"
        " connected for at most so long before it stops",
    )
