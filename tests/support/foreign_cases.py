"""What `foreign_process.py` runs on another platform, a function a case: it raises if something is not as it should be."""

from __future__ import annotations

import functools
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest


def commands_show_their_help(platform: str) -> None:
    from typer.testing import CliRunner

    from weft.cli.main import app

    for words in (["--help"], ["version"], ["--version"], *([name, "--help"] for name in _commands())):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (words, done.output, done.exception)
        assert done.stdout, words


def _commands() -> list[str]:
    import typer.main
    from typer.core import TyperGroup

    from weft.cli.main import app

    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return list(group.commands)


def a_mesh_runs_in_this_process(platform: str) -> None:
    from weft.agent import Agent
    from weft.rpc.process import event_loops
    from weft.testing import mesh_of

    agent = Agent()

    @agent.method("acme.v1.Shouter/Shout")
    def shout(request: dict[str, str]) -> dict[str, str]:
        return {"text": request["text"].upper()}

    async def call() -> dict[str, str]:
        async with mesh_of(agent) as mesh:
            return await shout.call(mesh, {"text": platform})

    assert event_loops.run(call()) == {"text": platform.upper()}


def a_coordinator_ends_at_a_signal(platform: str) -> None:
    """In a process of its own on a store in a file: the lock, the signals and the loop are as there."""
    from weft.coordinator.coordinator_process import serve
    from weft.coordinator.settings import CoordinatorSettings
    from weft.rpc.process import event_loops

    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "address"
        settings = CoordinatorSettings(
            listen="127.0.0.1:0", store=f"{folder}/weft.db", address_file=address, stop_grace_s=1
        )

        def end() -> None:
            until = time.monotonic() + 60
            while not address.exists() and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        (ending := threading.Thread(target=end)).start()
        event_loops.run(serve(settings))
        ending.join()
        assert address.exists()


def a_store_has_one_owner(platform: str) -> None:
    from weft.coordinator.store.embedded.file_lock import OwnerLock
    from weft.coordinator.store.open_errors import StoreLocked

    with tempfile.TemporaryDirectory() as folder:
        first = OwnerLock(Path(folder) / "weft.db")
        _refused(StoreLocked, f"pid {os.getpid()}", lambda: OwnerLock(Path(folder) / "weft.db"))
        first.release()
        OwnerLock(Path(folder) / "weft.db").release()


def services_of_every_system_can_be_looked_at(platform: str) -> None:
    from typer.testing import CliRunner

    from weft.cli.main import app

    for system, sign in (("linux", "[Service]"), ("macos", "<plist"), ("windows", "<service>")):
        options = ["--name", "w", "--dry-run", "--user", "--system", system, "--weft", "/opt/weft/bin/weft"]
        done = CliRunner().invoke(app, ["service", "install", *options, "--", "agent", "a:b"])
        assert done.exit_code == 0, (done.output, done.exception)
        assert sign in done.stdout


def what_cannot_be_here_is_said(platform: str) -> None:
    from weft.agent import Agent
    from weft.agent.errors import HostingError, SandboxError
    from weft.agent.sandboxing import sandbox_process
    from weft.agent.sandboxing.sandbox import Sandbox
    from weft.client import connect
    from weft.coordinator.pools.provider import ProviderSetting
    from weft.coordinator.pools.provider_catalogue import known_providers
    from weft.rpc.errors import InvalidArgument
    from weft.rpc.process.service_notices import service_notices
    from weft.services import repositories, research

    _refused(SandboxError, "needs Linux", lambda: sandbox_process.start(Sandbox(), ["true"]))
    _refused(InvalidArgument, "on this system", lambda: connect("unix-abstract:weft"))
    setting = ProviderSetting("mesh", "", 1.0, lambda: None)
    assert "need Linux" in known_providers(["systemd-run"], setting)["systemd-run"].problem
    if platform == "win32":
        _refused(InvalidArgument, "on this system", lambda: connect("unix:/run/weft.sock"))
        for package in (repositories.package, research.package):
            _refused(HostingError, "needs Linux or macOS", functools.partial(package.host, Agent()))
        assert not hasattr(socket, "AF_UNIX")
        assert service_notices({"NOTIFY_SOCKET": "/run/x"}) is None


def _refused(kind: type[Exception], why: str, act: Callable[[], object]) -> None:
    with pytest.raises(kind, match=why):
        act()
