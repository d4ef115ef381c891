"""Sandboxes as the contract has them, and what a caller asks for as the agent library has it."""

from __future__ import annotations

import dataclasses

import grpc

from weft.agent import HostingError, Sandbox
from weft.services.sandboxes.sandbox_life import Life, LifeState
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings
from weft.services.sandboxes.v1 import sandboxes_pb2

_STATES = {
    LifeState.RUNNING: sandboxes_pb2.SANDBOX_STATE_RUNNING,
    LifeState.PAUSED: sandboxes_pb2.SANDBOX_STATE_PAUSED,
    LifeState.IDLE: sandboxes_pb2.SANDBOX_STATE_IDLE,
    LifeState.ENDED: sandboxes_pb2.SANDBOX_STATE_ENDED,
}


def default_sandbox(settings: SandboxesSettings) -> Sandbox:
    """What a sandbox may use if nobody asks for other.

    Raises:
        HostingError: a folder of the settings is none.
    """
    return Sandbox(
        memory_mb=settings.memory_mb,
        cpus=settings.cpus,
        max_processes=settings.max_processes,
        max_open_files=settings.max_open_files,
        disk_mb=settings.disk_mb,
        readable=tuple(each for each in settings.readable.split(":") if each),
    )


def sandbox_of(
    request: sandboxes_pb2.CreateSandboxRequest, default: Sandbox, settings: SandboxesSettings
) -> Sandbox:
    """What a caller may have of what it asks for.

    Raises:
        BoxError: it asks for more than the settings allow.
    """
    limits = request.limits
    most = {
        "memory_mb": settings.max_memory_mb,
        "cpus": settings.max_cpus,
        "disk_mb": settings.max_disk_mb,
        "max_processes": settings.max_processes,
        "max_open_files": settings.max_open_files,
    }
    asked = {name: getattr(limits, name) for name in most if getattr(limits, name)}
    for name, value in asked.items():
        if value > most[name]:
            setting = name if name.startswith("max_") else f"max_{name}"
            raise BoxError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"limits.{name}: {value:g} is more than this agent gives, {most[name]:g} (WEFT_SANDBOXES_{setting.upper()})",
            )
    if request.network and not settings.allow_network:
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION,
            "network: this agent gives sandboxes none (WEFT_SANDBOXES_ALLOW_NETWORK)",
        )
    try:
        return dataclasses.replace(
            default, **asked, network=request.network, variables=dict(request.variables)
        )
    except HostingError as error:
        raise BoxError(grpc.StatusCode.INVALID_ARGUMENT, error.message) from error


def view(life: Life, agent_id: str) -> sandboxes_pb2.Sandbox:
    """A sandbox as it is now."""
    sandbox = life.sandbox
    if life.state is not LifeState.ENDED:
        life.usage = life.box.usage()
    used, killed = life.usage
    made = sandboxes_pb2.Sandbox(
        id=life.id,
        agent_id=agent_id,
        provider=life.provider,
        state=_STATES[life.state],
        limits=sandboxes_pb2.Limits(
            memory_mb=sandbox.memory_mb,
            cpus=sandbox.cpus,
            max_processes=sandbox.max_processes,
            max_open_files=sandbox.max_open_files,
            disk_mb=sandbox.disk_mb,
        ),
        network=sandbox.network,
        held_by=life.box.held_by,
        memory_used_bytes=0 if life.state is LifeState.ENDED else used,
        killed_for_memory=killed,
        ended_for=life.ended_for,
        labels=life.labels,
    )
    made.created_at.FromNanoseconds(int(life.created_at_s * 1e9))
    made.ends_at.FromNanoseconds(int(life.ends_at_s * 1e9))
    if life.pause_when_idle_s:
        made.pause_when_idle.FromMilliseconds(int(life.pause_when_idle_s * 1000))
    return made
