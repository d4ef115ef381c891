"""`weft operator` as a process, at a double of the Kubernetes API and, where it is installed, at a real one; agents are processes that a controller of Deployments starts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.api_server import ADMIN, ApiServer, wait_until
from tests.support.deployment_controller import ApiClient, DeploymentController
from tests.support.kubernetes_objects import KubernetesObjectsDouble
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT, Process, until
from tests.support.soak import soak
from weft.v1 import access_pb2, namespace_pb2, namespace_pb2_grpc, security_pb2, security_pb2_grpc

pytestmark = pytest.mark.slow

CALL = tasks.method("Call")
MANIFESTS = ROOT / "deploy" / "kubernetes" / "operator" / "weft.yaml"
ACCOUNT = "weft-operator"
SPACE = "pools"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real API server that has the operator's manifests."""
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as server:
        server.make_namespace(SPACE, "baseline")
        for each in yaml.safe_load_all(MANIFESTS.read_text()):
            server.apply(each, SPACE)
        wait_until(lambda: server._serves("/apis/weft.dev/v1alpha1", "weftagentpools"), "pools are served")
        yield server


class Site:
    """A cluster's API, and operators there."""

    def __init__(self, mesh: MeshHarness, api: ApiClient, account: Path) -> None:
        self.mesh, self.api, self._account = mesh, api, account
        self.double: KubernetesObjectsDouble | None = None
        self._processes: list[Process] = []

    def operator(self, **env: str) -> Process:
        words = ["--target", self.mesh.target, "--api", self.api.address, "--account", str(self._account)]
        name = f"operator-{len(self._processes)}"
        words += ["--look-s", "0.2", "--kubernetes-namespace", SPACE]
        log = self.mesh.folder / f"{name}.log"
        self._processes.append(Process.weft(name, "operator", *words, log=log, env=env))
        return self._processes[-1]

    async def leads(self, operator: Process) -> None:
        await until(lambda: "operator.leads" in operator.output() or not operator.alive, "it leads")
        assert operator.alive, operator.output()

    async def forget_lease(self) -> None:
        """As if the time of a dead operator's lease had passed."""
        await self.api.ask("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/weft-operator")

    async def apply(self, name: str, **spec: Any) -> None:
        await self.api.apply(f"{self.api.pools}/{name}", pool(name, **spec))

    async def until_conditions(self, name: str, **wanted: str) -> None:
        """Wait until a pool's conditions have these reasons."""

        async def so() -> bool:
            found = await self.api.conditions(name)
            return all(found.get(kind, ("", ""))[1] == reason for kind, reason in wanted.items())

        await self.mesh.eventually(so, f"{name} is {wanted}")

    async def until_replicas(self, name: str, replicas: int) -> None:
        async def so() -> bool:
            found = await self.api.deployment(name)
            return found is not None and found["spec"]["replicas"] == replicas

        await self.mesh.eventually(so, f"{name} has {replicas} replicas")

    async def close(self) -> None:
        for each in self._processes:
            each.cleanup()
        for collection in (self.api.pools, self.api.deployments):
            listed = await self.api.ask("GET", collection)
            assert listed is not None
            for each in listed["items"]:
                await self.api.ask("DELETE", f"{collection}/{each['metadata']['name']}")
        await self.api.close()


def pool(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "agent", "image": "acme/worker:1", "args": ["agent", "acme.worker:agent"]}
    given = {
        "work": {"methods": [CALL]},
        "tasksPerReplica": 2,
        "minReplicas": 0,
        "maxReplicas": 3,
        "scaleDownStabilizationSeconds": 1,
        "template": {"spec": {"containers": [container]}},
    } | spec
    about = {"apiVersion": "weft.dev/v1alpha1", "kind": "WeftAgentPool", "metadata": {"name": name}}
    return about | {"spec": given}


def account(folder: Path, token: str, authority: Path | None) -> Path:
    """A folder as Kubernetes mounts it into a pod."""
    folder.mkdir()
    (folder / "token").write_text(token)
    (folder / "namespace").write_text(SPACE)
    if authority is not None:
        (folder / "ca.crt").write_bytes(authority.read_bytes())
    return folder


