"""Task policies in a contract that no weft code has made: what stock callers get on each door, and what agents are told.

The contracts are descriptors with options as bytes, hosted by bare sessions.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.rpc import status_pb2

from billing.v1 import billing_pb2, billing_pb2_grpc
from tests.support import prioritized_agent
from tests.support.lightweight import Answer, LightAgent, echo, hello, never, refusal, result_of
from tests.support.mesh import MeshHarness
from tests.support.policies import Options, policy_file
from tests.support.processes import Process, until
from tests.support.reflecting import find_grpcurl, grpcurl
from tests.support.shared_redis import two_coordinators
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo
from weft.rpc.errors import error_info, status_of_call
from weft.rpc.times import seconds
from weft.v1 import coordinator_pb2 as api
from weft.v1 import session_pb2, task_pb2

WAIT_S = 20.0
INTERNAL = status_pb2.Status(code=13, message="broken")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def _started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("policy")) as made:
        await made.coordinator()
        yield made


@pytest_asyncio.fixture
async def mesh(_started: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _started
    await _started.close_channels()


class Hosted:
    """A method `Call` of a package of its own, with options, and the parts to call and host it."""

    def __init__(self, options: Options | None, package: str = "") -> None:
        self.package = package or f"p{uuid.uuid4().hex[:8]}.v1"
        self.service, self.method = f"{self.package}.Service", f"{self.package}.Service/Call"
        self.contract = policy_file(options, package=self.package, name=f"{self.package}.proto")
        self.info: MethodInfo = Contract.load(self.contract, [self.method]).methods[self.method]

    def payload(self, **fields: Any) -> bytes:
        return json_format.ParseDict(fields, self.info.request_class()).SerializeToString()

    def agent(self, mesh: MeshHarness, name: str = "", answer: Answer = echo, **fields: Any) -> LightAgent:
        name = name or f"{self.package}-agent"
        return LightAgent(
            mesh.channel(), name, methods=(self.method,), contract=self.contract, answer=answer, **fields
        )

    def call(self, mesh: MeshHarness, payload: bytes = b"", **metadata: str) -> grpc.aio.UnaryUnaryCall:
        """A stock call: no weft in it."""
        pairs = tuple((f"weft-{key.replace('_', '-')}", value) for key, value in metadata.items())
        call = mesh.channel().unary_unary(f"/{self.method}")
        made: Any = call(payload, timeout=WAIT_S, metadata=pairs)
        return made  # type: ignore[no-any-return]


def failing(times: int) -> Answer:
    """Fail the first attempts of each task."""

    def answer(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
        return result_of(assignment, status=INTERNAL) if assignment.attempt <= times else echo(assignment)

    return answer


RETRIED: Options = {"retry": {"max_attempts": 3, "initial_backoff": "0.001s", "retryable_codes": [13]}}


async def task_of(mesh: MeshHarness, task_id: str) -> task_pb2.Task:
    return (await mesh.api().GetTask(api.GetTaskRequest(task_id=task_id), timeout=5)).task


async def trailers_of(call: Any) -> dict[str, Any]:
    return dict(await call.trailing_metadata())


# -- every door -----------------------------------------------------------------------------------------------------

FULL: Options = {
    **RETRIED,
    "limits": {"schedule_to_start": "50s", "start_to_close": "30s", "schedule_to_close": "100s"},
    "priority": 8,
    "result_ttl": "77s",
    "failure_ttl": "99s",
    "requirements": {"labels": {"zone": "eu"}},
    "idempotency_key": "order.number",
}


async def _transparent(mesh: MeshHarness, hosted: Hosted, payload: bytes) -> str:
    call = hosted.call(mesh, payload)
    await call
    return str((await trailers_of(call))["weft-task-id"])


async def _detached(mesh: MeshHarness, hosted: Hosted, payload: bytes) -> str:
    call = hosted.call(mesh, payload, detach="true")
    await call
    return str((await trailers_of(call))["weft-task-id"])


async def _submitted(mesh: MeshHarness, hosted: Hosted, payload: bytes) -> str:
    request = api.SubmitTaskRequest(method=hosted.method, payload=payload)
    return (await mesh.api().SubmitTask(request, timeout=5)).task.id


async def _in_bulk(mesh: MeshHarness, hosted: Hosted, payload: bytes) -> str:
    request = api.SubmitTaskRequest(method=hosted.method, payload=payload)
    call = mesh.api().SubmitTasks(timeout=5)
    await call.write(api.SubmitTasksRequest(tasks=[request]))
    await call.done_writing()
    response = await call.read()
    assert isinstance(response, api.SubmitTasksResponse)
    return response.acks[0].task_id


@pytest.mark.parametrize("door", [_transparent, _detached, _submitted, _in_bulk])
async def test_a_policy_holds_on_every_door(mesh, door):
    hosted = Hosted(FULL)
    async with hosted.agent(mesh, answer=failing(2), labels={"zone": "eu"}) as agent:
        await mesh.wait_contract(agent.agent_id)
        task_id = await door(mesh, hosted, hosted.payload(order={"number": 7}))
        await agent.assigned_to(3)

        async def ended() -> bool:
            return (await task_of(mesh, task_id)).state == task_pb2.TASK_STATE_SUCCEEDED

        await mesh.eventually(ended, "the third attempt succeeds")
        task = await task_of(mesh, task_id)
        assert (task.attempt, task.request_id) == (3, f"{hosted.method}:7")
        options = task.options
        assert (options.priority, options.retry.max_attempts, list(options.retry.retryable_codes)) == (
            8,
            3,
            [13],
        )
        limits = options.limits
        assert seconds(limits.schedule_to_start) == 50
        assert seconds(limits.start_to_close) == 30
        # The caller's own deadline is stricter.
        assert seconds(limits.schedule_to_close) == pytest.approx(
            WAIT_S if door in (_transparent, _detached) else 100, abs=2
        )
        assert (seconds(options.result_ttl), seconds(options.failure_ttl)) == (77, 99)
        assert dict(options.requirements.labels) == {"zone": "eu"}
        attempt_s = seconds(agent.assigned[2].deadline) - seconds(task.start_time)
        assert attempt_s == pytest.approx(min(30, seconds(limits.schedule_to_close)), abs=2)


async def test_a_stock_caller_overrides_the_policy_by_metadata(mesh):
    hosted = Hosted(RETRIED)
    async with hosted.agent(mesh, answer=failing(4)) as agent:
        await mesh.wait_contract(agent.agent_id)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hosted.call(mesh)
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert len(agent.assigned) == 3
        call = hosted.call(
            mesh,
            retry="max_attempts=9,codes=INTERNAL,initial_backoff=0.001s",
            start_to_close="5",
            schedule_to_start="6s",
            result_ttl="30",
            fairness_key="tenant 7",
        )
        await call
        task = await task_of(mesh, str((await trailers_of(call))["weft-task-id"]))
        assert task.attempt == 5
        assert seconds(task.options.limits.start_to_close) == 5
        assert seconds(task.options.limits.schedule_to_start) == 6
        assert seconds(task.options.result_ttl) == 30


async def test_an_idempotency_key_makes_one_task_of_repeats(mesh):
    hosted = Hosted({"idempotency_key": "order.number"})
    async with hosted.agent(mesh, slots=4) as agent:
        await mesh.wait_contract(agent.agent_id)
        ids = {await _transparent(mesh, hosted, hosted.payload(order={"number": 1})) for _ in range(3)}
        assert len(ids) == 1
        assert len(agent.assigned) == 1
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await hosted.call(mesh, hosted.payload(order={"number": 1}, count=2))
        info = error_info(status_of_call(raised.value))
        assert info is not None
        assert info.reason == "REQUEST_ID_REUSED"
        own = hosted.call(mesh, hosted.payload(order={"number": 1}, count=2), request_id="own")
        await own
        assert len(agent.assigned) == 2


async def test_grpcurl_gets_retries_and_limits_without_metadata(mesh):
    find_grpcurl()
    hosted = Hosted({**RETRIED, "limits": {"start_to_close": "0.3s"}})
    async with hosted.agent(mesh, answer=failing(2)) as agent:
        await mesh.wait_contract(agent.agent_id)
        code, printed = await grpcurl(mesh.target, [hosted.method], ["-v", "-d", json.dumps({"count": 3})])
        assert code == 0, printed
        assert "weft-attempt: 3" in printed
    slow = Hosted({"limits": {"start_to_close": "0.3s"}})
    async with slow.agent(mesh, answer=never) as agent:
        await mesh.wait_contract(agent.agent_id)
        code, printed = await grpcurl(mesh.target, [slow.method], ["-d", "{}"])
        assert code != 0
        assert "DeadlineExceeded" in printed
        assert "start_to_close" in printed


async def test_run_limits_and_locks_by_key_hold_for_stock_callers(mesh):
    hosted = Hosted(
        {
            "run_limits": [{"key": "order.customer.id", "max_running": 1}],
            "locks": [{"name": f"lock-{uuid.uuid4().hex[:8]}", "key": "count"}],
        }
    )
    calls = []
    async with hosted.agent(mesh, slots=8, answer=never) as agent:
        await mesh.wait_contract(agent.agent_id)
        for customer, count in (("ada", 1), ("ada", 2), ("eve", 1), ("bob", 3)):
            calls.append(
                hosted.call(
                    mesh, hosted.payload(order={"customer": {"id": customer}}, count=count), detach="true"
                )
            )
            await calls[-1]
        # One of ada's tasks, and of those with the same lock.
        await agent.assigned_to(2)
        await mesh.eventually(lambda: _waiting(mesh, hosted), "two tasks wait")
        started = [hosted.info.request_class.FromString(item.payload) for item in agent.assigned]
        assert [(each.order.customer.id, each.count) for each in started] == [("ada", 1), ("bob", 3)]
        await agent.send(session_pb2.ConnectRequest(results=[echo(agent.assigned[0])]))
        await agent.assigned_to(4)


async def _waiting(mesh: MeshHarness, hosted: Hosted) -> bool:
    request = api.ListQueuesRequest(method=hosted.method)
    queues = (await mesh.api().ListQueues(request, timeout=5)).queues
    return sum(queue.queued for queue in queues) == 2


# -- slots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "policy", "cost"), [(0, 2, 2), (3, 2, 3), (4, 0, 4)])
async def test_a_task_takes_the_slots_of_its_policy_or_of_its_agent_if_those_are_more(
    mesh, own, policy, cost
):
    hosted = Hosted({"slot_cost": policy})
    agent = hosted.agent(mesh, slots=4, answer=never)
    agent._hello.methods[0].slot_cost = own
    async with agent:
        await mesh.wait_contract(agent.agent_id)
        fits = 4 // cost
        for _ in range(fits + 1):
            await _submitted(mesh, hosted, b"")
        await agent.assigned_to(fits)
        listed = (await mesh.api().GetAgent(api.GetAgentRequest(agent_id=agent.agent_id), timeout=5)).agent
        assert (listed.methods[0].slot_cost, listed.used_slots) == (cost, cost * fits)
        queues = await mesh.api().ListQueues(api.ListQueuesRequest(method=hosted.method), timeout=5)
        assert [queue.queued for queue in queues.queues] == [1]


# -- refused contracts ----------------------------------------------------------------------------------------------


async def test_options_that_mean_nothing_are_refused_by_name(mesh):
    bad = policy_file({"run_limits": [{"key": "tags", "max_running": 1}]}, package="bad.v1", name="bad.proto")
    first = hello("bad", methods=("bad.v1.Service/Call",), contract=bad)
    sent = session_pb2.ConnectRequest(contract=session_pb2.Contract(file_descriptor_set=bad))
    error = await refusal(mesh.channel(), session_pb2.ConnectRequest(hello=first), sent)
    assert (error.code, error.reason_name) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTRACT_INVALID")
    assert error.message.startswith("bad.v1.Service/Call: option (weft.v1.task): run_limits.key: 'tags'")


ONE: Options = {"priority": 1, "fairness_key": "tenant_id"}
TWO: Options = {"priority": 2, "fairness_key": "tenant_id"}


async def _priority(mesh: MeshHarness, hosted: Hosted) -> int:
    return (await task_of(mesh, await _submitted(mesh, hosted, b""))).options.priority


async def _refused(mesh: MeshHarness, hosted: Hosted, name: str) -> str:
    """The message with which an agent is refused; twice, since an agent dials again."""
    messages = set()
    for _ in range(2):
        first = hello(name, methods=(hosted.method,), contract=hosted.contract)
        sent = session_pb2.ConnectRequest(contract=session_pb2.Contract(file_descriptor_set=hosted.contract))
        error = await refusal(mesh.channel(), session_pb2.ConnectRequest(hello=first), sent)
        assert (error.code, error.reason_name) == (grpc.StatusCode.UNAVAILABLE, "OPTIONS_CONFLICT")
        messages.add(error.message)
    assert len(messages) == 1
    return messages.pop()


async def test_other_options_than_those_of_a_connected_agent_are_refused_until_it_leaves(mesh):
    one = Hosted(ONE)
    two = Hosted(TWO, one.package)
    async with one.agent(mesh, "first") as first:
        await mesh.wait_contract("first")
        assert await _priority(mesh, one) == 1
        message = await _refused(mesh, two, "second")
        assert message.startswith(
            f"{one.method}: the option priority differs. In this agent's contract: priority: 2. In that of agent 'first', which is"
            " connected: priority: 1."
        )
        assert "--replace-options" in message
        assert await _priority(mesh, one) == 1
        # Of the same options, another contract is welcome.
        same = Hosted({**ONE}, one.package)
        async with same.agent(mesh, "third"):
            await mesh.wait_agent("third")
        assert first.welcome.epoch
    # Without the others, the newest options hold.
    async with two.agent(mesh, "second"):
        await mesh.wait_contract("second")
        assert await _priority(mesh, one) == 2
        await _refused(mesh, one, "first")
    # Back again, also though that contract is older.
    async with one.agent(mesh, "first"):
        await mesh.wait_contract("first")
        assert await _priority(mesh, one) == 1


async def test_a_rolling_update_replaces_the_options_for_all(mesh):
    one = Hosted(ONE)
    two = Hosted(TWO, one.package)
    instance = uuid.uuid4().hex
    old = one.agent(mesh, "old", instance_id=instance)
    await old.open()
    await mesh.wait_contract("old")
    async with two.agent(mesh, "new", replace_options=True):
        await mesh.wait_contract("new")

        async def replaced() -> bool:
            return await _priority(mesh, one) == 2

        await mesh.eventually(replaced, "the new options hold")
        # The old process comes back after a broken stream: it was accepted before, and changes nothing.
        await old.close(goodbye=False)
        async with one.agent(mesh, "old", instance_id=instance):
            await mesh.wait_agent("old")
            assert await _priority(mesh, one) == 2
        # A new process with the old options is refused.
        await _refused(mesh, one, "older")
        # And replaces them in turn, if it is to: a roll-back.
        async with one.agent(mesh, "older", replace_options=True):
            await mesh.wait_agent("older")
            assert await _priority(mesh, one) == 1


async def test_the_options_in_force_are_the_same_at_every_coordinator(tmp_path):
    one = Hosted(ONE)
    two = Hosted(TWO, one.package)
    async with MeshHarness(tmp_path) as here, two_coordinators(here, tmp_path) as (_, there):

        async def in_force(priority: int) -> None:
            async def seen() -> bool:
                return {await _priority(mesh, one) for mesh in (here, there)} == {priority}

            await here.eventually(seen, f"priority {priority} at both")

        async with one.agent(here, "first"):
            await in_force(1)
            await there.wait_agent("first")
            # The other agent is connected elsewhere.
            await _refused(there, two, "second")
            async with two.agent(there, "second", replace_options=True):
                await in_force(2)
        # An older contract.
        async with one.agent(there, "first"):
            await in_force(1)


async def test_a_method_is_direct_by_default_if_its_policy_says_so(tmp_path):
    async with MeshHarness(tmp_path) as mesh:
        await mesh.coordinator()
        await mesh.agent("a1", program="tests.support.billing_agent:agent")
        await mesh.wait_serving("billing.v1.BillingService")
        stub = billing_pb2_grpc.BillingServiceStub(mesh.channel())

        async def is_task(name: str, **metadata: str) -> bool:
            pairs = tuple((f"weft-{key}", value) for key, value in metadata.items())
            call = getattr(stub, name)(
                billing_pb2.ChargeRequest(order_id="7"), timeout=WAIT_S, metadata=pairs
            )
            await call
            return "weft-task-id" in await trailers_of(call)

        assert not await is_task("Preview")
        assert await is_task("Preview", mode="durable")
        assert await is_task("Audit")
        assert not await is_task("Audit", mode="direct")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await is_task("Preview", priority="3")
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "make the call durable" in str(raised.value.details())


@pytest.mark.slow
async def test_an_agent_with_other_options_dials_until_the_others_are_gone_or_replaces_them(tmp_path):
    async with MeshHarness(tmp_path) as mesh:
        await mesh.coordinator()

        async def start(name: str, priority: int, *, wait: bool = True, **env: str) -> Process:
            given = {"PRIORITY": str(priority), **env}
            return await mesh.agent(
                name, program="tests.support.prioritized_agent:agent", env=given, wait=wait
            )

        async def in_force(priority: int) -> None:
            request = api.SubmitTaskRequest(method=prioritized_agent.METHOD)

            async def seen() -> bool:
                return (await mesh.api().SubmitTask(request, timeout=5)).task.options.priority == priority

            await mesh.eventually(seen, f"priority {priority} is in force")

        first = await start("first", 1)
        second = await start("second", 2, wait=False)
        await until(lambda: "In this agent's contract: priority: 2." in second.output(), "it says why")
        await in_force(1)
        third = await start("third", 3, WEFT_AGENT_REPLACE_OPTIONS="true")
        await in_force(3)
        await asyncio.gather(first.terminate(), third.terminate())
        await in_force(2)
        assert second.alive


async def test_the_options_in_force_outlive_a_coordinator(tmp_path):
    async with MeshHarness(tmp_path) as mesh:
        await mesh.coordinator()
        one = Hosted(ONE)
        two = Hosted(TWO, one.package)
        for hosted in (one, two, one):
            async with hosted.agent(mesh, "a"):
                await mesh.wait_contract("a")
        assert await _priority(mesh, one) == 1
        await mesh.close_channels()
        await mesh.restart_coordinator()
        assert await _priority(mesh, one) == 1
