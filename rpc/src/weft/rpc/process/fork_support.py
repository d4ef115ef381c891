"""Switches gRPC's own fork support off, before gRPC is loaded and reads the variable for it.

By default grpcio has half of it: its C core restarts its threads in each forked child, while its Python part, which
would end the copied connections, stays out. A child that runs `preexec_fn` or that is on its way to exec then has
threads that meet closed files, and about one in a hundred ends by SIGABRT. Without the support a child has none of
gRPC's threads, which is what weft promises; see decision 0017.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
# As gRPC reads it; what is none of these means the default, which is on.
_OFF = ("0", "false", "f", "no", "n")

_enabled = False


def settle() -> None:
    """Switch the support off, here if gRPC is not loaded yet, and in child processes; the environment may say otherwise."""
    global _enabled  # noqa: PLW0603
    before = os.environ.get(VARIABLE, "")
    now = os.environ.setdefault(VARIABLE, "0")
    _enabled = (before if "grpc" in sys.modules else now).lower() not in _OFF


def is_enabled() -> bool:
    """Whether gRPC starts threads in children that this process forks."""
    return _enabled
