"""Services of agents and addresses of coordinators in registries: written, kept fresh, changed with the process, and gone at its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.support.command import weft
from tests.support.consul import ConsulDouble
from tests.support.endpoint_slices import EndpointSlicesDouble
from tests.support.mesh import MeshHarness
from weft.rpc.network.registry_url import registrar_url
from weft.rpc.process.file_locks import try_lock
from weft.rpc.registries import registration as registering
from weft.rpc.registries.registration import Registration, ServiceOwner, own_address

SOON_S = 20.0
HERE = "10.0.0.5:7000"
GREETER, MAILER = "acme.v1.Greeter", "acme.v1.Mailer"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registering, "LOOK_S", 0.02)
    monkeypatch.setattr(registering, "MAX_BACKOFF_S", 0.1)
    # On a busy machine, eight processes of a file may wait for long.
    monkeypatch.setattr(registering, "REMOVE_S", SOON_S)
    monkeypatch.setattr("weft.rpc.registries.file_registrar._LOCK_S", SOON_S)


class Registry(NamedTuple):
    url: str
    # The addresses of a service.
    addresses: Callable[[str], set[str]]
    # Nothing can be written for the length of a block.
    away: Callable[[], contextlib.AbstractAsyncContextManager[None]]
    # Forgets everything.
    forget: Callable[[], None]


@contextlib.asynccontextmanager
async def consul(_folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    async with ConsulDouble() as double:

        @contextlib.asynccontextmanager
        async def away() -> AsyncIterator[None]:
            double.instead = web.Response(status=500, text="no leader")
            yield
            double.instead = None

        def addresses(service: str) -> set[str]:
            return double.addresses(service.lower().replace(".", "-"))

        yield Registry(f"{double.server}?ttl_s=5", addresses, away, double.services.clear)


@contextlib.asynccontextmanager
async def kubernetes(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    async with EndpointSlicesDouble() as double:
        double.write_config(folder / "kubeconfig")
        patch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

        @contextlib.asynccontextmanager
        async def away() -> AsyncIterator[None]:
            double.refuses = 403
            yield
            double.refuses = 0

        def addresses(service: str) -> set[str]:
            return double.addresses(service.lower().replace(".", "-"))

        yield Registry("k8s://mesh?ttl_s=5", addresses, away, double.slices.clear)


@contextlib.asynccontextmanager
async def file(folder: Path, _patch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    path = folder / "services.json"

    @contextlib.asynccontextmanager
    async def away() -> AsyncIterator[None]:
        before = path.read_bytes() if path.exists() else None
        path.write_text("10.0.0.9:1\n")
        yield
        path.unlink() if before is None else path.write_bytes(before)

    yield Registry(
        f"file://{path}?ttl_s=5",
        lambda service: in_file(path, service),
        away,
        lambda: path.unlink(missing_ok=True),
    )


def in_file(path: Path, service: str) -> set[str]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        groups = json.loads(path.read_text())
        return {
            each for group in groups if group["labels"]["service"] == service for each in group["targets"]
        }
    return set()


# That of Kubernetes takes a second to import its library.
@pytest.fixture(
    params=[consul, pytest.param(kubernetes, marks=pytest.mark.slow), file], ids=lambda made: made.__name__
)
async def registry(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    async with request.param(tmp_path, monkeypatch) as made:
        yield made


@contextlib.asynccontextmanager
async def registered(
    url: str, services: Callable[[], Collection[str]], owner: str = "a1", address: str = HERE
) -> AsyncIterator[Registration]:
    made = Registration(registrar_url(url), ServiceOwner(owner, address), services)
    made.start()
    try:
        yield made
    finally:
        await made.close()


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_services_are_written_changed_and_removed(registry: Registry) -> None:
    services = {GREETER, MAILER}
    async with registered(registry.url, lambda: set(services)):
        await soon(lambda: registry.addresses(GREETER) == registry.addresses(MAILER) == {HERE})
        async with registered(registry.url, lambda: {GREETER}, "a2", "10.0.0.6:7000"):
            await soon(lambda: registry.addresses(GREETER) == {HERE, "10.0.0.6:7000"})
            # One that takes no calls.
            services.discard(MAILER)
            await soon(lambda: not registry.addresses(MAILER))
            services.clear()
            await soon(lambda: registry.addresses(GREETER) == {"10.0.0.6:7000"})
            services.add(GREETER)
            await soon(lambda: registry.addresses(GREETER) == {HERE, "10.0.0.6:7000"})
        assert registry.addresses(GREETER) == {HERE}
    assert registry.addresses(GREETER) == set()


async def test_a_registry_that_is_away_is_written_later(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    async with registry.away():
        made = Registration(registrar_url(registry.url), ServiceOwner("a1", HERE), lambda: {GREETER})
        made.start()
        await soon(lambda: any("not_written" in record.getMessage() for record in caplog.records))
        assert HERE not in registry.addresses(GREETER)
    await soon(lambda: registry.addresses(GREETER) == {HERE})
    assert sum("not_written" in record.getMessage() for record in caplog.records) == 1
    async with registry.away():
        # The end is bounded all the same.
        began_s = time.monotonic()
        await made.close()
        assert time.monotonic() - began_s < SOON_S


async def test_what_a_registry_forgets_is_written_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registered(registry.url, lambda: {GREETER}) as made:
        await soon(lambda: registry.addresses(GREETER) == {HERE})
        registry.forget()
        # The next refresh is now, not in a third of its time to live.
        monkeypatch.setattr(made, "_refresh_at_s", 0.0)
        await soon(lambda: registry.addresses(GREETER) == {HERE})


async def test_consul_is_told_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
    async with ConsulDouble() as double:
        url = registrar_url(f"{double.server}?tag=eu&ttl_s=9&check=grpc")
        made = Registration(url, ServiceOwner("a/1", "[::1]:7000", "agent.example"), lambda: {GREETER})
        made.start()
        await soon(lambda: bool(double.services))
        [service] = double.services.values()
        assert service["Name"] == "acme-v1-greeter"
        assert service["Tags"] == ["weft", "eu"]
        assert (service["Address"], service["Port"]) == ("::1", 7000)
        assert service["Meta"] == {"weft_id": "a/1", "grpc_service": GREETER, "tls_name": "agent.example"}
        check = service["Check"]
        assert (check["GRPC"], check["GRPCUseTLS"], check["Interval"]) == (
            f"[::1]:7000/{GREETER}",
            True,
            "3s",
        )
        assert check["DeregisterCriticalServiceAfter"] == "60s"
        await made.close()
        assert not double.services
        assert set(double.tokens) == {"secret"}


@pytest.mark.slow
async def test_slices_of_the_dead_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kubernetes(tmp_path, monkeypatch) as registry:
        made = Registration(
            registrar_url(registry.url), ServiceOwner("dead", "10.0.0.9:1"), lambda: {GREETER}
        )
        made.start()
        await soon(lambda: registry.addresses(GREETER) == {"10.0.0.9:1"})
        made._task.cancel()  # type: ignore[union-attr] # killed
        # A while later.
        now_s = time.time
        monkeypatch.setattr(
            "weft.rpc.registries.kubernetes_registrar._server_s", lambda _headers: now_s() + 60
        )
        async with registered(registry.url, lambda: {GREETER}):
            await soon(lambda: registry.addresses(GREETER) == {HERE})


@pytest.mark.slow
async def test_kubernetes_takes_no_address_of_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        kubernetes(tmp_path, monkeypatch) as registry,
        registered(registry.url, lambda: {GREETER}, address="127.0.0.1:1"),
    ):
        await soon(lambda: "from this machine alone" in caplog.text)


async def test_a_file_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "services.json"
    hand = {"targets": ["10.0.0.1:1"], "labels": {"service": GREETER, "rack": "7"}}
    dead = {"targets": ["10.0.0.2:1"], "labels": {"service": GREETER, "ends_at_s": "5"}}
    path.write_text(json.dumps([hand, dead]))
    many = [
        Registration(
            registrar_url(f"file://{path}"), ServiceOwner(f"a{n}", f"10.0.1.{n}:1"), lambda: {GREETER}
        )
        for n in range(8)
    ]
    for each in many:
        each.start()
    wanted = {"10.0.0.1:1"} | {f"10.0.1.{n}:1" for n in range(8)}
    await soon(lambda: in_file(path, GREETER) == wanted)
    await asyncio.gather(*(each.close() for each in many))
    assert json.loads(path.read_text()) == [hand]
    assert {each.name for each in tmp_path.iterdir()} == {"services.json", "services.json.lock"}


async def test_a_held_lock_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.rpc.registries.file_registrar._LOCK_S", 0.1)
    path = tmp_path / "services.json"
    with (tmp_path / "services.json.lock").open("a") as lock:
        assert try_lock(lock.fileno())
        made = Registration(registrar_url(f"file://{path}"), ServiceOwner("a1", HERE), lambda: {GREETER})
        made.start()
        await soon(lambda: "another process holds" in caplog.text)
    await soon(lambda: in_file(path, GREETER) == {HERE})
    await made.close()


def test_the_address_that_others_reach() -> None:
    consul_url = registrar_url("consul://127.0.0.1:8500", of_coordinator=True)
    assert own_address(consul_url, "0.0.0.0:7700") == ("127.0.0.1", 7700)
    assert own_address(consul_url, "[::1]:7700") == ("::1", 7700)
    given = registrar_url("file:///a?address=lb.example:443")
    assert own_address(given, "127.0.0.1:7700") == ("lb.example", 443)


# -- processes --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_coordinators_and_agents_find_each_other(mesh: MeshHarness, tmp_path: Path) -> None:
    """Nobody is told an address: the coordinator writes its own, agents and commands find it, and an agent's service is found by its name."""
    services = tmp_path / "services.json"
    where = f"file://{services}"
    await mesh.coordinator(discovery=f"{where}?ttl_s=5")
    mesh.agent_env["WEFT_AGENT_DISCOVERY"] = f"{where}?ttl_s=5"
    agent = await mesh.agent("a1", target=where, wait=False)
    await mesh.wait_serving()
    assert in_file(services, "weft") == {mesh.target}
    await soon(lambda: len(in_file(services, "probe.v1.ProbeService")) == 1)
    told = await weft("agents", "list", "--target", where, "--json")
    assert told.status == 0
    assert "a1" in told.out
    health = await weft(
        "health", "probe.v1.ProbeService", "--target", f"{where}?service=probe.v1.ProbeService"
    )
    assert (health.status, health.out.strip()) == (0, "SERVING"), health

    # At its end an agent is gone at once.
    agent.signal(signal.SIGTERM)
    await soon(lambda: not in_file(services, "probe.v1.ProbeService"))
    # The coordinator too.
    assert mesh.coordinator_process is not None
    mesh.coordinator_process.signal(signal.SIGTERM)
    await soon(lambda: in_file(services, "weft") == set())
