"""An agent that runs in a thread of the test, as `agent.run()` runs it in a process; the test stops it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from weft.agent import Agent

STOP_S = 15.0


class RunningAgent:
    """`agent.run()` in a thread. `error` is what it raised."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test-agent", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.agent.run()
        except BaseException as error:
            self.error = error
            # Shown when the test fails.
            print(f"the agent has ended: {error!r}", file=sys.stderr)

    def wait(self, timeout_s: float = STOP_S) -> None:
        """Wait until it has ended by itself."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the agent did not end"

    def stop(self) -> None:
        """Without waiting for handlers."""
        self.agent.stop()
        self.agent.stop()
        self.wait()


@contextmanager
def running(agent: Agent) -> Iterator[RunningAgent]:
    """Run an agent for the length of a block."""
    run = RunningAgent(agent)
    try:
        yield run
    finally:
        run.stop()
