"""Loads contracts of agents: vetted first, where loading may harm, and then in a thread. The event loop does not wait for it.

    agent's files ─► small, no rules ───────────────────────────────► Contract.load, in a thread
                  └► vetting_process: limits of time and memory ─► taken ─┘
                                                             └► refused, or ended by what it loaded: CONTRACT_INVALID

Libraries that are not Python build the descriptors and compile the rules (`buf.validate`). They hold the interpreter meanwhile, and a
fault of theirs ends the process. So what strangers send is given to another process first.

Agents that start together send the same contract: it is vetted and compared once for all of them.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from weft.coordinator.contracts import vetting_process
from weft.coordinator.contracts.compatibility import Compared, check_compatible
from weft.coordinator.contracts.contract_catalogue import MAX_CONTRACT_BYTES, Contract, Contracts
from weft.rpc import errors, refusals
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.payload_rules import has_rules, load_library
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Contracts without rules that are no larger load in 0.1 s, whatever is in them.
FREE_BYTES = 128 * 1024
# Refused contracts that are remembered, and as many that were taken: their agents dial again.
MAX_REFUSED = 64
# Contracts whose comparisons with others are remembered.
MAX_COMPARED = 64
# Waited for the process. It ends itself after some seconds of CPU time, for which it may wait long on a busy machine.
_TIMEOUT_S = 60.0
_RETRY_S = 5.0
_COMMAND = ("-P", "-m", "weft.coordinator.contracts.vetting_process")
_LOGGED_CHARS = 300
# How long the thread may hold the interpreter while the event loop wants it.
_SWITCH_S = 0.0005

_T = TypeVar("_T")
_Key = tuple[str, frozenset[str]]


class ContractLoading:
    """Loads contracts, one at a time: their memory and CPU time add up to that of one. Those that load at once do not wait for others.

    Args:
        known: the contract with a digest, if it is loaded already.
    """

    def __init__(self, known: Callable[[str], Contract | None]) -> None:
        self._known = known
        self._vetting, self._loading = asyncio.Lock(), asyncio.Lock()
        # By digest and methods: why it was refused.
        self._refused: dict[_Key, status_pb2.Status] = {}
        # The same of those that were vetted and taken: they are on their way to the known ones.
        self._taken: dict[_Key, None] = {}
        # By digest.
        self._compared: OrderedDict[str, Compared] = OrderedDict()

    async def load(self, files: bytes, methods: Sequence[str]) -> Contract:
        """As `Contract.load`.

        Raises:
            InvalidArgument: as there, or loading takes too much time or memory, or ends a process (CONTRACT_INVALID).
            ResourceExhausted: this machine is too busy to vet it (OVERLOADED).
        """
        return await _alone(self._turn(files), lambda: self._load(files, methods))

    async def _load(self, files: bytes, methods: Sequence[str]) -> Contract:
        digest = descriptors.digest(files)
        if (known := self._known(digest)) is not None:
            return await self._hosting(known, methods)
        await self._vet(files, methods, digest)
        await load_library(files)
        return await asyncio.to_thread(_yielding, Contract.load, files, methods)

    async def hosting(self, contract: Contract, methods: Sequence[str]) -> Contract:
        """As `Contract.hosting`.

        Raises:
            InvalidArgument, ResourceExhausted: as `load`.
        """
        if contract.knows(methods):
            return contract.hosting(methods)
        turn = self._turn(contract.file_descriptor_set)
        return await _alone(turn, lambda: self._hosting(contract, methods))

    async def _hosting(self, contract: Contract, methods: Sequence[str]) -> Contract:
        if contract.knows(methods):
            return contract.hosting(methods)
        await self._vet(contract.file_descriptor_set, methods, contract.digest)
        return await asyncio.to_thread(_yielding, contract.hosting, methods)

    def is_quick(self, contract: Contract, methods: Sequence[str]) -> bool:
        """Whether `hosting` takes a moment only."""
        return contract.knows(methods) or not _is_costly(contract.file_descriptor_set)

    def _turn(self, files: bytes) -> asyncio.Lock:
        return self._vetting if _is_costly(files) else self._loading

    async def compare(self, contracts: Contracts, contract: Contract) -> Compared:
        """Compare a contract with those in force in a thread, so that `Contracts.check` has little left to do.

        Raises:
            FailedPrecondition: a method is incompatible with the one in force (CONTRACT_INCOMPATIBLE).
        """
        # Only what is compatible is remembered: a comparison that fails leaves pairs that it has not finished.
        compared = self._compared.pop(contract.digest, {})
        pairs = [
            (in_force, offered)
            for name, offered in contract.methods.items()
            if (in_force := contracts.find(name)) and in_force.contract != contract.digest
        ]

        def check() -> None:
            for in_force, offered in pairs:
                types = compared.setdefault(in_force.contract, set())
                check_compatible(in_force.descriptor, offered.descriptor, types)

        if pairs:
            await asyncio.to_thread(_yielding, check)
        self._compared[contract.digest] = compared
        if len(self._compared) > MAX_COMPARED:
            self._compared.popitem(last=False)
        return {digest: set(types) for digest, types in compared.items()}

    def check_refused(self, digest: str, methods: Sequence[str]) -> None:
        """
        Raises:
            InvalidArgument: this contract has been refused before (CONTRACT_INVALID).
        """
        if known := self._refused.get((digest, frozenset(methods))):
            raise errors.from_status(known)

    async def _vet(self, files: bytes, methods: Sequence[str], digest: str) -> None:
        if not _is_costly(files):
            return
        # Another session may have sent it meanwhile.
        self.check_refused(digest, methods)
        key = digest, frozenset(methods)
        if key in self._taken:
            return
        status = await asyncio.to_thread(_verdict, files, methods, digest)
        if status is None:
            _remember(self._taken, key, None)
        else:
            _remember(self._refused, key, status)
            raise errors.from_status(status)


def _remember(known: dict[_Key, _T], key: _Key, value: _T) -> None:
    known[key] = value
    if len(known) > MAX_REFUSED:
        del known[next(iter(known))]


async def _alone(turn: asyncio.Lock, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Do work when its turn comes. A caller that goes away leaves it to its end, since threads and processes cannot be stopped; then
    comes the next turn."""
    await turn.acquire()
    task = asyncio.get_running_loop().create_task(work())

    def ended(task: asyncio.Task[_T]) -> None:
        turn.release()
        if not task.cancelled():
            # Nobody may be there to hear of it.
            task.exception()

    task.add_done_callback(ended)
    return await asyncio.shield(task)


