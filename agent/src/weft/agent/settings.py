"""An agent's settings: arguments of `Agent` first, then WEFT_AGENT_* variables, then files, then these defaults."""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from weft.agent.direct.listening import OFF
from weft.agent.handlers.slots import MAX_QUEUE
from weft.agent.payload_settings import PayloadSettings
from weft.rpc import bounded_json
from weft.rpc.errors import InvalidArgument
from weft.rpc.network import unix_path
from weft.rpc.network.binding import checked_host_port
from weft.rpc.network.channel import MAX_PAYLOAD_BYTES
from weft.rpc.network.targets import DEFAULT_TARGET, parse
from weft.rpc.security.namespace_names import chosen_namespace
from weft.rpc.security.own_proof import own_proof
from weft.rpc.security.tls import SYSTEM, Tls, misfit, tls_of
from weft.rpc.security.token_source import Shown, token_source
from weft.rpc.telemetry.metrics_endpoint import checked_address

_ID = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")


def _default_id() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:100] or "agent"
    # A restart is a new agent: two processes of one host never claim one id.
    return f"{host}-{secrets.token_hex(3)}"


def _default_slots() -> int:
    return min(32, len(os.sched_getaffinity(0)) + 4) if hasattr(os, "sched_getaffinity") else 8


def with_files(given: dict[str, Any]) -> dict[str, Any]:
    """The same arguments, with `tls` and the path of a `token`, if there are, as the settings that they stand for."""
    if isinstance(given.get("token"), Path):
        given |= {"token": None, "token_file": str(given["token"])}
    tls = given.pop("tls", None)
    if tls is None:
        return given
    found = Tls(ca=SYSTEM) if tls is True else tls or None
    fields = (each.name for each in dataclasses.fields(Tls))
    return given | {f"tls_{name}": getattr(found, name) if found else "" for name in fields}


