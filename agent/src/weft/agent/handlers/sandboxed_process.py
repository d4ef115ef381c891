"""The first code in the sandbox of an isolated handler: takes over what the agent has sent, as multiprocessing does for other processes."""

from __future__ import annotations

import multiprocessing.spawn
import os
from multiprocessing.connection import Connection
from typing import Any

from weft.agent.handlers import isolated_process


def main(number: int, errors: int) -> None:
    """Serve the agent on an open file.

    Args:
        number: this end of the pipe.
        errors: the agent's stderr.
    """
    os.dup2(errors, 2)
    os.close(errors)
    pipe: Connection[Any, Any] = Connection(number)
    prepared, arguments = pipe.recv()
    multiprocessing.spawn.prepare(prepared)
    isolated_process.main(pipe, *arguments)
