"""The pytest plugin: fixtures in a user's test run, with pytest-asyncio, with anyio, and without asyncio."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
import pytest
from weft.agent import Agent

@pytest.fixture
def weft_agents():
    agent = Agent("shouter")

    @agent.method("acme.v1.Shouter/Shout")
    async def shout(request: dict) -> dict:
        return {"text": request["text"].upper()}

    return [agent]

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
TESTS = """
import pytest
import pytest_asyncio
from google.protobuf import json_format, struct_pb2
from weft.client import Method

SHOUT = Method.of("acme.v1.Shouter/Shout", struct_pb2.Struct, struct_pb2.Struct)
REQUEST = json_format.ParseDict({"text": "a"}, struct_pb2.Struct())

@pytest_asyncio.fixture
async def submitted(weft_mesh):
    return await weft_mesh.tasks.submit(SHOUT, REQUEST, delay_s=3600)

@pytest.mark.asyncio
async def test_asyncio(weft_mesh, submitted):
    assert (await submitted.result())["text"] == "A"

@pytest.mark.anyio
async def test_anyio(weft_mesh):
    handle = await weft_mesh.tasks.submit(SHOUT, REQUEST, delay_s=3600)
    assert (await handle.result())["text"] == "A"

@pytest.fixture
def weft_mesh_options():
    return {"result_ttl_s": 60}

def test_sync(weft_sync_mesh):
    handle = weft_sync_mesh.tasks.submit(SHOUT, REQUEST, delay_s=3600)
    assert handle.result()["text"] == "A"
    before = weft_sync_mesh.clock.now()
    weft_sync_mesh.clock.advance(120)
    assert weft_sync_mesh.clock.now() - before >= 120
    with pytest.raises(Exception, match="no task"):
        handle.snapshot()
    (agent,) = weft_sync_mesh.agents
    weft_sync_mesh.remove(agent)
    weft_sync_mesh.add(agent)
    assert [each.id for each in weft_sync_mesh.fleet.agents()] == ["shouter"]
"""
UNUSED = """
import sys
import tomllib

def test_nothing():
    assert "weft_pytest" in sys.modules
    assert not [name for name in sys.modules if name == "weft" or name.startswith("weft.")]
"""


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    asyncio = "" if "no:asyncio" in flags else "asyncio_default_fixture_loop_scope = function\n"
    (folder / "pytest.ini").write_text(f"[pytest]\n{asyncio}")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *flags, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_each_kind_of_test_has_a_mesh(tmp_path, mode):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    # In auto mode pytest-asyncio takes every async test.
    tests = TESTS if mode == "strict" else TESTS.replace("@pytest.mark.anyio", "@pytest.mark.asyncio")
    (tmp_path / "test_mesh.py").write_text(tests)
    done = run(tmp_path, f"--asyncio-mode={mode}")
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_run_that_uses_none_of_it_imports_none_of_it(tmp_path):
    (tmp_path / "test_unused.py").write_text(UNUSED)
    done = run(tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_without_a_plugin_for_async_tests_it_says_what_to_do(tmp_path):
    (tmp_path / "test_mesh.py").write_text("def test(weft_mesh): ...\n")
    done = run(tmp_path, "-p", "no:asyncio")
    assert "weft_mesh needs an event loop" in done.stdout, done.stdout + done.stderr


def test_the_plugin_is_a_module_at_the_top_of_the_wheel():
    # Else pytest takes weft's rooms for modules to rewrite, `__main__` among them, and warns in every run of an installed weft.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (plugin,) = project["project"]["entry-points"]["pytest11"].values()
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included[f"testing/src/{plugin}.py"] == f"{plugin}.py"
    assert (ROOT / "testing" / "src" / f"{plugin}.py").is_file()
