"""Options are stored in full: a default that changes later, or is another in another coordinator, changes no stored task."""

from __future__ import annotations

from dataclasses import fields

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, StoreFactory
from weft.coordinator.store.records import Submission, Verdict
from weft.coordinator.store.rules import Requirements, State, TaskRetryPolicy

OTHER_DEFAULTS = {
    "retry": TaskRetryPolicy(2, 50.0, 60.0, 3.0, frozenset({code_pb2.INTERNAL}), 1),
    "start_to_close_s": 1.0,
    "result_ttl_s": 7.0,
    "failure_ttl_s": 8.0,
    "request_id_ttl_s": 9.0,
}
SUBMISSIONS = [
    pytest.param(Submission(METHOD, b"p", request_id="named"), id="defaults"),
    pytest.param(
        Submission(
            METHOD,
            b"p",
            request_id="named",
            start_to_close_s=0.25,
            retry=TaskRetryPolicy(1, 1e-6, 1e12, 1.5, frozenset(), 0),
            requirements=Requirements.of({"a b": "[c d]"}, {"gpu": 1.5}),
            result_ttl_s=0.1,
            request_id_ttl_s=12345.678,
        ),
        id="all given",
    ),
]


@pytest.fixture
def change_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a submission has other defaults; use it by `request.getfixturevalue`."""
    init = Submission.__init__
    names = [each.name for each in fields(Submission)][1:]
    known = dict(zip(names, init.__defaults__ or (), strict=True))
    monkeypatch.setattr(init, "__defaults__", tuple((known | OTHER_DEFAULTS).values()))


@pytest.mark.parametrize("submission", SUBMISSIONS)
async def test_changed_defaults_do_not_change_stored_tasks(
    store_factory: StoreFactory, submission: Submission, request: pytest.FixtureRequest
) -> None:
    h = await store_factory.open()
    waiting, done = await h.submit_many([submission, Submission(METHOD)])
    await h.end(
        next(each for each in await h.claim(await h.agent(lease_s=1e9), limit=2) if each.task_id == done)
    )
    before = [await h.record(waiting), await h.record(done)]
    request.getfixturevalue("change_defaults")
    assert Submission(METHOD).result_ttl_s == 7.0
    h = await store_factory.reopen(h, crash=True)
    after = [await h.record(waiting), await h.record(done)]
    assert [record.submission for record in after] == [record.submission for record in before]
    assert after[0].submission.retry == submission.retry
    assert after[0].submission.requirements == submission.requirements
    assert after[1].expires_at == before[1].expires_at


async def test_a_stored_task_lives_by_its_own_options(
    store_factory: StoreFactory, request: pytest.FixtureRequest
) -> None:
    """Retries, backoff, and how long its result is kept."""
    h = await store_factory.open()
    task_id = await h.submit(Submission(METHOD))
    request.getfixturevalue("change_defaults")
    h = await store_factory.reopen(h, crash=False)
    owner = await h.agent("b", lease_s=1e9)
    await h.pass_time(6.0)
    for attempt in range(1, 6):
        (claimed,) = await h.claim(owner)
        # The other default's limit would have passed.
        await h.pass_time(3.0)
        verdict = await h.end(claimed, code_pb2.UNAVAILABLE)
        assert verdict is (Verdict.RETRYING if attempt < 5 else Verdict.STORED)
        await h.pass_time(2.0)
    assert await h.state(task_id) is State.FAILED
    await h.pass_time(6 * 86400.0)
    assert await h.state(task_id) is State.FAILED
