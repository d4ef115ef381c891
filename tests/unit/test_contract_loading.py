"""Contracts of agents are vetted in a process of their own: what takes too long or ends a process is refused, and the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor_pb2 import FieldOptions

from tests.support import schema
from tests.support.hostile_contracts import HOSTILE, ruled
from tests.support.schema import METHOD, PACKAGE
from weft.coordinator.contracts import compatibility, contract_catalogue, contract_loading
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.contracts.contract_loading import FREE_BYTES, ContractLoading
from weft.rpc.contracts.payload_rules import RULES_TAG
from weft.rpc.errors import FailedPrecondition, InvalidArgument, Overloaded
from weft.v1 import errors_pb2

# Ends at once, as at a failed assertion in a library.
ABORTS = ("-c", "import os, sys; print('Check failed: no', file=sys.stderr); sys.stderr.flush(); os.abort()")
LISTENS = ("-c", "raise SystemExit('a process was started')")


def costly(expressions: int) -> bytes:
    rules = validate_pb2.FieldRules()
    rules.cel.add(id="x", message="m", expression=" && ".join(["true"] * 400))
    return ruled(rules, fields=expressions)


@functools.cache
def harmless() -> bytes:
    return ruled(validate_pb2.FieldRules(string=validate_pb2.StringRules(min_len=1)))


def count_calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[None]:
    """One item for each call of a function from now on."""
    calls: list[None] = []
    function = getattr(module, name)

    def counted(*args: object) -> object:
        calls.append(None)
        return function(*args)

    monkeypatch.setattr(module, name, counted)
    return calls


def loading_of(*known: Contract) -> ContractLoading:
    return ContractLoading({each.digest: each for each in known}.get)


async def test_a_contract_with_rules_is_taken():
    contract = await loading_of().load(harmless(), [METHOD])
    assert contract.methods[METHOD].request_rules is not None


async def test_a_refusal_of_the_other_process_is_that_of_this_one():
    bad = ruled(validate_pb2.FieldRules(string=validate_pb2.StringRules(pattern="(")))
    with pytest.raises(InvalidArgument) as here:
        Contract.load(bad, [METHOD])
    with pytest.raises(InvalidArgument) as there:
        await loading_of().load(bad, [METHOD])
    assert there.value.status() == here.value.status()
    assert there.value.violations[0].field == f"{PACKAGE}.Request.f1"


async def test_a_process_that_ends_refuses_the_contract_which_is_remembered(monkeypatch: pytest.MonkeyPatch):
    loading = loading_of()
    monkeypatch.setattr(contract_loading, "_COMMAND", ABORTS)
    with pytest.raises(InvalidArgument, match="ends a process") as raised:
        await loading.load(harmless(), [METHOD])
    assert raised.value.reason == errors_pb2.ERROR_REASON_CONTRACT_INVALID
    monkeypatch.setattr(contract_loading, "_COMMAND", LISTENS)
    digest = Contract.load(harmless(), [METHOD]).digest
    with pytest.raises(InvalidArgument, match="ends a process"):
        loading.check_refused(digest, [METHOD])
    # With other methods it may be harmless.
    loading.check_refused(digest, [])


async def test_what_has_begun_goes_on_without_its_caller(monkeypatch: pytest.MonkeyPatch):
    """An agent that gave up finds its contract loaded when it has dialled again: nothing is vetted twice."""
    loading, began = loading_of(), asyncio.Event()
    loop, vet = asyncio.get_running_loop(), contract_loading._verdict

    def slowly(*args: Any) -> Any:
        loop.call_soon_threadsafe(began.set)
        return vet(*args)

    monkeypatch.setattr(contract_loading, "_verdict", slowly)
    given_up = asyncio.create_task(loading.load(harmless(), [METHOD]))
    await began.wait()
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    began.clear()
    assert METHOD in (await loading.load(harmless(), [METHOD])).methods
    assert not began.is_set()


@pytest.mark.slow
async def test_one_long_step_is_refused_and_the_loop_goes_on():
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(InvalidArgument, match="nothing else can run in that time"):
        await loading_of().load(costly(100), [METHOD])
    turning.cancel()
    assert turns > 50


async def test_small_contracts_without_rules_start_no_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contract_loading, "_COMMAND", LISTENS)
    small = schema.file_set(schema.file())
    assert METHOD in (await loading_of().load(small, [METHOD])).methods
    large = schema.file_set(schema.file(messages={f"M{'x' * 300}{n}": "" for n in range(FREE_BYTES // 300)}))
    assert len(large) > FREE_BYTES
    with pytest.raises(InvalidArgument, match="ends a process"):
        await loading_of().load(large, [METHOD])


async def test_methods_that_are_hosted_later_are_vetted_too(monkeypatch: pytest.MonkeyPatch):
    contract = Contract.load(harmless(), [])
    monkeypatch.setattr(contract_loading, "_COMMAND", ABORTS)
    with pytest.raises(InvalidArgument, match="ends a process"):
        await loading_of().hosting(contract, [METHOD])
    # Its options can be asked for all the same.
    assert contract.policy_of(METHOD) is None
    assert not contract.knows([METHOD])


class Vetted:
    """Counts the checks in a process of their own; each lasts until it may end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.digests: list[str] = []
        self.began, self.may_end = threading.Event(), threading.Event()
        monkeypatch.setattr(contract_loading, "_verdict", self._verdict)

    def _verdict(self, files: bytes, methods: Sequence[str], digest: str) -> None:
        self.digests.append(digest)
        self.began.set()
        assert self.may_end.wait(30)


