"""An agent at another coordinator: shown by that coordinator's view, with the desired state of the store."""

from __future__ import annotations

from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2, fleet_pb2


async def test_a_wish_is_shown_at_once_wherever_it_is_asked_for(
    pair: tuple[MeshHarness, MeshHarness],
) -> None:
    mesh, other = pair
    await mesh.agent("a1")
    await other.wait_agent("a1")
    for wish in (fleet_pb2.DESIRED_STATE_PAUSED, fleet_pb2.DESIRED_STATE_ACTIVE):
        request = coordinator_pb2.UpdateAgentRequest(agent_id="a1", desired_state=wish)
        answer = await other.api().UpdateAgent(request, timeout=5)
        assert answer.agent.desired_state == wish
