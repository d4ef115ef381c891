"""The settings of webhooks."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from weft.rpc.process.file_settings import FileSettings
from weft.rpc.telemetry.metrics_endpoint import checked_address


class HookSettings(FileSettings):
    """The part of `CoordinatorSettings` that is about webhooks."""

    hooks: str = Field(
        "",
        description="address where other systems send webhooks, `host:port` (port 0: a free one), or `https://host:port`: by TLS with the"
        " process' certificate; empty: none. Needs the extra `http`",
    )
    hook_passphrase: SecretStr | None = Field(
        None,
        repr=False,
        description="encrypts the secrets of webhooks in the store; the same at all coordinators",
    )

    hook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="hosts to which outgoing hooks may send, by name; `*` stands for any characters, as in `*.example.com`; unless set, none",
    )
    hook_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="networks that outgoing hooks may reach though they are not public, such as `10.0.0.0/8`; there also without TLS; unless"
        " set, none",
    )

    @field_validator("hook_hosts", "hook_networks", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("hook_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text!r} is no network, such as 10.0.0.0/8: {error}") from None
        return value

    @field_validator("hooks")
    @classmethod
    def _check_hooks(cls, value: str) -> str:
        return checked_address(value)
