"""A mesh under load while its coordinators come and go, and what became of every call and every task, by the ledger of those that ran."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.load import Load
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.stock_caller import StockCaller

# Takes the name of a moment: submits tasks, and waits until calls have been answered since.
SomeMore = Callable[[str], Awaitable[None]]


@asynccontextmanager
async def loaded(
    mesh: MeshHarness, target: str, *, retries: bool = False, kills: bool = False
) -> AsyncIterator[SomeMore]:
    """Calls of stock clients all the time, and tasks whenever the test asks for some. At the end no call has failed, every acknowledged task has
    ended, and each has run once.

    Args:
        retries: of the stock clients (`StockCaller`).
        kills: the test kills coordinators. Then a call that was not answered yet may run again: its task need not be stored before its end.
    """
    ledger, load = mesh.ledger(), Load()
    callers = [StockCaller(target, retries=retries) for _ in range(4)]
    ids: list[str] = []
    texts: list[str] = []

    def answers() -> int:
        return sum(len(each.texts) for each in callers)

    async def some_more(moment: str) -> None:
        # Some run while the next thing happens, and some wait.
        new = [f"task {moment} {number}" for number in range(8)]
        requests = [ProbeRequest(text=text, ledger=ledger.path, sleep_s=0.6) for text in new]
        ids.extend(await tasks.submit_all(mesh, requests))
        texts.extend(new)
        count = answers()
        await until(lambda: answers() > count + 8, f"calls are answered {moment}")

    try:
        for each in callers:
            load.add("call", partial(each.call, ledger))
        # A coordinator on a file closes its store a moment later if calls are under way.
        load.add("long call", partial(callers[0].call, ledger, sleep_s=0.5), at_a_time=1)
        yield some_more
        await load.stop()
        ended = await tasks.ended(mesh, ids)
    finally:
        await load.stop()
        await asyncio.gather(*(each.close() for each in callers))
    assert load.failed == [], mesh.logs()
    assert [tasks.reply(ended[each]).text for each in ids] == texts
    ran = Counter(fact.text for fact in ledger.facts("start"))
    answered = Counter(text for each in callers for text in each.texts)
    assert {text: ran[text] for text in texts} == dict.fromkeys(texts, 1)
    assert max(answered.values()) == 1
    calls = {text: times for text, times in ran.items() if text not in set(texts)}
    assert calls.keys() == answered.keys() if kills else calls == answered