@pytest.fixture(params=["double", "real"])
async def site(request: pytest.FixtureRequest, mesh: MeshHarness, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "double":
        async with KubernetesObjectsDouble() as server:
            user, own = account(tmp_path / "user", "u", None), account(tmp_path / "own", "t", None)
            made = Site(mesh, ApiClient(server.address, user, SPACE), own)
            made.double = server
            yield made
            await made.close()
        return
    server = request.getfixturevalue("real")
    user = account(tmp_path / "user", ADMIN, server._authority.ca)
    own = account(tmp_path / "own", server.token_of(SPACE, ACCOUNT), server._authority.ca)
    made = Site(mesh, ApiClient(server.address, user, SPACE), own)
    await made.forget_lease()
    yield made
    await made.close()


async def known(mesh: MeshHarness) -> None:
    """An agent makes the method known."""
    await mesh.coordinator()
    first = await mesh.agent("first", program=tasks.PLAIN)
    assert await first.terminate() == 0


async def submit(mesh: MeshHarness, count: int) -> list[str]:
    return await tasks.submit_all(mesh, [ProbeRequest(text=str(n), sleep_s=0.3) for n in range(count)])


async def check_all(mesh: MeshHarness, ids: list[str]) -> None:
    """All tasks have run once."""
    for task in (await tasks.ended(mesh, ids)).values():
        assert (task.attempt, task.crashes) == (1, 0), tasks.describe(task)


async def test_agents_come_with_the_work_and_go_with_it(site: Site, mesh: MeshHarness) -> None:
    """From zero to the most and back to zero and again; operators are killed meanwhile, and no task is lost."""
    await known(mesh)
    first = site.operator()
    async with DeploymentController(site.api, mesh) as controller:
        await site.leads(first)
        await site.apply("greeters")
        await site.until_conditions("greeters", Ready="AgentsReady", Scaled="FollowsQueues")
        assert controller.starts == 0

        second = site.operator()
        ids = await submit(mesh, 12)
        await site.until_replicas("greeters", 3)
        await first.kill()
        await site.forget_lease()
        await site.leads(second)
        await check_all(mesh, ids)
        await site.until_replicas("greeters", 0)
        await until(lambda: not controller.running["greeters"], "all agents were told to end")
        await site.until_conditions("greeters", Ready="AgentsReady", Scaled="FollowsQueues")
        assert (controller.most, controller.starts) == (3, 3)

        third = site.operator()
        ids = await submit(mesh, 4)
        await site.until_replicas("greeters", 2)
        # One that ends in order hands over at once.
        assert await second.terminate() == 0
        await site.leads(third)
        await check_all(mesh, ids)
        await site.until_replicas("greeters", 0)

        await site.apply("greeters", minReplicas=1)
        await until(lambda: len(controller.running["greeters"]) == 1, "an agent runs without work")
        await mesh.wait_agent(controller.running["greeters"][0].name)
        await site.api.ask("DELETE", f"{site.api.pools}/greeters")
        await until(
            lambda: not controller.running["greeters"], "its Deployment is gone, and so are its agents"
        )
    assert "Traceback" not in first.output() + second.output() + third.output()


async def test_a_pool_that_cannot_be_costs_itself_alone(site: Site, mesh: MeshHarness) -> None:
    await known(mesh)
    taken = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "taken"},
        "spec": {
            "replicas": 7,
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    }
    await site.api.apply(f"{site.api.deployments}/taken", taken)
    operator = site.operator()
    await site.leads(operator)
    await site.apply("taken")
    # Commas within are what the definition does not see.
    await site.apply(
        "invalid",
        template={
            "metadata": {"labels": {"weft.dev/agent-pool": "x"}},
            "spec": pool("x")["spec"]["template"]["spec"],
        },
    )
    await site.apply("refused", template={"spec": {"containers": [{"name": "agent"}]}})
    await site.apply("good", replicas=2)
    await site.until_conditions("taken", Ready="NameTaken")
    await site.until_conditions("invalid", Ready="Invalid", Scaled="Invalid")
    await site.until_conditions("refused", Ready="DeploymentRefused")
    await site.until_conditions("good", Ready="AgentsStarting", Scaled="Fixed")
    await site.until_replicas("taken", 7)
    assert await site.api.deployment("invalid") is None
    await site.apply("elsewhere", work={"methods": [CALL], "meshNamespace": "team"})
    await site.until_conditions("elsewhere", Scaled="QueuesRefused")
    made = namespace_pb2.CreateNamespaceRequest(name="team")
    await namespace_pb2_grpc.NamespaceServiceStub(mesh.channel()).CreateNamespace(made, timeout=10)
    await site.until_conditions("elsewhere", Scaled="FollowsQueues")
    # What was wrong is mended, and what was fixed follows the queues again.
    await site.apply("refused")
    await site.until_conditions("refused", Ready="AgentsReady")
    await site.apply("good")
    await site.until_replicas("good", 0)
    await site.until_conditions("good", Scaled="FollowsQueues")
    found = await site.api.deployment("good")
    assert found is not None
    assert found["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 40
    # Whoever changes the Deployment by hand is overruled.
    await site.api.apply(
        f"{site.api.deployments}/good",
        taken | {"metadata": {"name": "good"}, "spec": {"replicas": 5}},
        "else",
    )
    await site.until_replicas("good", 0)
    assert "Traceback" not in operator.output()


async def test_while_the_coordinator_is_away_agents_stay(site: Site, mesh: MeshHarness) -> None:
    await known(mesh)
    operator = site.operator()
    await site.leads(operator)
    await site.apply("greeters")
    ids = await submit(mesh, 4)
    await site.until_replicas("greeters", 2)
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    await site.until_conditions("greeters", Scaled="CoordinatorAway")
    await site.until_replicas("greeters", 2)
    # It is about the pool, and not about the last moment.
    found = {each["type"]: each for each in (await site.api.pool("greeters"))["status"]["conditions"]}
    assert "stays as it is" in found["Scaled"]["message"]
    await mesh.restart_coordinator()
    async with DeploymentController(site.api, mesh):
        await check_all(mesh, ids)
        await site.until_replicas("greeters", 0)
        await site.until_conditions("greeters", Scaled="FollowsQueues")
    assert "Traceback" not in operator.output()


async def test_a_mesh_that_asks_for_tokens_tells_an_observer(mesh: MeshHarness, tmp_path: Path) -> None:
    token_file = tmp_path / "operator.token"
    await mesh.coordinator(tokens="on", operator_token_file=token_file)
    maker = security_pb2_grpc.TokenServiceStub(mesh.channel())
    asked = security_pb2.CreateTokenRequest(role=access_pb2.ROLE_OBSERVER)
    shown = (("weft-token", token_file.read_text().strip()),)
    (observer := tmp_path / "observer.token").write_text(
        (await maker.CreateToken(asked, timeout=10, metadata=shown)).text
    )
    async with KubernetesObjectsDouble() as server:
        folder = account(tmp_path / "own", "t", None)
        site = Site(mesh, ApiClient(server.address, folder, SPACE), folder)
        first = site.operator()
        await site.apply("a")
        await site.until_conditions("a", Scaled="QueuesRefused")
        assert await first.terminate() == 0
        site.operator(WEFT_TOKEN_FILE=str(observer))
        await site.until_conditions("a", Scaled="FollowsQueues")
        await site.close()


@soak
async def test_an_operator_that_stands_still_does_nothing_when_it_goes_on(
    site: Site, mesh: MeshHarness
) -> None:
    """Its lease ends by the clock of another, 15 s later."""
    await known(mesh)
    first = site.operator()
    await site.leads(first)
    second = site.operator()
    first.pause()
    await until(lambda: "operator.leads" in second.output(), "the lease has ended", timeout_s=40)
    await site.apply("a", minReplicas=1)
    await site.until_replicas("a", 1)
    first.resume()
    await until(lambda: "operator.stands_by" in first.output(), "it sees that it does not lead")
    await site.apply("a", minReplicas=2)
    await site.until_replicas("a", 2)
    assert "agent_pool.scaled" not in first.output()
    assert second.output().count("agent_pool.scaled") == 2


async def test_an_api_that_fails_is_asked_again(mesh: MeshHarness, tmp_path: Path) -> None:
    """Broken watches, forgotten versions, conflicts and failures: the double's alone, as a real server has none when it should."""
    await known(mesh)
    async with KubernetesObjectsDouble() as server:
        folder = account(tmp_path / "own", "t", None)
        site = Site(mesh, ApiClient(server.address, folder, SPACE), folder)
        operator = site.operator()
        await site.leads(operator)
        await site.apply("a", minReplicas=1)
        await site.until_replicas("a", 1)
        for code in (409, 500):
            server.answers["PATCH", "/deployments/a"] = code
            await site.apply("a", minReplicas=2 if code == 409 else 3)
            await site.until_conditions("a", Ready="DeploymentRefused")
            del server.answers["PATCH", "/deployments/a"]
            await site.until_replicas("a", 2 if code == 409 else 3)
            await site.until_conditions("a", Ready="AgentsStarting")
        server.answers["GET", "/weftagentpools"] = 500
        server.cut()
        server.forget()
        await site.apply("b", minReplicas=1)
        await until(lambda: operator.output().count("watch.refused") >= 2, "it has asked again")
        server.answers["GET", "/weftagentpools"] = 404
        await until(lambda: "install the definition" in operator.output(), "it says what to do")
        del server.answers["GET", "/weftagentpools"]
        await site.until_replicas("b", 1)
        server.forget()
        server.cut()
        await site.apply("c", minReplicas=1)
        await site.until_replicas("c", 1)
        lists = sum(
            method == "GET" and "watch" not in path and "pools?" in path for method, path in server.asked
        )
        writes = sum(method == "PATCH" for method, _ in server.asked)
        # Nothing happens: looks at the queues alone.
        await until(lambda: sum("leases" in path for _, path in server.asked[-2:]) == 2, "it is quiet")
        assert lists >= 3
        assert sum(method == "PATCH" for method, _ in server.asked) - writes <= 6
        assert "Traceback" not in operator.output()
        await site.close()
