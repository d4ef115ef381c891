"""The registries themselves: Consul, by HTTP and by its DNS, and the API server of Kubernetes with the roles of the guide. Each test is skipped where its program is not
installed: both are dear to build."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from probe.v1 import probe_pb2_grpc
from tests.support.api_server import ApiServer
from tests.support.beside import free_address
from tests.support.certificates import TestAuthority
from tests.support.probe import ProbeService
from tests.support.processes import Process
from tests.support.running_agent import running
from weft.agent import Agent
from weft.rpc.network.registry_url import registrar_url
from weft.rpc.registries import registration as registering
from weft.rpc.registries.followed import Followed, follow
from weft.rpc.registries.registration import Registration, ServiceOwner

pytestmark = pytest.mark.slow

SOON_S = 40.0
GUIDE = Path(__file__).resolve().parents[2] / "docs/deploy/discovery.md"
# Any of them will do: the API is older.
GET_CONSUL = (
    "https://developer.hashicorp.com/consul/install, or from its Go module: docs/decisions/0077-registries.md"
)


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.05)


@contextlib.contextmanager
def following(target: str) -> Iterator[Followed]:
    found = follow(target)
    try:
        yield found
    finally:
        found.release()


@contextlib.asynccontextmanager
async def registered(url: str, service: str, owner: str, address: str) -> AsyncIterator[Registration]:
    made = Registration(
        registrar_url(url, of_coordinator=True), ServiceOwner(owner, address), lambda: {service}
    )
    made.start()
    try:
        yield made
    finally:
        await made.close()


# -- Consul -----------------------------------------------------------------------------------------------------------------


class Consul(NamedTuple):
    http: str
    dns: str
    # Starts it; it forgets everything when it is killed.
    start: Callable[[], Awaitable[Process]]
    processes: list[Process]


@contextlib.asynccontextmanager
async def running_consul(tmp_path: Path, *further: str) -> AsyncIterator[Consul]:
    program = shutil.which("consul")
    if program is None:
        pytest.skip(f"consul is not installed: {GET_CONSUL}")
    http, dns, *others = (free_address() for _ in range(6))
    ports = {
        "http": http,
        "dns": dns,
        "server": others[0],
        "serf-lan": others[1],
        "serf-wan": others[2],
        "grpc": others[3],
    }
    words = [f"-{name}-port={address.rpartition(':')[2]}" for name, address in ports.items()]
    log = tmp_path / "consul.log"

    def leads() -> bool:
        try:
            with urllib.request.urlopen(f"http://{http}/v1/status/leader", timeout=1) as answer:
                return len(answer.read()) > 4
        except (urllib.error.URLError, OSError):
            return False

    processes: list[Process] = []

    async def start() -> Process:
        process = Process("consul", [program, "agent", "-dev", "-log-level=warn", *words, *further], log=log)
        processes.append(process)
        async with asyncio.timeout(SOON_S):
            while not await asyncio.to_thread(leads):
                assert process.alive, process.output()
                await asyncio.sleep(0.05)
        return process

    try:
        await start()
        yield Consul(http, dns, start, processes)
    finally:
        for each in processes:
            each.cleanup()


@pytest.fixture
async def consul(tmp_path: Path) -> AsyncIterator[Consul]:
    async with running_consul(tmp_path) as running:
        yield running


async def test_consul_itself(consul: Consul) -> None:
    url = f"consul://{consul.http}"
    one, two = "127.0.0.1:7001", "127.0.0.2:7002"
    by_dns = f"dns+srv://weft.service.consul?server={consul.dns}"
    async with registered(f"{url}/weft?ttl_s=5", "weft", "c1", one):
        with following(f"{url}/weft?tag=weft") as found, following(by_dns) as named:
            await soon(lambda: found.known == named.known == {one})
            async with registered(f"{url}/weft?ttl_s=5", "weft", "c/2", two):
                await soon(lambda: found.known == named.known == {one, two})
            await soon(lambda: found.known == named.known == {one})
            # Killed: its check ends by itself.
            async with registered(f"{url}/weft?ttl_s=5", "weft", "dead", two) as dead:
                await soon(lambda: found.known == {one, two})
                assert dead._task is not None
                dead._task.cancel()
                await soon(lambda: found.known == named.known == {one})

            # Consul starts anew, and has lost everything: it is written again.
            await consul.processes[0].kill()
            await soon(lambda: bool(found.problem))
            assert found.known == {one}
            await consul.start()
            await soon(lambda: not found.problem and not named.problem)
            await soon(lambda: found.known == named.known == {one})


async def test_consul_asks_an_agent(consul: Consul) -> None:
    """Consul's gRPC check, at the agent's own health service."""
    agent = Agent(
        target="127.0.0.1:1",
        agent_id="a1",
        listen="127.0.0.1:0",
        discovery=f"consul://{consul.http}?check=grpc&ttl_s=5",
    )
    agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, ProbeService())
    with following(f"consul://{consul.http}/probe-v1-probeservice") as found, running(agent):
        await soon(lambda: found.known == {agent.direct_address})
        # It passes after Consul has asked, too: this is what Consul itself writes.
        await soon(lambda: "uccess" in _checks(consul.http))
        assert "critical" not in _checks(consul.http)
    with following(f"consul://{consul.http}/probe-v1-probeservice") as found:
        await soon(lambda: "no address" in found.problem)


async def test_consul_by_tls_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, token, https = TestAuthority(tmp_path), str(uuid.uuid4()), free_address()
    tls = authority.tls("consul", mutual=False)
    settings = {
        "ports": {"https": int(https.rpartition(":")[2])},
        "cert_file": tls.cert,
        "key_file": tls.key,
        "acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": token}},
    }
    (tmp_path / "consul.json").write_text(json.dumps(settings))
    url, one = f"consul+https://{https}/weft?ttl_s=5", "127.0.0.1:7001"
    async with running_consul(tmp_path, "-config-file", str(tmp_path / "consul.json")):
        with following(url) as found:
            await soon(lambda: "certificate verify failed" in found.problem)
            monkeypatch.setenv("CONSUL_CACERT", str(authority.ca))
            # Without a token Consul shows no service.
            await soon(lambda: "names no address" in found.problem)
            async with registered(url, "weft", "c1", one) as made:
                await soon(lambda: made._told)
                (tmp_path / "token").write_text(token)
                monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", str(tmp_path / "token"))
                await soon(lambda: found.known == {one})


def _checks(http: str) -> str:
    with urllib.request.urlopen(f"http://{http}/v1/agent/checks", timeout=5) as answer:
        return str(answer.read().decode())


# -- Kubernetes ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started


def documents() -> list[Any]:
    """The manifests of the guide."""
    blocks = [part.split("```")[0] for part in GUIDE.read_text().split("```yaml\n")[1:]]
    return [each for block in blocks for each in yaml.safe_load_all(block)]


def account(server: ApiServer, name: str, role: str) -> str:
    """A token of a new account with this role alone."""
    server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}, "mesh")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "mesh"}],
    }
    server.apply(binding, "mesh")
    return server.token_of("mesh", name)


async def test_kubernetes_itself(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two pods: with the account of each, and no KUBECONFIG."""
    monkeypatch.setattr(registering, "LOOK_S", 0.05)
    server.make_namespace("mesh")
    for each in documents():
        server.apply(each)
    folder = tmp_path / "account"
    folder.mkdir()
    shutil.copy(server._authority.ca, folder / "ca.crt")
    host, _, port = server.address.removeprefix("https://").rpartition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("weft.rpc.registries.kubernetes_api.ACCOUNT", folder)
    reader, writer = (
        account(server, "reader", "weft-finds-coordinators"),
        account(server, "writer", "weft-writes-services"),
    )
    service, here, there = "acme.v1.Greeter", "10.1.0.5:7000", "10.1.0.6:7000"

    token = folder / "token"
    token.write_text(reader)
    with following("k8s://mesh/acme-v1-greeter:grpc") as found:
        await soon(lambda: "names no address" in found.problem)
        # The reader's token, at the writer: refused, with what to do. The file is read at each call.
        async with registered("k8s://mesh?ttl_s=5", service, "a1", here) as first:
            await soon(lambda: first._told)
            token.write_text(writer)
            await soon(lambda: bool(first._present))
            token.write_text(reader)
            await soon(lambda: found.known == {here})
            token.write_text(writer)
            async with registered("k8s://mesh?ttl_s=5", service, "a2", there):
                await soon(lambda: found.known == {here, there})
            await soon(lambda: found.known == {here})
        await soon(lambda: "names no address" in found.problem)
    slices = server.request("GET", "/apis/discovery.k8s.io/v1/namespaces/mesh/endpointslices")
    assert slices["items"] == []
