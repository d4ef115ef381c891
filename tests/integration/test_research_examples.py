"""The three programs of examples/research: an agent that stays, a pool, and an agent for one question; without a model, so that rules answer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from weft.client import connect

pytestmark = pytest.mark.slow
SERVICE = "weft.services.research.v1.ResearchService"


async def printed(name: str, *words: str, typed: str = "") -> str:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"examples.research.{name}", *words),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(program.communicate(typed.encode()), 90)
    except TimeoutError:
        program.kill()
        raise
    assert program.returncode == 0, out.decode()
    return out.decode()


def corpus(folder: Path) -> str:
    made = folder / "corpus"
    made.mkdir()
    (made / "a.md").write_text("A widget weighs 42 kilograms.\n\nGears are made of brass.\n")
    return str(made)


async def test_an_agent_that_stays(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    env = {"WEFT_RESEARCH_FOLDER": corpus(mesh.folder)}
    await mesh.agent("one", program="", services="research", env=env)
    await mesh.wait_serving(SERVICE)
    out = await printed("persistent", mesh.target, "s", typed="What does a widget weigh?\n\nAnd the gears?\n")
    assert "searching What does a widget weigh?" in out
    assert "[1] a.md:1-1\nA widget weighs 42 kilograms. [1]" in out
    assert "Gears are made of brass. [1]" in out
    assert "The session s has 2 questions." in out


async def test_a_pool_and_an_agent_for_one_question(mesh: MeshHarness) -> None:
    await mesh.coordinator(pool_providers="process", pool_folder=mesh.folder / "pools")
    folder = corpus(mesh.folder)
    out = await printed("pooled", mesh.target, folder, "a widget?", "the gears?")
    assert "a widget?\nA widget weighs 42 kilograms. [1]\n(a.md:1)" in out
    assert "the gears?\nGears are made of brass. [1]\n(a.md:3)" in out
    out = await printed("ephemeral", mesh.target, folder, "a widget?")
    assert out == "A widget weighs 42 kilograms. [1]\n[1] a.md:1-1\n"
    async with connect(mesh.target) as client:

        async def gone() -> bool:
            return not [each async for each in client.pools.list()]

        await mesh.eventually(gone, "the pools are gone")
