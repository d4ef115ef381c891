"""The coordinator's settings: by flags, else by the environment (`WEFT_*`), else by files, else these defaults."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from weft.coordinator.caller_limit_settings import CallerLimitSettings
from weft.coordinator.door_settings import DoorSettings
from weft.coordinator.handover_settings import HandoverSettings
from weft.coordinator.hook_settings import HookSettings
from weft.coordinator.limit_settings import LimitSettings
from weft.coordinator.pool_settings import PoolSettings
from weft.coordinator.store.store_config import (
    EVENT_KEEP_BYTES,
    StoreConfig,
    StoreLimits,
    is_url,
    without_credentials,
)
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.network import unix_path
from weft.rpc.network.binding import checked_host_port
from weft.rpc.telemetry.figures import MAX_METHODS
from weft.rpc.telemetry.metrics_endpoint import checked_address
from weft.rpc.times import MAX_DURATION_S


class CoordinatorSettings(
    CallerLimitSettings, LimitSettings, PoolSettings, HookSettings, HandoverSettings, DoorSettings
):
    """A setting's unit is last in its name. Values outside their range are refused at start-up."""

    model_config = SettingsConfigDict(env_prefix="WEFT_", extra="forbid", hide_input_in_errors=True)
    table: ClassVar[str] = "coordinator"
    paths: ClassVar[frozenset[str]] = frozenset({"store"})

    store: str = Field(
        "weft.db",
        # It may hold credentials.
        repr=False,
        description="path of the embedded store's file, or the URL of a Redis: redis://HOST:PORT/DB, rediss://… (TLS),"
        " unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT",
    )
    store_username: str = Field("", repr=False, description="user name at the Redis, where the URL has none")
    store_password: SecretStr | None = Field(
        None, repr=False, description="password at the Redis, where the URL has none"
    )
    store_tls_ca: str = Field(
        "",
        description="at a Redis with TLS (rediss://): file of the authorities (CA) that sign its certificate; empty: those of the"
        " system",
    )
    store_tls_cert: str = Field("", description="file of a certificate to show to the Redis, if it wants one")
    store_tls_key: str = Field("", description="file of that certificate's private key")
    store_prefix: str = Field(
        "weft",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_.:-]+$",
        description="prefix of all keys in Redis",
    )
    durability: Literal["process", "full", "fast", "durable", "replicated"] | None = Field(
        None,
        description="failures that an acknowledged task survives; embedded: process (a kill; the default) or full (power loss);"
        " Redis: fast (as often as Redis syncs its log; the default), durable (Redis syncs every write)"
        " or replicated (a replica has it)",
    )
    coordinator_id: str = Field("", description="name for logs and traces; empty: host name and process id")

    heartbeat_interval_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description="most seconds between two heartbeats of an agent; grows with the fleet",
    )
    missed_heartbeats: int = Field(
        3, ge=2, le=100, description="an agent that misses so many heartbeats in a row is lost"
    )
    reconnect_grace_s: float = Field(
        2.0, ge=0, le=3600, description="an agent whose stream broke keeps its attempts for so long"
    )
    recovery_grace_s: float = Field(
        5.0, ge=0, le=3600, description="after a restart, wait so long for agents to name their held attempts"
    )
    fallback_grace_s: float = Field(
        10.0,
        ge=0,
        le=86400,
        description="tasks that wait while no connected agent can run their method go on at its fallback after so long",
    )
    session_grace_s: float = Field(
        10.0,
        ge=0,
        le=86400,
        description="the hard sticky sessions of an agent whose lease has ended are lost if it is not back after so long",
    )
    cancel_grace_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="a cancelled handler may take so long, unless the request says otherwise",
    )
    stop_grace_s: float = Field(5.0, ge=0, le=3600, description="calls in flight get so long at shutdown")
    result_ttl_s: float = Field(
        3600.0, ge=1, le=MAX_DURATION_S, description="succeeded and cancelled tasks are kept so long"
    )
    failure_ttl_s: float = Field(
        7 * 86400.0, ge=1, le=MAX_DURATION_S, description="failed tasks are kept so long"
    )

    no_wait: bool = Field(
        False,
        description="refuse a task at once if no connected agent can run it, unless its call or its method's policy says"
        " otherwise",
    )
    forget_agents_s: float = Field(
        3600.0, ge=1, le=MAX_DURATION_S, description="lost agents are listed so long, then forgotten"
    )
    forget_contracts_s: float = Field(
        7 * 86400.0,
        ge=1,
        le=MAX_DURATION_S,
        description="contracts that no known agent hosts and no unfinished task needs are kept so long",
    )
    alert_queue_s: float = Field(
        300.0,
        ge=1,
        le=MAX_DURATION_S,
        description="a ready task that has waited for longer fires the alert QUEUE_OLD, while somebody follows alerts",
    )
    metrics: str = Field(
        "",
        description="address where Prometheus scrapes metrics, `host:port` (port 0: a free one), or `https://host:port`: by TLS with the"
        " process' certificate; empty: none",
    )
    metrics_methods: int = Field(
        MAX_METHODS,
        ge=1,
        le=10_000,
        description="methods with figures of their own; all others share `_OTHER`",
    )
    event_keep_s: float = Field(
        86400.0, ge=1, le=MAX_DURATION_S, description="published events are kept so long"
    )
    event_keep_bytes: int = Field(
        EVENT_KEEP_BYTES,
        ge=1024 * 1024,
        description="largest total of the kept events of one topic, about; the oldest go first",
    )
    payload_store: str = Field(
        "",
        description="store of large payloads of clients and agents, a folder or a URL of fsspec: the coordinator deletes there, every"
        " hour, what has had its time; unset: it does not",
    )
    channelz: str = Field(
        "",
        description="address where operators ask gRPC for this process' servers, channels and connections (channelz),"
        " `host:port` (port 0: a free one); empty: none",
    )
    placement: str = Field(
        "",
        description="plug-in that chooses between agents with free slots for durable calls, `module:Class`; empty: least connections",
    )
    max_namespaces: int = Field(
        100, ge=0, le=1000, description="namespaces that there may be, beside the default one"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )

    @property
    def shared_store(self) -> bool:
        """Whether the store is a Redis, which other coordinators may share."""
        return is_url(self.store)

    @property
    def process_name(self) -> str:
        """The name of this coordinator in logs and traces."""
        return self.coordinator_id or f"{socket.gethostname()}:{os.getpid()}"

    @property
    def store_place(self) -> str:
        """The store's path or URL, without credentials."""
        return without_credentials(self.store) if self.shared_store else self.store

    def shown(self, name: str) -> str:
        return self.store_place if name == "store" else super().shown(name)

    @property
    def store_credentials(self) -> dict[str, str]:
        """User name, password and certificates at the Redis, beside those in the URL, by redis-py's names."""
        password = self.store_password.get_secret_value() if self.store_password is not None else ""
        given = {
            "username": self.store_username,
            "password": password,
            "ssl_ca_certs": self.store_tls_ca,
            "ssl_certfile": self.store_tls_cert,
            "ssl_keyfile": self.store_tls_key,
        }
        return {name: value for name, value in given.items() if value}

    @property
    def store_config(self) -> StoreConfig:
        """The store to open, as plain values."""
        return StoreConfig(
            self.store,
            durability=self.durability or "",
            recovery_grace_s=self.recovery_grace_s,
            limits=StoreLimits(
                max_queues=self.max_queues_per_method,
                max_progress_bytes=self.max_progress_bytes,
                event_keep_bytes=self.event_keep_bytes,
                max_states=self.max_states,
            ),
            prefix=self.store_prefix,
            credentials=self.store_credentials,
        )

    @model_validator(mode="after")
    def _durability_of_the_store(self) -> CoordinatorSettings:
        modes = ("fast", "durable", "replicated") if self.shared_store else ("process", "full")
        if self.durability is None:
            self.durability = "fast" if self.shared_store else "process"
        if self.durability not in modes:
            kind = "A Redis store" if self.shared_store else "The embedded store"
            raise ValueError(
                f"durability: {self.durability!r} is not possible. {kind} has {' or '.join(modes)}"
            )
        return self

    @model_validator(mode="after")
    def _credentials_of_the_store(self) -> CoordinatorSettings:
        given = [
            name
            for name in ("username", "password", "tls_ca", "tls_cert", "tls_key")
            if getattr(self, f"store_{name}")
        ]
        if not self.shared_store and given:
            names = ", ".join(f"store_{name}" for name in given)
            raise ValueError(f"{names}: only a Redis store has credentials, and this store is a file")
        tls = [name for name in given if name.startswith("tls")]
        if tls and not self.store.startswith("rediss"):
            names = ", ".join(f"store_{name}" for name in tls)
            raise ValueError(f"{names}: only a Redis that is reached by TLS has them: write rediss://")
        if bool(self.store_tls_cert) != bool(self.store_tls_key):
            raise ValueError("store_tls_cert and store_tls_key: a certificate and its key go together")
        return self

    @field_validator("store")
    @classmethod
    def _check_unix_path(cls, value: str) -> str:
        try:
            unix_path.check(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from None
        return value

    @field_validator("metrics")
    @classmethod
    def _check_metrics(cls, value: str) -> str:
        return checked_address(value)

    @field_validator("channelz")
    @classmethod
    def _check_channelz(cls, value: str) -> str:
        return checked_host_port(value, "127.0.0.1:9465")


Settings = TypeVar("Settings", bound=CoordinatorSettings)


def checked_settings(kind: type[Settings], given: dict[str, Any]) -> Settings:
    """Make settings from code.

    Raises:
        InvalidArgument: settings have wrong values; the message names each with its value and the allowed ones.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        faults = kind.faults(error, given)
        text = "; ".join(map(str, faults))
        raise refusals.invalid_field(f"coordinator setting {text}", field=faults[0].name) from None
