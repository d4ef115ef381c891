"""The signals that stop a process of weft in order. An operator, a supervisor or a closed terminal sends them."""

from __future__ import annotations

import signal
from collections.abc import Sequence


def stop_signals() -> Sequence[signal.Signals]:
    """SIGTERM, SIGINT and SIGHUP: each means "stop in order". Without SIGHUP where the process ignores it, as under `nohup`."""
    wanted = [signal.SIGTERM, signal.SIGINT]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        wanted.append(hangup)
    return wanted


def hurries(number: int) -> bool:
    """Whether this signal, as a second one, asks the process to end at once.

    SIGHUP does not: a closed terminal sends it more than once, and service managers send it after their SIGTERM.
    """
    return number != getattr(signal, "SIGHUP", None)