def _is_costly(files: bytes) -> bool:
    """Whether loading these files may take long or do harm. Too large ones are refused unread."""
    return len(files) <= MAX_CONTRACT_BYTES and (len(files) > FREE_BYTES or has_rules(files))


def _yielding(work: Callable[..., _T], *args: object) -> _T:
    """Do work in a thread that lets the event loop run ten times as often as Python's threads do."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(min(usual_s, _SWITCH_S))
    try:
        return work(*args)
    finally:
        sys.setswitchinterval(max(usual_s, sys.getswitchinterval()))


def _verdict(files: bytes, methods: Sequence[str], digest: str) -> status_pb2.Status | None:
    """Load a contract in another process; the error if it is refused.

    Raises:
        ResourceExhausted: the process has not ended in time, for which the contract is not to blame (OVERLOADED).
    """
    given = json.dumps(list(methods)).encode() + b"\n" + files
    try:
        ended = subprocess.run(  # noqa: S603 - this program
            [sys.executable, *_COMMAND], input=given, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        if vetting_process.BOUNDED:
            raise refusals.overloaded(
                f"this machine is too busy: the check of a contract got no {vetting_process.MAX_CPU_S:g} s of CPU time within"
                f" {_TIMEOUT_S:g} s",
                retry_after_s=_RETRY_S,
            ) from None
        code, told = None, b""
    else:
        if ended.returncode == 0:
            return None
        if ended.returncode == vetting_process.REFUSED and (status := _status(ended.stdout)):
            return status
        code, told = ended.returncode, ended.stderr
    lines = told.decode(errors="replace").strip().splitlines()
    log.warning(
        "contract.vetting_ended",
        digest=digest[:12],
        exit_code=code,
        error=next((each for each in lines if "Check failed" in each), lines[-1] if lines else "")[
            :_LOGGED_CHARS
        ],
        effect="the contract is refused",
    )
    return refusals.contract_invalid(
        "loading it ends a process, or takes too much time or memory there: its descriptors or rules of buf.validate are at"
        " fault; the coordinator's log says how the process ended"
    ).status()


def _status(serialized: bytes) -> status_pb2.Status | None:
    try:
        status = status_pb2.Status.FromString(serialized)
    except DecodeError:
        return None
    return status if status.code else None
