"""Providers of sandboxes by one conformance suite: bubblewrap as it is; containers at a server that follows the Docker engine's published API and runs them by bubblewrap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import grpc
import pytest

from tests.support.box_checks import SMALL, check_box_provider, ran
from tests.support.running_docker import RunningDockerDouble
from tests.support.sandboxed import need_bubblewrap
from weft.agent import Sandbox
from weft.services.sandboxes.bubblewrap_box import BubblewrapProvider
from weft.services.sandboxes.docker_box import DockerBoxProvider
from weft.services.sandboxes.remote_box import RemoteBox
from weft.services.sandboxes.sandbox_provider import BoxError, find_provider


async def test_bubblewrap() -> None:
    need_bubblewrap()
    await check_box_provider(BubblewrapProvider())


@pytest.mark.slow
async def test_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    need_bubblewrap()
    async with RunningDockerDouble() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        await check_box_provider(find_provider("docker")())
        assert not engine.containers
        made = next(iter(engine.configs.values()))
        host = made["HostConfig"]
        assert (made["Image"], made["User"]) == ("python:3.12-slim", "1000:1000")
        assert host["Memory"] == host["MemorySwap"] == 64 << 20
        assert (host["NanoCpus"], host["PidsLimit"]) == (1_000_000_000, 36)
        assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert "size=4m" in host["Tmpfs"]["/work"]


async def test_a_container_works_and_ends_with_its_agent_and_says_so_if_it_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_bubblewrap()
    async with RunningDockerDouble() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        provider = DockerBoxProvider()
        box = await provider.create(SMALL)
        assert await ran(box, "sh", "-c", "cat; exit 3", given=b"hello") == (3, b"hello", b"")
        assert await box.write_file("a/b", b"hello", 0, executable=False) == 5
        await box.pause()
        await box.resume()
        assert await box.read_file("a/b", 1, 3) == (b"ell", 5)
        (number,) = engine.containers
        await engine.end_container(number)
        async with asyncio.timeout(10):
            assert await box.ended == "its process 1 has ended"
        with pytest.raises(BoxError) as gone:
            await ran(box, "true")
        assert gone.value.code == grpc.StatusCode.FAILED_PRECONDITION
        # What was made long ago, and never started, is of an agent that is gone.
        box = await provider.create(SMALL)
        (number,) = engine.containers
        engine.containers["left"] = engine.containers[number] | {
            "Id": "left",
            "Names": ["/left"],
            "State": "created",
            "Created": time.time() - 1000,
        }
        again = DockerBoxProvider()
        other = await again.create(SMALL)
        assert "left" not in engine.containers
        await other.terminate("enough")
        await again.close()
        # The agent is killed: its connections end, and nothing else does.
        await provider.close()
        async with asyncio.timeout(10):
            while engine.containers:
                await asyncio.sleep(0.01)
            await box.ended


async def test_what_docker_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    provider = DockerBoxProvider()
    try:
        with pytest.raises(BoxError, match="cannot be reached") as unreachable:
            await provider.create(SMALL)
        assert unreachable.value.code == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(BoxError, match="cannot show folders") as refused:
            await provider.create(Sandbox(readable=("/opt",)))
        assert refused.value.code == grpc.StatusCode.UNIMPLEMENTED
    finally:
        await provider.close()


async def test_a_box_that_cannot_be_removed_has_ended_all_the_same() -> None:
    class Unreachable:
        held_by: Mapping[str, str] = {}
        closed = False

        async def run(self, argv: Sequence[str]) -> Unreachable:
            raise BoxError(grpc.StatusCode.UNAVAILABLE, "no engine")

        async def pause(self) -> None:
            await self.run(())

        async def resume(self) -> None:
            await self.run(())

        async def remove(self) -> None:
            await self.run(())

        async def ended_for(self) -> str:
            return ""

        async def write(self, data: bytes) -> None:
            await self.run(())

        async def read(self) -> tuple[bool, bytes] | None:
            return False, b"ready\n"

        async def status(self) -> int:
            return 0

        async def close(self) -> None:
            self.closed = True

    carrier = Unreachable()
    box = RemoteBox(carrier, carrier)
    await box.terminate("its time is over")
    # Its process 1 hears of it by the end of the connection.
    assert (box.ended.result(), carrier.closed) == ("its time is over", True)