async def test_those_who_send_the_same_contract_together_have_it_vetted_once(monkeypatch: pytest.MonkeyPatch):
    vetted, loading = Vetted(monkeypatch), loading_of()
    vetted.may_end.set()
    await asyncio.gather(*(loading.load(harmless(), [METHOD]) for _ in range(8)))
    assert len(vetted.digests) == 1


async def test_a_known_contract_is_not_loaded_again(monkeypatch: pytest.MonkeyPatch):
    vetted, known = Vetted(monkeypatch), Contract.load(harmless(), [METHOD])
    assert (await loading_of(known).load(harmless(), [METHOD])).pool is known.pool
    assert not vetted.digests


async def test_the_next_one_waits_for_a_check_that_nobody_waits_for_any_more(monkeypatch: pytest.MonkeyPatch):
    vetted, loading = Vetted(monkeypatch), loading_of()
    first = asyncio.create_task(loading.load(harmless(), [METHOD]))
    await asyncio.to_thread(vetted.began.wait)
    first.cancel()
    second = asyncio.create_task(loading.load(costly(1), [METHOD]))
    # A small one need not wait.
    small = schema.file_set(schema.file())
    assert METHOD in (await loading.load(small, [METHOD])).methods
    assert first.cancelled()
    assert len(vetted.digests) == 1
    vetted.may_end.set()
    await second
    assert len(vetted.digests) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="there the process has no bound of its own")
