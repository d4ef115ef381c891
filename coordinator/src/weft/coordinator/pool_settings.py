"""The settings of a coordinator's pools: the providers that it may use, and what members are told."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from weft.rpc.errors import InvalidArgument
from weft.rpc.network.targets import parse
from weft.rpc.process.file_settings import FileSettings

_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,62}")


class PoolSettings(FileSettings):
    """The part of `CoordinatorSettings` that is about pools."""

    pool_providers: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="providers by which pools may start agents, such as `process`; unless set, none: operators run programs by them, with"
        " `process` on this machine, as this user",
    )
    pool_target: str = Field(
        "",
        description="where members of pools dial coordinators, `host:port`, or several; unless set, this coordinator's own address",
    )
    pool_folder: str = Field(
        "",
        description="folder of the sockets and logs of processes in pools, for this user alone; unless set, `weft-pools` in"
        " `XDG_RUNTIME_DIR`, or else `weft-pools-UID` in the folder for temporary files",
    )
    pool_alone_s: float = Field(
        60.0,
        ge=1,
        le=86400,
        description="processes in pools go on for so long without a coordinator on their machine; then they are stopped",
    )

    @field_validator("pool_providers", mode="before")
    @classmethod
    def _split_providers(cls, value: Any) -> Any:
        return (
            [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value
        )

    @field_validator("pool_providers")
    @classmethod
    def _check_providers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _PROVIDER.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a provider, such as process")
        return value

    @field_validator("pool_target")
    @classmethod
    def _check_pool_target(cls, value: str) -> str:
        try:
            return ",".join(parse(value)) if value else ""
        except InvalidArgument as error:
            raise ValueError(error.message) from None
