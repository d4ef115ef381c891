"""`weft doctor` on a mesh: what works, what does not, and the exit status."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.beside import free_address
from tests.support.command import Finished, weft
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer


def levels(done: Finished) -> dict[str, str]:
    return {each["subject"]: each["level"] for each in done.document}


async def test_what_works_and_what_does_not(shared_mesh: MeshHarness, tmp_path: Path) -> None:
    dead = free_address()
    async with RedisServer(tmp_path / "redis") as redis:
        well, half, none, server = await asyncio.gather(
            weft("doctor", "--json", target=shared_mesh.target),
            weft("doctor", "--json", target=f"{shared_mesh.target},{dead}"),
            weft("doctor", target=dead),
            weft("doctor", "--json", "--store", redis.url, target=shared_mesh.target),
        )
    assert well.status == 0, well
    assert levels(well)[f"coordinator {shared_mesh.target}"] == "ok"
    assert levels(well)["agents"] == "ok"
    # One of two is away: the rest is looked at through the other.
    assert half.status == 1
    assert levels(half)[f"coordinator {dead}"] == "problem"
    assert levels(half)["agents"] == "ok"
    assert none.status == 1
    assert "no gRPC server answers" in none.out
    assert "→ is it running" in none.out
    assert "agents:" not in none.out
    assert none.out.endswith("1 problem, 0 warnings\n")
    (store,) = [
        each
        for each in server.document
        if each["subject"].startswith("store redis://") and each["level"] == "ok"
    ]
    assert "no data of weft yet" in store["text"]


async def test_a_store_that_is_none(tmp_path: Path) -> None:
    dead = free_address()
    done = await weft("doctor", "--json", "--store", f"redis://user:hunter2@{dead}/0", target=dead)
    assert done.status == 1
    assert levels(done)["store"] == "problem"
    assert "hunter2" not in done.out + done.err
    wrong = await weft("doctor", "--store", "redis://:x/none", env={"WEFT_USE_PROXY": "perhaps"})
    assert wrong.status == 2
    assert "WEFT_USE_PROXY" in wrong.err
