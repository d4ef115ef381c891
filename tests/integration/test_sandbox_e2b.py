"""The provider `e2b` of sandboxes: the suite of all providers, and what can go wrong; at a server that follows E2B's published API, by their SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.support.box_checks import SMALL, check_box_provider, ran
from tests.support.e2b_api import KEY, E2bDouble
from tests.support.sandboxed import need_bubblewrap
from weft.agent import Sandbox
from weft.services.sandboxes import e2b_box
from weft.services.sandboxes.e2b_box import E2bBoxProvider
from weft.services.sandboxes.sandbox_provider import BoxError, ProgramSpec

UNAVAILABLE, REFUSED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def cloud(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[E2bDouble]:
    need_bubblewrap()
    async with E2bDouble() as double:
        monkeypatch.setenv("E2B_API_URL", double.url)
        monkeypatch.setenv("E2B_SANDBOX_URL", double.url)
        monkeypatch.setenv("WEFT_SANDBOXES_E2B_KEY", KEY)
        yield double


async def refused(sandbox: Sandbox = SMALL) -> BoxError:
    async with asyncio.timeout(30):
        with pytest.raises(BoxError) as error:
            await E2bBoxProvider().create(sandbox)
    assert KEY not in error.value.message
    return error.value


@pytest.mark.slow
async def test_e2b(cloud: E2bDouble) -> None:
    await check_box_provider(E2bBoxProvider())
    assert not cloud.sandboxes


async def test_a_sandbox_of_e2b_works_and_says_so_if_it_is_gone(
    cloud: E2bDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with asyncio.timeout(60):
        box = await E2bBoxProvider().create(SMALL)
        (made,) = cloud.made
        assert (made["templateID"], made["allow_internet_access"]) == ("base", False)
        assert "b c" not in str(made)
        # Bytes that are no text.
        told = await ran(box, "sh", "-c", r"printf '\377\000'; echo $A >&2; exit 3")
        assert told == (3, b"\xff\x00", b"b c\n")
        program = await box.start(ProgramSpec(["sh", "-c", "echo up; exec sleep 1000"]))
        output = program.output()
        assert await anext(output) == (False, b"up\n")
        monkeypatch.setattr(e2b_box, "_RENEW_S", 0.0)
        (name,) = cloud.sandboxes
        await cloud.end(name)
        assert [each async for each in output] == []
        with pytest.raises(BoxError) as lost:
            await program.wait()
        assert lost.value.code == UNAVAILABLE
        await program.close()
        await box.terminate("it is gone")
        with pytest.raises(BoxError) as gone:
            await ran(box, "true")
        assert gone.value.code == REFUSED
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, REFUSED, "does not know the key"),
        (429, grpc.StatusCode.RESOURCE_EXHAUSTED, "no more for now"),
        (400, REFUSED, "refuses it"),
    ],
)
async def test_what_e2b_refuses_is_said(
    status: int, code: grpc.StatusCode, words: str, cloud: E2bDouble
) -> None:
    cloud.answers["/sandboxes"] = status
    error = await refused()
    assert (error.code, words in error.message) == (code, True), error.message


async def test_what_the_provider_e2b_cannot_do_is_said(
    cloud: E2bDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await refused(Sandbox(readable=("/opt",)))).code == grpc.StatusCode.UNIMPLEMENTED
    # A sandbox that does not take programs is removed.
    cloud.answers["/process.Process/Start"] = 500
    await refused()
    assert not cloud.sandboxes
    monkeypatch.setenv("E2B_API_URL", "http://127.0.0.1:1")
    error = await refused()
    assert (error.code, "cannot be reached" in error.message) == (UNAVAILABLE, True), error.message
    monkeypatch.setenv("WEFT_SANDBOXES_E2B_KEY", "")
    error = await refused()
    assert (error.code, "WEFT_SANDBOXES_E2B_KEY" in error.message) == (REFUSED, True)
