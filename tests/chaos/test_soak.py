"""The long versions of what tests/integration shows briefly."""

from __future__ import annotations

import pytest

from tests.integration.test_recovery_agents import burn_and_keep_the_session
from tests.integration.test_recovery_coordinator import results_wait_for_the_coordinator
from tests.support import tasks
from tests.support.mesh import MeshHarness

pytestmark = pytest.mark.slow


async def test_burning_cpu_for_twenty_seconds_does_not_cost_the_session(mesh: MeshHarness) -> None:
    await burn_and_keep_the_session(mesh, burn_s=20.0)


async def test_results_wait_for_a_coordinator_that_is_away_for_ten_seconds(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", slots=16, program=tasks.PLAIN)
    await results_wait_for_the_coordinator(mesh, mesh.ledger(), away_s=10.0)