class AgentSettings(PayloadSettings):
    """Every setting of an agent. Each has an environment variable: WEFT_AGENT_ and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="WEFT_AGENT_", extra="forbid", validate_assignment=True, populate_by_name=True
    )
    table: ClassVar[str] = "agent"

    target: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(DEFAULT_TARGET,),
        validation_alias=AliasChoices("weft_agent_target", "weft_target"),
        description="addresses of coordinators that share a store: `host:port`, or several; or a source of addresses, such as"
        " `consul://host:8500/weft`",
    )
    id: str = Field(
        default_factory=_default_id,
        description="name, unique among live agents; unless set, the host's name and six random digits",
    )
    namespace: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_namespace", "weft_namespace"),
        description="the namespace that the agent is in; unless set, the one that its token names, or `default`",
    )
    slots: int = Field(
        default_factory=_default_slots,
        ge=1,
        le=100_000,
        description="calls that run at a time, each counted by its method's `slot_cost`;"
        " unless set, the usable cores and 4, at most 32, and 256 for a sidecar, whose app does the work",
    )
    prefetch: int = Field(
        default=0, ge=0, le=100_000, description="slots' worth of assignments to hold beyond the free slots"
    )
    labels: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        max_length=64,
        description="labels that requirements are matched against, such as `zone=eu,tier=a`",
    )
    environment_labels: bool = Field(
        default=True,
        description="also have labels of the environment, as far as it is known: `container.id`, `k8s.pod.name`,"
        " `k8s.namespace.name`, `k8s.node.name`, `os.type`, `host.arch`",
    )
    resources: Annotated[dict[str, float], NoDecode] = Field(
        default_factory=dict,
        max_length=64,
        description="amounts that requirements are matched against, such as `gpu=1,memory_bytes=8e9`",
    )
    direct_wait_s: float = Field(
        default=0.5,
        ge=0.0,
        le=3600.0,
        description="a direct call waits so long for a slot, unless its caller can try another agent; then it is refused",
    )
    direct_queue: int = Field(
        default=1000, ge=0, le=MAX_QUEUE, description="direct calls that wait for a slot at a time"
    )
    max_message_bytes: int = Field(
        default=MAX_PAYLOAD_BYTES,
        ge=MAX_PAYLOAD_BYTES,
        le=2**31 - 1,
        description="largest request or response of a direct call; a sidecar's: unless set, 16 MiB, and less where the app"
        " takes less",
    )
    drain_grace_s: float = Field(
        default=30.0,
        ge=0.0,
        le=86_400.0,
        description="running handlers may take so long when the agent is told to stop",
    )
    restart_at_overrun_slots: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="if handlers that ignore their cancellation use so many slots, end the process in order, with exit"
        " status 75, so that a supervisor starts it again; unless set, never",
    )
    end_when_idle_s: float | None = Field(
        default=None,
        ge=0.1,
        le=86_400.0,
        description="end in order, with exit status 0, after so long without a call or task: for agents that are started for the work"
        " that there is; unless set, never",
    )
    listen: str = Field(
        default_factory=str,
        description="where the direct server listens: `host:port` (port 0: a free one), `unix:path`, or `off`;"
        " unless set, a free port on the address that leads to the coordinator",
    )
    advertised_address: str = Field(
        default_factory=str,
        description="where others reach the direct server; unless set, where it listens",
    )
    discovery: str = Field(
        default="",
        description="registry into which each service of the agent is written, with the address of its direct server: `consul://host:8500`,"
        " `k8s://namespace` or `file:///path`; unset: none",
    )
    use_proxy: bool = Field(
        default=False,
        validation_alias=AliasChoices("weft_agent_use_proxy", "weft_use_proxy"),
        description="reach coordinators through the proxy that `grpc_proxy`, `https_proxy` or `http_proxy` names, unless"
        " `no_grpc_proxy` or `no_proxy` excepts them; agents are never reached by one",
    )

    show_errors: bool = Field(
        default=True,
        description="store handlers' exceptions with their tasks, for operators: type, text and traceback; `false`: they"
        " stay in the agent's log. Callers never get them",
    )
    log_lines: int = Field(
        default=200,
        ge=0,
        le=10_000,
        description="lines of its log that the agent keeps of each attempt, for `weft tasks logs`; 0: none",
    )
    log_kept_s: float = Field(
        default=900.0,
        ge=1.0,
        le=86_400.0,
        description="they are kept for so long after the last one, unless there are too many",
    )
    replace_options: bool = Field(
        default=False,
        description="put the task policies of its methods in force for all agents, also if connected ones have others; for"
        " rolling updates",
    )

    metrics: str = Field(
        default="",
        description="address where Prometheus scrapes metrics, `host:port` (port 0: a free one), or `https://host:port`: by TLS with the"
        " process' certificate; empty: none",
    )

    token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("weft_agent_token", "weft_token"),
        description="the token that the agent shows, where coordinators ask for one",
    )
    token_file: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_token_file", "weft_token_file"),
        description="file that has the token instead; it is read again when it changes",
    )
    insecure: bool = Field(
        default=False,
        validation_alias=AliasChoices("weft_agent_insecure", "weft_insecure"),
        description="ports may be open to other machines without TLS and a check of callers; without it, the agent refuses to open"
        " them so",
    )
    tls_ca: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_ca", "weft_tls_ca"),
        description="file of the authorities (CA) that sign the certificates of coordinators and other agents, or `system`:"
        " connections to them use TLS",
    )
    tls_cert: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_cert", "weft_tls_cert"),
        description="file of the agent's own certificate: the direct server uses TLS, and coordinators see it",
    )
    tls_key: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_key", "weft_tls_key"),
        description="file of the certificate's private key, for its user alone (mode 600)",
    )
    tls_server_name: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_server_name", "weft_tls_server_name"),
        description="name in the coordinator's certificate; unless set, the host of its address",
    )
    tls_client_ca: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_client_ca", "weft_tls_client_ca"),
        description="file of the authorities of callers: the direct server lets nobody in without a certificate of theirs (mTLS)",
    )

    tls_pin: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_pin", "weft_tls_pin"),
        description="`sha256:…`, of the authority of a mesh that makes certificates by itself (`weft coordinator --ca auto`): the agent"
        " joins with its token, and gets its certificate there, instead of files",
    )
    tls_join: str = Field(
        default="",
        validation_alias=AliasChoices("weft_agent_tls_join", "weft_tls_join"),
        description="where such a mesh is joined, `host:port`, or several; unless set, the hosts of the target, at the port after its",
    )

    @property
    def shown_token(self) -> str | Path:
        """The token, or the file that has it; an empty path: neither."""
        return self.token.get_secret_value() if self.token else Path(self.token_file)

    def proof(self) -> Shown | None:
        """What its calls show: the token, or else its certificate; None: nothing.

        Raises:
            InvalidArgument: it is no token, or its file cannot be read.
        """
        return own_proof(token_source(self.shown_token), self.tls)

    @property
    def tls(self) -> Tls | None:
        """Certificates of its port and connections; None: they are plain."""
        return tls_of(
            ca=self.tls_ca,
            cert=self.tls_cert,
            key=self.tls_key,
            server_name=self.tls_server_name,
            client_ca=self.tls_client_ca,
            pin=self.tls_pin,
            join=self.tls_join,
        )

    channelz: str = Field(
        default="",
        description="address where operators ask gRPC for this process' servers, channels and connections (channelz),"
        " `host:port` (port 0: a free one); empty: none",
    )

    @field_validator("namespace")
    @classmethod
    def _check_namespace(cls, value: str) -> str:
        try:
            return chosen_namespace(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, value: str) -> str:
        return checked_address(value)

    @field_validator("channelz")
    @classmethod
    def _check_channelz(cls, value: str) -> str:
        return checked_host_port(value, "127.0.0.1:9465")

    @model_validator(mode="after")
    def _tls_fits_together(self) -> AgentSettings:
        files = self.tls_ca, self.tls_cert, self.tls_key, self.tls_server_name, self.tls_client_ca
        found = misfit(*files, self.tls_pin, self.tls_join)
        if found is not None:
            raise ValueError("tls_{}: {}".format(*found))
        return self

    @field_validator("target", mode="before")
    @classmethod
    def _parse_target(cls, value: Any) -> Any:
        try:
            return parse(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None

    @field_validator("discovery")
    @classmethod
    def _check_discovery(cls, value: str) -> str:
        if value:
            from weft.rpc.network.registry_url import registrar_url

            try:
                registrar_url(value)
            except InvalidArgument as error:
                raise ValueError(error.message) from None
        return value

    @field_validator("listen", "advertised_address")
    @classmethod
    def _check_unix_path(cls, value: str) -> str:
        try:
            unix_path.check(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and value != OFF and not (value.startswith("unix:") or (host and port.isdecimal())):
            raise ValueError(f"{value!r} is not HOST:PORT, unix:PATH or {OFF}")
        return value

    @field_validator("id")
    @classmethod
    def _check_id(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError(f"{value!r} is not 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -")
        return value

    @field_validator("labels", "resources", mode="before")
    @classmethod
    def _split_pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            try:
                return bounded_json.loads(value)
            except ValueError as error:
                raise ValueError(f"{value!r} is not a JSON object: {error}") from None
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not key.strip() or not equals for key, equals, _ in pairs):
            raise ValueError(f"{value!r} is neither key=value,key=value nor a JSON object")
        return {key.strip(): text.strip() for key, _, text in pairs}
