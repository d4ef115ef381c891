"""Kill -9 in the middle of a question: of the agent that answers it, of any process of the corpus' sandbox, of the model's agent, of the coordinator. The question
ends by the model, the model is asked again only if its own agent died, the session has one turn, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.deployments import Deployment, embedded, redis
from tests.support.left_behind import left_of_agents, processes_that_name
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.sandboxed import need_bubblewrap
from tests.support.soak import soak
from weft.client import Method, TaskState, connect
from weft.services.research.v1 import research_pb2 as pb

SERVICE = "weft.services.research.v1.ResearchService"
ASK = Method.of(f"{SERVICE}/AskOnce", pb.AskOnceRequest, pb.AskOnceResponse)
GET = Method.of(f"{SERVICE}/GetSession", pb.GetSessionRequest, pb.GetSessionResponse)
# A contract with rules is vetted first, and an agent that has died is waited for.
PATIENCE_S = 90.0
# What is killed while the model answers for the second time, and which rounds it may be asked again.
VICTIMS: list[tuple[str, dict[str, int]]] = [
    ("corpus", {}),
    ("bubblewrap", {}),
    ("coordinator", {}),
    ("model", {"1": 1}),
    ("research", {}),
]


class Killed:
    """A mesh with a question under way, and its kills."""

    def __init__(self, meshes: list[MeshHarness]) -> None:
        self.meshes, self._home = meshes, meshes[0]
        self.corpus = self._home.folder / "corpus"
        self._models = self._home.folder / "models"
        self.target = ",".join(each.target for each in meshes)
        self.pids: set[int] = set()

    async def start(self, name: str) -> None:
        model = name == "model"
        process = await self._home.agent(
            name,
            program="tests.support.held_models:agent" if model else "",
            services="" if model else "research",
            target=self.target,
            env={
                "WEFT_RESEARCH_FOLDER": str(self.corpus),
                "WEFT_RESEARCH_SANDBOX": "require",
                "WEFT_TEST_MODELS": str(self._models),
            },
            wait=False,
        )
        self.pids.add(process.pid)

    async def begin(self) -> None:
        self.corpus.mkdir()
        self._models.mkdir()
        (self.corpus / "widgets.md").write_text("# Widgets\n\nA widget weighs 42 kilograms.\nIt is blue.\n")
        await asyncio.gather(self.start("research"), self.start("model"))
        for each in (SERVICE, "weft.services.models.v1.ModelService"):
            await asyncio.gather(*(mesh.wait_serving(each, timeout_s=PATIENCE_S) for mesh in self.meshes))

    def asked(self) -> Counter[str]:
        """How often the model was asked in each round."""
        path = self._models / "asked"
        return (
            Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()
        )

    def answer(self, number: int) -> None:
        (self._models / f"go{number}").touch()

    async def until_asked(self, number: int, times: int = 1) -> None:
        await until(
            lambda: self.asked()[str(number)] >= times, f"round {number} has begun", timeout_s=PATIENCE_S
        )

    async def kill(self, victim: str) -> None:
        if victim == "coordinator":
            await self.meshes[-1].restart_coordinator()
        elif victim in ("research", "model"):
            await self._home.agents[victim].kill()
            await self.start(victim)
        else:
            # The first one is bubblewrap itself, the last one is what reads.
            found = sorted(processes_that_name(f'"folder": "{self.corpus}"'))
            assert len(found) >= 2, found
            os.kill(found[0 if victim == "bubblewrap" else -1], signal.SIGKILL)
            await until(
                lambda: not processes_that_name(f'"folder": "{self.corpus}"'), "its sandbox has ended"
            )

    async def end(self) -> None:
        for process in self._home.agents.values():
            if process.alive:
                await process.kill()
        await until(lambda: not left_of_agents(self.pids, str(self.corpus)), "nothing is left", timeout_s=30)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deployment", [embedded, pytest.param(redis, marks=soak)])
async def test_a_question_survives_each_kill(tmp_path: Path, deployment: Deployment) -> None:
    need_bubblewrap()
    async with deployment(tmp_path) as meshes:
        here = Killed(meshes)
        await here.begin()
        async with connect(here.target, patience_s=PATIENCE_S) as mesh:

            async def ask(number: int) -> str:
                question = pb.AskRequest(session_id=f"s{number}", question="How heavy is a widget?")
                return (await mesh.tasks.submit(ASK, pb.AskOnceRequest(ask=question))).id

            for number, (victim, again) in enumerate(VICTIMS):
                before = here.asked()
                for told in tmp_path.glob("models/go*"):
                    told.unlink()
                task_id = await ask(number)
                here.answer(0)
                await here.until_asked(1, before["1"] + 1)
                await here.kill(victim)
                for each in (1, 2):
                    here.answer(each)
                task = await mesh.tasks.ended(task_id, PATIENCE_S)
                assert task.state is TaskState.SUCCEEDED, (victim, task.proto)
                answer = pb.AskOnceResponse.FromString(task.response).answer
                assert (answer.source, answer.text) == (pb.ANSWER_SOURCE_MODEL, "It weighs 42 kg [1]."), (
                    victim,
                    answer,
                )
                assert answer.citations[0].text == "A widget weighs 42 kilograms."
                made = here.asked() - before
                assert made == Counter({"0": 1, "1": 1, "2": 1}) + Counter(again), victim
                session = await (
                    await mesh.tasks.submit(GET, pb.GetSessionRequest(session_id=f"s{number}"))
                ).result(timeout_s=PATIENCE_S)
                assert len(session.session.turns) == 1, victim
        await here.end()
