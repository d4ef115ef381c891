"""Switches gRPC's own fork support off, before gRPC is loaded and reads the variable for it.

By default grpcio has half of that support: its C core restarts its threads in each forked child, but its Python part, which
would end the copied connections, does not run. In a child before its exec (in `preexec_fn`, say) these threads then meet
closed files, and about one child in a hundred ends by SIGABRT. Without the support a child has no threads of gRPC, as weft
promises; see decision 0017.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
# The values that gRPC reads as "off". Any other value means the default: on.
_OFF = ("0", "false", "f", "no", "n")

# Set too late, if gRPC is loaded already. grpcio before 1.74 reads the variable only at its first use: there it may be in time
# after all, and what is told of the support is more than there is.
_enabled = False


def settle() -> None:
    """Switch the support off for child processes, and for this process if gRPC is not loaded yet. A variable that is set wins."""
    global _enabled  # noqa: PLW0603
    before = os.environ.get(VARIABLE, "")
    now = os.environ.setdefault(VARIABLE, "0")
    _enabled = (before if "grpc" in sys.modules else now).lower() not in _OFF


def is_enabled() -> bool:
    """Whether gRPC starts threads in children that this process forks."""
    return _enabled
