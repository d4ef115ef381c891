"""The signals that end a process of weft in order: as an operator, a supervisor, or a terminal that is closed sends them."""

from __future__ import annotations

import signal
from collections.abc import Sequence


def stop_signals() -> Sequence[signal.Signals]:
    """SIGTERM, SIGINT and SIGHUP: each means "stop in order". Not SIGHUP where it is ignored, as `nohup` has it."""
    wanted = [signal.SIGTERM, signal.SIGINT]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        wanted.append(hangup)
    return wanted


def hurries(number: int) -> bool:
    """Whether this signal, after a first one, asks for the end without waiting.

    SIGHUP does not: a closed terminal sends it more than once, and service managers send it after their SIGTERM.
    """
    return number != getattr(signal, "SIGHUP", None)
