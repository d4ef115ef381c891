"""One member's process under the keeper: started so that it cannot outlive the keeper, and stopped with all that it has started.

Linux only. Modules of the keeper import little but the standard library: a keeper is to be small, and to start at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from weft.rpc.process.pool_member import MEMBER, MESH

# <sys/prctl.h>
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_TAIL_BYTES, _TAIL_LINES = 4096, 3
# A log that is larger is moved aside, and begun again.
MAX_LOG_BYTES = 16 * 1024 * 1024

# What members have in common that the same fork server may start.
Kind = tuple[object, ...]


def adopt_orphans() -> None:
    """Become the parent of what members leave behind."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start_child(
    words: Sequence[str], env: Mapping[str, str], folder: str, output: IO[Any], *files: int
) -> int:
    """Start a process in a session of its own, which ends with this one. Who calls waits for its end; returns its pid.

    Args:
        files: that it has besides.

    Raises:
        OSError: it cannot be started.
    """
    keeper = os.getpid()

    def die_with_keeper() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os.kill(os.getpid(), signal.SIGKILL)

    process = subprocess.Popen(  # noqa: S603
        words,
        env=dict(env),
        cwd=folder or None,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=files,
        # The keeper has one thread.
        preexec_fn=die_with_keeper,  # noqa: PLW1509
    )
    # The keeper waits for its children itself.
    process.returncode = 0
    return process.pid


class KeptProcess:
    """A member.

    Attributes:
        pid: 0: it is being started.
        kind: of members that the same fork server may start. Empty: it is of none.
        kill_at: when it is killed, by the monotonic clock. None: it is not being stopped.
        ending: how it ended. Empty: it runs.
        frozen: it stands still.
    """

    def __init__(self, member_id: str, log: Path) -> None:
        self.id = member_id
        self.kill_at: float | None = None
        self.ending = ""
        self.frozen = False
        self.pid = 0
        self.kind: Kind = ()
        self._log = log

    def open_log(self) -> IO[bytes]:
        """The file of its output."""
        return self._log.open("ab")

    @property
    def running(self) -> bool:
        return not self.ending

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its session's first group; SIGTERM to the process alone."""
        if not self.pid:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number is signal.SIGTERM:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)

    def ended(self, status: int) -> None:
        """Note how it ended."""
        code = os.waitstatus_to_exitcode(status)
        how = f"ended with status {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        words = self._last_words()
        self.ending = f"{how}: {words}" if words and code else how

    def _last_words(self) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
            return " / ".join(line.strip() for line in lines[-_TAIL_LINES:] if line.strip())
        return ""

    def bound_log(self) -> None:
        """Keep its log small: the process goes on in the same file, which it has open to append."""
        with contextlib.suppress(OSError):
            if self._log.stat().st_size > MAX_LOG_BYTES:
                self._log.with_suffix(".log.1").write_bytes(self._log.read_bytes())
                os.truncate(self._log, 0)

    def drop_log(self) -> None:
        for path in (self._log, self._log.with_suffix(".log.1")):
            path.unlink(missing_ok=True)


def marked(mesh: str) -> list[tuple[int, str, int]]:
    """Processes that members of a mesh have started, or are: pid, member id and parent's pid."""
    found: list[tuple[int, str, int]] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            raw = Path(entry.path, "environ").read_bytes()
            env = dict(part.split(b"=", 1) for part in raw.split(b"\0") if b"=" in part)
            if env.get(MESH.encode()) == mesh.encode() and (member := env.get(MEMBER.encode())):
                stat = Path(entry.path, "stat").read_text()
                parent = int(stat.rpartition(")")[2].split()[1])
                found.append((int(entry.name), member.decode(errors="replace"), parent))
    return found
