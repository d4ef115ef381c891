"""What looks after sandboxes goes on, whatever a provider does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from weft.services.sandboxes import sandbox_table
from weft.services.sandboxes.sandbox_life import Life
from weft.services.sandboxes.sandbox_table import SandboxTable
from weft.services.sandboxes.settings import SandboxesSettings


class Bad:
    """A box of a provider that is not ours."""

    def __init__(self, does: str) -> None:
        self.does, self.asked = does, 0

    async def terminate(self, _why: str) -> None:
        self.asked += 1
        if self.does == "hangs":
            await asyncio.Event().wait()
        elif self.does == "raises":
            raise KeyError("not ours")


async def test_a_provider_costs_its_own_sandboxes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_table, "_MOST_S", 0.05)
    table = SandboxTable(SandboxesSettings(warm=0))
    boxes: dict[str, Any] = {each: Bad(each) for each in ("raises", "hangs", "ends")}
    for name, box in boxes.items():
        table._lives[name] = Life(name, box, table.default, "acme", 0.0, 1.0, 0.0, {})
    for _ in range(2):
        await table.look_after(2.0)
    assert [box.asked for box in boxes.values()] == [2, 2, 2]
    assert [life.troubled for life in table._lives.values()] == [True, True, False]
    async with asyncio.timeout(10):
        await table.close()
