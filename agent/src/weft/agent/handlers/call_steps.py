"""The steps of a running call, made when its handler first asks for one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from weft.agent.handlers.mesh_clients import own_clients
from weft.rpc import refusals
from weft.v1 import session_pb2, task_pb2

if TYPE_CHECKING:
    from weft.agent.steps.attempt_steps import AttemptSteps
    from weft.agent.steps.sync_steps import SyncSteps
    from weft.client import Mesh

# Handlers may ask in several threads.
_making = threading.Lock()


class CallWithSteps(Protocol):
    """A running call that may have steps."""

    agent_id: str
    durable: bool
    # Its handler runs in a thread.
    blocking: bool
    steps: AttemptSteps | None
    suspension: task_pb2.Suspension | None
    waits_for: str

    @property
    def assignment(self) -> session_pb2.Assignment:
        """Its assignment."""
        ...


def steps_of(call: CallWithSteps) -> AttemptSteps:
    """The steps of a call.

    Raises:
        FailedPrecondition: STEP_NOT_DURABLE: it is a direct call.
        LookupError: no agent runs its handler.
    """
    if call.steps is None:
        assignment = call.assignment
        if not call.durable:
            raise refusals.step_not_durable(assignment.method)
        clients = own_clients()
        if clients is None:
            raise LookupError("a handler has steps only where an agent runs it")
        from weft.agent.steps.attempt_steps import AttemptSteps

        def mesh() -> Mesh:
            return clients.mesh_of_steps(blocking=call.blocking)

        with _making:
            if call.steps is None:
                call.steps = AttemptSteps(call, mesh)
    return call.steps


def sync_steps_of(call: CallWithSteps) -> SyncSteps:
    """The same for a plain `def` handler.

    Raises:
        As `steps_of`.
        WrongThread: it is an `async def` one.
    """
    from weft.agent.steps.sync_steps import SyncSteps

    steps, clients = steps_of(call), own_clients()
    assert clients is not None
    return SyncSteps(steps, clients.loop_of_steps)
