"""The settings of the sandbox service: WEFT_SANDBOXES_* variables, then `[services.sandboxes]` of weft.toml, then these defaults."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from weft.rpc.process.file_settings import FileSettings


class SandboxesSettings(FileSettings):
    """Every setting of the sandbox service."""

    model_config = SettingsConfigDict(env_prefix="WEFT_SANDBOXES_", extra="forbid")
    table: ClassVar[str] = "services.sandboxes"

    provider: str = Field(
        default="bubblewrap", min_length=1, description="what makes sandboxes, if a caller names nothing else"
    )
    docker_image: str = Field(
        default="python:3.12-slim",
        min_length=1,
        description="image of the sandboxes that the provider docker makes; it must have python3",
    )
    kubernetes_image: str = Field(
        default="python:3.12-slim",
        min_length=1,
        description="image of the sandboxes that the provider kubernetes makes; it must have python3",
    )
    kubernetes_kind: Literal["sandbox", "pod", "auto"] = Field(
        default="sandbox",
        description="what the provider kubernetes makes: `sandbox`, the resource of agent-sandbox; `pod`; `auto`: a pod where that resource is not installed",
    )
    kubernetes_namespace: str = Field(
        default="",
        max_length=63,
        description="namespace of Kubernetes that sandboxes are in; empty: the agent's own",
    )
    kubernetes_runtime_class: str = Field(
        default="",
        max_length=253,
        description="runtimeClassName of the pods, such as one of gVisor or Kata; empty: the cluster's default",
    )
    kubernetes_ready_s: float = Field(
        default=120.0,
        gt=0,
        le=3600.0,
        description="a pod that does not run within this time, its image's download included, is given up",
    )
    kubernetes_deadline_s: float = Field(
        default=86_400.0,
        ge=60.0,
        le=2_678_400.0,
        description="a pod ends after this time, whatever became of its agent: more than the longest TTL that callers ask for",
    )
    kubernetes_owner_pod: str = Field(
        default="",
        max_length=253,
        description="the agent's own pod in the same namespace: when it is gone, so are its sandboxes",
    )
    kubernetes_owner_uid: str = Field(default="", max_length=63, description="the uid of that pod")
    e2b_key: SecretStr | None = Field(default=None, description="key of E2B's API, for the provider e2b")
    e2b_template: str = Field(
        default="base",
        min_length=1,
        description="template of the sandboxes that the provider e2b makes; it must have python3",
    )
    max_sandboxes: int = Field(
        default=16, ge=1, le=10_000, description="sandboxes at a time; further ones are refused"
    )
    warm: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="sandboxes with the limits below that are made ahead, so that a caller need not wait; each takes some 10 MB of memory",
    )
    memory_mb: int = Field(
        default=512, ge=16, le=1_048_576, description="memory of a sandbox, unless a caller asks for other"
    )
    max_memory_mb: int = Field(
        default=4096, ge=16, le=1_048_576, description="memory that a caller may ask for"
    )
    cpus: float = Field(
        default=1.0, ge=0.01, le=1024, description="cores of a sandbox, unless a caller asks for others"
    )
    max_cpus: float = Field(default=4.0, ge=0.01, le=1024, description="cores that a caller may ask for")
    disk_mb: int = Field(
        default=256, ge=1, le=1_048_576, description="disk of a sandbox, unless a caller asks for other"
    )
    max_disk_mb: int = Field(default=4096, ge=1, le=1_048_576, description="disk that a caller may ask for")
    max_processes: int = Field(
        default=128,
        ge=1,
        le=100_000,
        description="processes and threads of a sandbox at a time, at most and by default",
    )
    max_open_files: int = Field(
        default=1024,
        ge=16,
        le=1_000_000,
        description="files that a process in a sandbox has open, at most and by default",
    )
    ttl_s: float = Field(
        default=3600.0,
        gt=0,
        le=604_800.0,
        description="a sandbox ends after this time, unless a caller asks for another",
    )
    pause_when_idle_s: float = Field(
        default=0.0,
        ge=0.0,
        le=604_800.0,
        description="a sandbox that nobody calls is paused after this time, unless a caller asks for another; 0: never",
    )
    allow_network: bool = Field(
        default=False, description="callers may ask for sandboxes that reach what the machine reaches"
    )
    readable: str = Field(
        default="",
        description="folders of the machine that sandboxes can read, at the same paths, with colons between them",
    )
    max_programs: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="programs, connections and file calls in one sandbox at a time; further ones are refused",
    )
    snapshots_mb: int = Field(
        default=1024,
        ge=0,
        le=1_048_576,
        description="what all snapshots of an agent take together, on its disk",
    )