async def test_a_busy_machine_is_not_the_contract_s_fault(monkeypatch: pytest.MonkeyPatch):
    loading = loading_of()
    monkeypatch.setattr(contract_loading, "_COMMAND", ("-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(contract_loading, "_TIMEOUT_S", 0.1)
    with pytest.raises(Overloaded, match="too busy"):
        await loading.load(harmless(), [METHOD])
    loading.check_refused(Contract.load(harmless(), [METHOD]).digest, [METHOD])


async def test_a_comparison_is_made_once(monkeypatch: pytest.MonkeyPatch):
    before, after = schema.contract({"Request": "int32 a = 1"}), schema.contract({"Request": "int64 a = 1"})
    contracts, loading = Contracts(), loading_of()
    contracts.admit(before)
    fields = count_calls(monkeypatch, compatibility, "_compare_fields")
    first = await loading.compare(contracts, after)
    made = len(fields)
    assert made
    # A caller may do with it what it likes.
    first.clear()
    assert await loading.compare(contracts, after)
    assert len(fields) == made
    other = schema.contract({"Request": "string a = 1"})
    for _ in range(2):
        with pytest.raises(FailedPrecondition):
            await loading.compare(contracts, other)
    monkeypatch.setattr(contract_loading, "MAX_COMPARED", 1)
    await loading.compare(contracts, schema.contract({"Request": "uint64 a = 1"}))
    made = len(fields)
    await loading.compare(contracts, after)
    assert len(fields) > made


@pytest.mark.parametrize("rules", [validate_pb2.FieldRules(required=True), None])
def test_a_weak_field_is_refused(rules: validate_pb2.FieldRules | None):
    """The libraries of rules and filters end the process at it: protobuf's C++ classes have no such fields."""
    with pytest.raises(InvalidArgument, match=rf"{PACKAGE}\.Request\.f1: the field has the option weak"):
        Contract.load(ruled(rules, weak=True), [METHOD])


def test_a_rule_whose_tag_is_written_at_length_is_none():
    """Whether a contract is vetted goes by the shortest form of the tag: so must its rules."""
    short, long = bytes(RULES_TAG), bytes([RULES_TAG[0], RULES_TAG[1] | 0x80, 0])
    file = schema.file()
    field = file.message_type[0].field.add(name="a", number=1, type=9, label=1)
    field.options.ParseFromString(
        FieldOptions.FromString(harmless_options().replace(short, long)).SerializeToString()
    )
    assert Contract.load(schema.file_set(file), [METHOD]).methods[METHOD].request_rules is None or (
        short in schema.file_set(file)
    )


def harmless_options() -> bytes:
    options = FieldOptions()
    options.Extensions[validate_pb2.field].string.min_len = 1
    return options.SerializeToString()


async def test_contracts_are_compared_before_they_are_checked():
    before, after = schema.contract({"Request": "int32 a = 1"}), schema.contract({"Request": "int64 a = 1"})
    contracts = Contracts()
    contracts.admit(before)
    compared = await loading_of().compare(contracts, after)
    assert (f"{PACKAGE}.Request", f"{PACKAGE}.Request") in compared[before.digest]
    assert contracts.check(after, compared=compared) == [METHOD]
    with pytest.raises(FailedPrecondition):
        await loading_of().compare(contracts, schema.contract({"Request": "string a = 1"}))


def test_superseded_contracts_are_kept_as_far_as_they_are_small(monkeypatch: pytest.MonkeyPatch):
    versions = [schema.contract({"Request": f"int32 a{number} = 1"}) for number in range(4)]
    monkeypatch.setattr(contract_catalogue, "MAX_SUPERSEDED_BYTES", len(versions[0].file_descriptor_set) * 2)
    contracts = Contracts()
    for each in versions:
        contracts.admit(each)
    assert [contracts.known(each.digest) for each in versions] == [False, True, True, True]
    monkeypatch.setattr(contract_catalogue, "MAX_IN_FORCE_BYTES", len(versions[0].file_descriptor_set) * 3)
    with pytest.raises(Overloaded, match="the limit"):
        contracts.admit(schema.contract({"Request": "int32 b = 1"}))


# Those that take seconds are in `tests/integration/test_attacks.py`.
QUICK = (
    "very_many_fields",
    "files_in_a_circle",
    "maps_by_hand",
    "messages_a_hundred_deep",
    "deep_expression",
    "weak_field",
    "names_of_weft",
    "names_that_occur_twice",
)


@pytest.mark.parametrize("name", QUICK)
def test_hostile_contracts_are_refused_or_loaded(name: str):
    with contextlib.suppress(InvalidArgument):
        Contract.load(HOSTILE[name](), [METHOD])
