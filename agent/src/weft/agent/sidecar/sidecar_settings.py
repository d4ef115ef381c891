"""A sidecar's own settings, besides those of every agent: arguments first, then WEFT_AGENT_* variables, then files, then defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from weft.agent.errors import SettingsError
from weft.agent.settings import AgentSettings
from weft.rpc.errors import InvalidArgument
from weft.rpc.network.channel import MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_PENDING_CALLS
from weft.rpc.network.targets import parse
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.security.tls import Tls, misfit, tls_of

DEFAULT_EGRESS = "127.0.0.1:7701"
OFF = "off"

_SERVICE_OR_METHOD = re.compile(r"[A-Za-z_][\w.]*(/[A-Za-z_]\w*)?")


class SidecarAgentSettings(AgentSettings):
    """An agent's settings, with defaults for an agent that only passes calls on to its app."""

    slots: int = Field(default=256, ge=1, le=100_000)
    max_message_bytes: int = Field(default=MAX_MESSAGE_BYTES, ge=MAX_PAYLOAD_BYTES, le=2**31 - 1)


class SidecarSettings(FileSettings):
    """Every setting of a sidecar. Each has an environment variable: WEFT_AGENT_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="WEFT_AGENT_", extra="forbid", validate_default=True)
    table: ClassVar[str] = "sidecar"

    app: str = Field(
        default="", description="the app: a stock gRPC server on this machine, `host:port` or `unix:PATH`"
    )
    descriptors: Path | None = Field(
        default=None,
        description="file with the app's FileDescriptorSet, if its reflection is missing or leaves out options",
    )
    egress: str = Field(
        default=DEFAULT_EGRESS,
        description="where the app reaches the mesh: `host:port`, `unix:PATH` (in a folder that only its user may"
        " enter; if this folder is missing, it is made, but not those above it), or `off`",
    )
    durable: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="methods, or services, that the app calls durably unless a call has `weft-mode`",
    )

    app_tls_ca: str = Field(
        default="",
        description="file of the authorities (CA) that sign the app's certificate, or `system`: the app is reached by TLS",
    )
    app_tls_cert: str = Field(
        default="", description="file of a certificate to show to the app, if it wants one"
    )
    app_tls_key: str = Field(default="", description="file of that certificate's private key")
    app_tls_server_name: str = Field(
        default="", description="name in the app's certificate; unless set, the host of its address"
    )
    egress_tls: bool = Field(
        default=False,
        description="the egress uses TLS with the agent's certificate, and lets the app in as the direct server lets callers in",
    )

    @property
    def app_tls(self) -> Tls | None:
        """TLS of the connection to the app; None: it is plain."""
        return tls_of(
            ca=self.app_tls_ca,
            cert=self.app_tls_cert,
            key=self.app_tls_key,
            server_name=self.app_tls_server_name,
        )

    @model_validator(mode="after")
    def _app_tls_fits_together(self) -> SidecarSettings:
        found = misfit(self.app_tls_ca, self.app_tls_cert, self.app_tls_key, self.app_tls_server_name, "")
        if found is None and self.app_tls_cert and not self.app_tls_ca:
            found = "cert", "it is shown only to an app that is verified: set app_tls_ca"
        if found is not None:
            raise ValueError("app_tls_{}: {}".format(*found))
        return self

    max_calls: int = Field(
        default=10_000,
        ge=1,
        le=MAX_PENDING_CALLS // 2,
        description="calls of the app that wait at the egress at a time; more are refused",
    )

    @field_validator("app", "egress")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if value in ("", OFF):
            return value
        try:
            (address,) = parse(value, sources=False)
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        except ValueError:
            raise ValueError(f"{value!r} is more than one address") from None
        if address != value.removeprefix("dns:///").removeprefix("dns:"):
            raise ValueError(f"{value!r} has no port: write HOST:PORT or unix:PATH")
        return address

    @field_validator("durable", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("durable")
    @classmethod
    def _check_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _SERVICE_OR_METHOD.fullmatch(name):
                raise ValueError(f"{name!r} is neither pkg.Service nor pkg.Service/Method")
        return value


def sidecar_settings(**given: Any) -> SidecarSettings:
    """Make the settings. None stands for an argument that is not given.

    Raises:
        InvalidArgument: a setting has a wrong value.
    """
    arguments = {name: value for name, value in given.items() if value is not None}
    try:
        return SidecarSettings(**arguments)
    except ValidationError as error:
        faults = SidecarSettings.faults(error, arguments)
        text = "; ".join(map(str, faults))
        raise SettingsError(f"sidecar setting {text}", field=faults[0].name) from None
