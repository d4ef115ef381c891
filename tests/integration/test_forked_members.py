"""Members that a fork server starts are what they would be by themselves, and what is wrong with a fork server costs time alone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.pooled import MESH_ID as MESH
from tests.support.pooled import PooledMachine, machine
from tests.support.processes import ROOT, until
from weft.coordinator.pools.processes.keeper_link import KeeperLink
from weft.coordinator.pools.processes.process_provider import passed_on
from weft.rpc.process.pool_member import MEMBER, OWN

_PROGRAM = (ROOT / "tests/support/as_started.py").read_text()
_WAITS = """
import os, time
while os.environ.get({member!r}, "").startswith(".") and not os.path.exists({gate!r}):
    time.sleep(0.01)
"""
# What differs between any two processes.
_EACH = {"pid", "session", "environment", "shown", "of_c", "by_chance", "id", "standard"}


class Asked:
    """A keeper, and what it starts: programs in a folder."""

    def __init__(self, here: PooledMachine, link: KeeperLink, folder: Path) -> None:
        self.here, self.link, self.folder = here, link, folder
        self._told = folder / "told"
        self._count = 0
        (folder / "program.py").write_text(_PROGRAM)

    async def start(self, *, wait: bool = True, **env: str) -> dict[str, Any]:
        """Start a member, and return what it has told of itself."""
        self._count += 1
        member = env.get("WEFT_AGENT_ID", f"workers-{self._count:06}")
        own = {"WEFT_AGENT_ID": member, "WEFT_TOKEN": f"secret{self._count:06}", "WEFT_TARGET": "127.0.0.1:1"}
        words = [sys.executable, "-P", "-m", "weft.cli.main", "agent", "program:agent"]
        fixed = {"STARTED_AS": str(self._told), "PYTHONPATH": str(self.folder / "site"), "LANG": "C.UTF-8"}
        await self.link.ask(
            "start",
            start=True,
            member=member,
            words=words,
            env=passed_on() | fixed | own | env,
            folder=str(self.folder),
            fork=True,
        )
        if not wait:
            return {"id": member}
        await until(lambda: member in self.told(), f"{member} was started", timeout_s=60)
        return self.told()[member]

    def told(self) -> dict[str, dict[str, Any]]:
        lines = self._told.read_text().splitlines() if self._told.exists() else []
        return {each["id"]: each for each in map(json.loads, lines)}

    async def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not Path(f"/proc/{pid}").exists(), "it has ended")


@pytest_asyncio.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    with machine() as here:
        link = KeeperLink(MESH, here.folder, 30, passed_on(), lambda: None)
        yield Asked(here, link, tmp_path)
        await link.close()


@pytest.mark.slow
async def test_a_forked_member_is_what_it_would_be_by_itself(asked: Asked) -> None:
    alone = await asked.start()
    assert not asked.here.fork_servers()
    forked, other = await asked.start(), await asked.start()
    (server,) = asked.here.fork_servers()
    assert {name for name in alone if alone[name] != forked[name]} <= _EACH
    for each in (alone, forked, other):
        assert each["parent"] == asked.here.keepers()[0] != server
        assert each["session"] == [each["pid"], each["pid"]]
        own = {f"{name}={each['environment'][name]}" for name in OWN if name in each["environment"]}
        assert own <= set(each["shown"])
        for name, text in each["of_c"].items():
            assert text == each["environment"].get(name, "")
        assert each["environment"]["WEFT_AGENT_ID"] == each["id"]
        log = str(asked.here.folder / MESH / f"{each['id']}.log")
        assert each["standard"] == ["/dev/null", log, log]
        assert len(asked.here.members()) == 3
    for name in ("environment", "shown"):
        theirs = [
            [text for text in map(str, each[name]) if not text.startswith(OWN)] for each in (alone, forked)
        ]
        assert sorted(theirs[0]) == sorted(theirs[1])
    for ours, theirs in zip(forked["by_chance"], other["by_chance"], strict=True):
        assert ours != theirs
    # A new version of the program, and of the same environment.
    (asked.folder / "program.py").write_text(_PROGRAM.replace('"told_by_site", ""', '"other", "new program"'))
    assert (await asked.start())["site"] == "new program"
    assert asked.here.fork_servers() == [server]
    # How one ended is heard; and all of them end with their keeper.
    listed = await asked.link.list()
    assert {member: each[0] for member, each in listed.items()} == {
        member: each["pid"] for member, each in asked.told().items()
    }
    await asked.kill(forked["pid"])
    ended = (await asked.link.list())[forked["id"]]
    assert ended[1:3] == [False, "was ended by SIGKILL"]
    asked.here.kill_keepers()
    await until(lambda: not asked.here.members() and not asked.here.fork_servers(), "nothing is left")


@pytest.mark.slow
async def test_what_is_loaded_is_loaded_again_when_it_has_changed(asked: Asked) -> None:
    site = asked.folder / "site" / "sitecustomize.py"
    site.parent.mkdir()
    site.write_text("import sys; sys.told_by_site = 1")
    for _ in range(2):
        assert (await asked.start())["site"] == 1
    (server,) = asked.here.fork_servers()
    site.write_text("import sys; sys.told_by_site = 22")
    assert (await asked.start())["site"] == 22
    (other,) = asked.here.fork_servers()
    assert other != server
    # Its end is noticed with the next member, which starts by itself or by another one.
    await asked.kill(other)
    assert (await asked.start())["site"] == 22
    # Variables of another length have another server.
    assert (await asked.start(WEFT_TOKEN="longer"))["site"] == 22
    # It stands still while it is asked, and is killed: the member is started once.
    site.write_text("import sys; sys.told_by_site = 333")
    (server, *_) = asked.here.fork_servers()
    os.kill(server, signal.SIGSTOP)
    assert (await asked.start())["site"] == 333


@pytest.mark.slow
async def test_who_cannot_be_forked_starts_by_itself(asked: Asked) -> None:
    site = asked.folder / "site" / "sitecustomize.py"
    site.parent.mkdir()
    site.write_text(
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )
    for _ in range(3):
        await asked.start()
    await until(lambda: not asked.here.fork_servers(), "the fork server has ended")
    assert (
        "a module that was loaded has started a thread"
        in (asked.here.folder / f"{MESH}.keeper.log").read_text()
    )
    assert len(asked.here.members()) == 3


@pytest.mark.slow
async def test_a_member_is_stopped_and_killed_while_its_server_loads(asked: Asked) -> None:
    gate, site = asked.folder / "gate", asked.folder / "site" / "sitecustomize.py"
    site.parent.mkdir()
    # Servers wait with their load until the gate is there.
    site.write_text(_WAITS.format(member=MEMBER, gate=str(gate)))
    await asked.start()
    starting = asyncio.create_task(asked.start(wait=False))
    await until(lambda: bool(asked.here.fork_servers()), "its server loads")
    member = next(name for name, each in (await asked.link.list()).items() if not each[0])
    # A second coordinator asks for it, too.
    await asked.start(wait=False, WEFT_AGENT_ID=member)
    await asked.link.ask("stop", member=member, grace_s=0.5)
    gate.touch()
    await starting
    async with asyncio.timeout(30):
        while (listed := await asked.link.list())[member][1]:
            await asyncio.sleep(0.02)
    assert [each[1] for each in listed.values()] == [True, False]
    assert member not in asked.here.members().values()
    # A server that is killed while it loads: its member starts by itself.
    gate.unlink()
    await asked.start(A="1")
    known = asked.here.fork_servers()
    starting = asyncio.create_task(asked.start(A="1"))
    await until(lambda: len(asked.here.fork_servers()) > len(known), "another server loads")
    (server,) = set(asked.here.fork_servers()) - set(known)
    os.kill(server, signal.SIGKILL)
    await starting
    # In the end they go with the last member.
    for each in asked.here.members():
        os.kill(each, signal.SIGKILL)
    await until(lambda: not asked.here.fork_servers(), "servers end", timeout_s=40)
