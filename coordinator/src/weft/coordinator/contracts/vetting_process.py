"""The process in which a contract is loaded for the first time: what takes long there, or ends the process, harms nothing else.

stdin    the names of the hosted methods, as a line of JSON; then the FileDescriptorSet
exit 0   the contract can be loaded
exit 3   it is refused: stdout has the google.rpc.Status
else     loading ended the process
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from weft.coordinator.contracts.contract_catalogue import Contract
from weft.rpc import refusals
from weft.rpc.contracts.payload_rules import LIBRARY, has_rules
from weft.rpc.errors import WeftError

REFUSED = 3
# What loading a contract may take: CPU time in all; CPU time of one step that no other thread can interrupt; memory.
MAX_CPU_S = 2.0
MAX_STEP_S = 0.1
MAX_MEMORY_BYTES = 256 * 1024 * 1024
# The operating system ends the process at these, in the middle of a step.
_HARD_CPU_S = 4
_HARD_MEMORY_BYTES = 512 * 1024 * 1024
_TICK_S = 0.005
# Whether the operating system does so. Windows does not: there the process is ended by the coordinator.
BOUNDED = importlib.util.find_spec("resource") is not None
# Others go first. Not by much: honest agents wait for the verdict on a busy machine.
_NICE = 5


class _Measured(NamedTuple):
    error: BaseException | None
    cpu_s: float
    step_s: float


def main() -> int:
    """Load the contract on stdin; the exit code."""
    _set_limits()
    methods = json.loads(sys.stdin.buffer.readline())
    files = sys.stdin.buffer.read()
    if has_rules(files):
        # The coordinator has it already: its import does not count.
        importlib.import_module(LIBRARY)
    before_bytes = _memory_bytes()
    measured = _measure(lambda: Contract.load(files, methods))
    error = measured.error or _excess(measured, _memory_bytes() - before_bytes)
    if error is None:
        return 0
    if not isinstance(error, WeftError):
        raise error
    sys.stdout.buffer.write(error.status().SerializeToString())
    sys.stdout.buffer.flush()
    return REFUSED


def _excess(measured: _Measured, memory_bytes: int) -> WeftError | None:
    """The refusal of a contract that takes too much; None: it does not."""
    if measured.step_s > MAX_STEP_S:
        return refusals.contract_invalid(
            f"one of its files or message types takes {measured.step_s:.2g} s to load, and nothing else can run in that time;"
            f" the limit is {MAX_STEP_S:g} s: split it, or write fewer or simpler rules (patterns, CEL expressions)"
        )
    if measured.cpu_s > MAX_CPU_S:
        return refusals.contract_invalid(
            f"it takes {measured.cpu_s:.2g} s to load; the limit is {MAX_CPU_S:g} s: leave out files that its methods do not"
            " need, or write fewer rules"
        )
    if memory_bytes > MAX_MEMORY_BYTES:
        return refusals.contract_invalid(
            f"it takes {memory_bytes // 1_000_000} MB of memory; the limit is {MAX_MEMORY_BYTES // 1_000_000} MB: leave out"
            " files that its methods do not need, or write fewer rules"
        )
    return None


def _measure(work: Callable[[], object]) -> _Measured:
    """Do the work in a thread, as the coordinator does. This thread is woken each few milliseconds, except during a step that
    holds the interpreter: the process' CPU time between two wake-ups is that of the longest step."""
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # a panic of the library is no Exception
            errors.append(error)
        finally:
            done.set()

    began_s = last_s = time.process_time()
    step_s = 0.0
    threading.Thread(target=run, daemon=True).start()
    while not done.wait(_TICK_S):
        now_s = time.process_time()
        step_s, last_s = max(step_s, now_s - last_s), now_s
    end_s = time.process_time()
    return _Measured(errors[0] if errors else None, end_s - began_s, max(step_s, end_s - last_s))


def _set_limits() -> None:
    """Bound this process, and let others go first."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICE)
    # Where memory is short, Linux ends this process, and not the coordinator.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if not BOUNDED:
        return
    import resource

    limits = {"RLIMIT_CPU": _HARD_CPU_S, "RLIMIT_DATA": _HARD_MEMORY_BYTES, "RLIMIT_CORE": 0}
    for name, most in limits.items():
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))


def _memory_bytes() -> int:
    """The most memory that this process has had so far; 0: not known."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS has bytes, Linux KiB.
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Nothing to clean up: the end of a large pool takes longer than its beginning.
    os._exit(code)
