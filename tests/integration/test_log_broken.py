"""A log that breaks while processes run: coordinator, agent, sidecar and `weft up` start, take work, finish it, and exit 0."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import StockApp, available, free_address, sidecar
from tests.support.full_pipe import Pipe
from tests.support.mesh import PROBE_AGENT, MeshHarness
from tests.support.processes import Process
from tests.support.small_disk import small_disk
from weft.rpc.network.channel import client_options

pytestmark = pytest.mark.slow

KINDS = ("closed", "stderr_closed", "reader_gone", "disk_full", "file_limit")
CALLS = 20
# Logged with its stack by the agent: together they are more than the disk, the limit and a pipe have room for.
TEXT = "x" * 20_000
# Traces and metrics go to the broken output, too.
CONSOLE = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "console",
    "OTEL_BSP_SCHEDULE_DELAY": "20",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
}

Break = Callable[..., None]


@contextlib.contextmanager
def breaking(kind: str, folder: Path) -> Iterator[tuple[str, Break]]:
    """A redirection of output, and a function that breaks it for running processes."""
    if kind == "closed":
        yield "<&- >&- 2>&-", lambda *_: None
    elif kind == "stderr_closed":
        yield ">/dev/null 2>&-", lambda *_: None
    elif kind == "reader_gone":
        pipe = Pipe(folder / "pipe")
        yield f"</dev/null >{pipe.path} 2>&1", lambda *_: pipe.close()
    elif kind == "disk_full":
        with small_disk(folder / "disk", size_mib=1) as disk:
            yield f">>{disk.path / 'log'} 2>&1", lambda *_: disk.fill()
    else:
        log = folder / "limited.log"

        def limit(*processes: Process) -> None:
            # The coordinator's store is a file too: its own log reaches no limit.
            most = log.stat().st_size + 100
            for process in processes:
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))

        yield f">>{log} 2>&1", limit


@pytest.mark.parametrize("kind", KINDS)
async def test_a_mesh_goes_on(mesh: MeshHarness, kind: str) -> None:
    with breaking(kind, mesh.folder) as (redirect, break_it):
        mesh.redirect, mesh.env = redirect, CONSOLE
        coordinator = await mesh.coordinator()
        app = StockApp(mesh)
        await app.start()
        agent, side = await mesh.agent("a1", env=CONSOLE), await sidecar(mesh, app.address, env=CONSOLE)
        await _works(mesh.probe(), "a1", fails=True)
        break_it(agent, side)
        await _works(mesh.probe(), "a1", fails=True)
        # The sidecar logs that its app is lost, and that it is back.
        await app.kill()
        await available(mesh, "side", wanted=False)
        await app.start()
        await available(mesh, "side")
        await _works(mesh.probe(), "side", fails=False)
        for process in (agent, side, coordinator):
            assert await process.terminate(timeout_s=30) == 0, process.name


@pytest.mark.parametrize("kind", KINDS)
async def test_up_goes_on(tmp_path: Path, kind: str) -> None:
    target = free_address()
    with breaking(kind, tmp_path) as (redirect, break_it):
        words = ["up", PROBE_AGENT, "-n", "1", "--listen", target, "--store", str(tmp_path / "weft.db")]
        process = Process.weft("up", *words, log=tmp_path / "up.log", redirect=redirect, env=CONSOLE)
        try:
            async with grpc.aio.insecure_channel(
                target, options=client_options(own_connection=True)
            ) as channel:
                probe = probe_pb2_grpc.ProbeServiceStub(channel)
                await _hosted(probe)
                break_it(process)
                await _works(probe, "agent-1", fails=True)
            assert await process.terminate(timeout_s=40) == 0
        finally:
            process.cleanup()


async def _hosted(probe: probe_pb2_grpc.ProbeServiceStub) -> None:
    """Wait until the coordinator serves and has an agent."""
    async with asyncio.timeout(60):
        while True:
            try:
                await probe.Call(ProbeRequest(), timeout=60, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                # No agent has come yet.
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                await asyncio.sleep(0.05)
            else:
                return


async def _works(probe: probe_pb2_grpc.ProbeServiceStub, agent: str, *, fails: bool) -> None:
    """An agent has calls that succeed and, with `fails`, calls that fail and are logged."""
    metadata = (("weft-agent", agent),)
    for _ in range(CALLS):
        await probe.Call(ProbeRequest(text="well"), timeout=30, metadata=metadata)
        if fails:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await probe.Call(ProbeRequest(raise_text=TEXT), timeout=30, metadata=metadata)
            assert failed.value.code() is grpc.StatusCode.UNKNOWN
