"""A program of an agent that writes down, when it is imported, as what kind of process it was started: a line of JSON in the file STARTED_AS.
Then it stands still."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from weft.agent.direct import direct_contexts
from weft.rpc.process.pool_member import OWN


def facts() -> dict[str, Any]:
    """What a program may see of its process."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    umask = os.umask(0o22)
    os.umask(umask)
    standard = [str(Path(f"/proc/self/fd/{number}").readlink()) for number in range(3)]
    return {
        "id": os.environ["WEFT_AGENT_ID"],
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": [os.getsid(0), os.getpgrp()],
        "words": Path("/proc/self/cmdline").read_text().split("\0"),
        "name": Path("/proc/self/comm").read_text(),
        "environment": dict(os.environ),
        "shown": sorted(Path("/proc/self/environ").read_text().split("\0")),
        "of_c": {
            name: (getenv(name.encode()) or b"").decode()
            for name in (*OWN, "PATH", "GRPC_EXPERIMENTS", "GRPC_VERBOSITY")
        },
        "folder": str(Path.cwd()),
        "umask": umask,
        "limits": {
            name: resource.getrlimit(getattr(resource, name))
            for name in dir(resource)
            if name.startswith("RLIMIT_")
        },
        "nice": os.nice(0),
        "signals": {each.name: str(signal.getsignal(each)) for each in signal.Signals},
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "standard": standard,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "tasks": len(list(Path("/proc/self/task").iterdir())),
        "python": [
            sys.executable,
            sys.argv,
            sys.orig_argv,
            sys.path,
            list(sys.flags),
            sys.stdout.line_buffering,
        ],
        "main": str(getattr(sys.modules["__main__"].__spec__, "name", "")),
        "modules": sorted(name for name in sys.modules if name.startswith("weft.agent")),
        "by_chance": [
            random.random(),
            direct_contexts.generate_id(),
            multiprocessing.current_process().authkey.hex(),
        ],
        "site": getattr(sys, "told_by_site", ""),
    }


with Path(os.environ["STARTED_AS"]).open("a") as file:
    file.write(json.dumps(facts()) + "\n")
signal.pause()
