"""Providers of pools by one conformance suite: real processes; units, containers and pods at servers and programs that follow the published
interfaces."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support import systemd_double
from tests.support.docker_engine import DockerEngineDouble
from tests.support.kubernetes_api import KubernetesApiDouble
from tests.support.pooled import MESH_ID as MESH
from tests.support.pooled import machine
from tests.support.processes import until
from tests.support.provider_checks import check_provider
from weft.coordinator.pools.outside.docker_provider import DockerProvider
from weft.coordinator.pools.outside.kubernetes_provider import KubernetesProvider
from weft.coordinator.pools.outside.systemd_provider import SystemdProvider
from weft.coordinator.pools.processes.keeper_link import KeeperFault
from weft.coordinator.pools.processes.process_provider import ProcessProvider
from weft.coordinator.pools.provider import MemberSpec, ProviderSetting
from weft.coordinator.pools.provider_catalogue import known_providers
from weft.rpc.errors import InvalidArgument
from weft.v1.pool_pb2 import PoolTemplate

SLEEPS = ["sleep", "1000"]


async def test_processes() -> None:
    with machine() as here:
        provider = ProcessProvider(ProviderSetting(MESH, folder=str(here.folder)))
        template = PoolTemplate(provider="process", command=SLEEPS)
        await check_provider(
            provider, template, lambda _, listed: os.kill(int(listed.handle), signal.SIGKILL)
        )


@pytest.mark.slow
async def test_a_keeper_that_stood_still_does_not_take_that_for_silence() -> None:
    with machine() as here:
        provider = ProcessProvider(ProviderSetting(MESH, folder=str(here.folder), alone_s=1.0))
        template = PoolTemplate(provider="process", command=SLEEPS)
        await provider.start(MemberSpec("p-one", "p", template, {"WEFT_TARGET": "127.0.0.1:1"}))
        (keeper,) = here.keepers()
        os.kill(keeper, signal.SIGSTOP)
        asked = asyncio.create_task(provider.list())
        await asyncio.sleep(3.0)
        assert not asked.done()
        os.kill(keeper, signal.SIGCONT)
        assert (await asked)["p-one"].running
        await asyncio.sleep(0.5)
        assert (await provider.list())["p-one"].running
        # Without a question it ends them all the same.
        await here.wait_empty()
        await provider.close()


async def test_what_a_killed_keeper_has_left_behind_ends_though_nothing_is_started(tmp_path: Path) -> None:
    """A process that a member has started, and that stands still: it does not end with its parent."""
    with machine() as here:
        provider = ProcessProvider(ProviderSetting(MESH, folder=str(here.folder)))
        words = ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]
        template = PoolTemplate(provider="process", command=words)
        await provider.start(MemberSpec("p-one", "p", template, {"WEFT_TARGET": "127.0.0.1:1"}))
        await until(lambda: len(here.members()) == 2, "it has started another one")
        await provider.freeze("p-one")
        here.kill_keepers()
        # By the next coordinator, too.
        next_one = ProcessProvider(ProviderSetting(MESH, folder=str(here.folder)))
        async with asyncio.timeout(10):
            while await next_one.list() or here.members():
                await asyncio.sleep(0.05)
        await provider.close()
        await next_one.close()


async def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """A socket there may be somebody else's, and would get the tokens of members."""
    tmp_path.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        provider = ProcessProvider(ProviderSetting(MESH, folder=str(folder)))
        with pytest.raises(KeeperFault, match="pool_folder"):
            await provider.list()


@pytest.mark.slow
async def test_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd_double.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    template = PoolTemplate(provider="systemd-run", command=SLEEPS, settings={"MemoryMax": "1G"})
    await check_provider(
        SystemdProvider(ProviderSetting(MESH)),
        template,
        lambda member, _: systemd_double.end(tmp_path / "bin", member),
    )


async def test_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DockerEngineDouble() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        template = PoolTemplate(
            provider="docker", image="acme/worker", program="m:agent", settings={"cpus": "0.5"}
        )
        await check_provider(
            DockerProvider(ProviderSetting(MESH)), template, lambda member, _: engine.end(member)
        )


async def test_a_container_that_does_not_end_is_killed_after_its_grace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with DockerEngineDouble() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        provider = DockerProvider(ProviderSetting(MESH))
        template = PoolTemplate(provider="docker", image="stubborn", program="m:agent")
        await provider.start(MemberSpec("p-1", "p", template, {"WEFT_TARGET": "10.0.0.1:7700"}))
        began_at = time.monotonic()
        while (await provider.list())["p-1"].running:
            await provider.stop("p-1", 0.3)
        assert time.monotonic() - began_at >= 0.3
        # This machine's own address is of no use there.
        with pytest.raises(ValueError, match="WEFT_POOL_TARGET"):
            await provider.start(MemberSpec("p-2", "p", template, {"WEFT_TARGET": "127.0.0.1:7700"}))
        await provider.close()


async def test_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with KubernetesApiDouble() as api:
        api.write_config(tmp_path / "config")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        template = PoolTemplate(provider="kubernetes", image="acme/worker", settings={"cpu": "500m"})
        await check_provider(
            KubernetesProvider(ProviderSetting(MESH)), template, lambda member, _: api.end(member)
        )


@pytest.mark.parametrize("name", ["docker", "kubernetes", "process", "systemd-run"])
def test_bad_templates_are_refused(name: str) -> None:
    known = known_providers([name], ProviderSetting(MESH))[name]
    assert (known.package, known.problem) == ("weft", "")
    assert known.provider is not None
    with pytest.raises(InvalidArgument):
        known.provider.check(PoolTemplate(provider=name, image="i", program="m:a", settings={"nothing": "1"}))
    with pytest.raises(InvalidArgument):
        known.provider.check(PoolTemplate(provider=name))


def test_an_unknown_provider_says_so() -> None:
    known = known_providers(["nothing"], ProviderSetting(MESH))["nothing"]
    assert (known.provider, known.problem) == (None, "no installed package has it")
