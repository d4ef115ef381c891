"""A coordinator's figures: those of its process and of its meshes, for the edges that export them.

Two things need a look from time to time, and get it only while something exports: queues (`MeshFigures.look`), and the lag of the event loop.
"""

from __future__ import annotations

import asyncio
import time

from weft.coordinator.namespaces.mesh_figures import MeshFigures
from weft.rpc.errors import WeftError
from weft.rpc.identity.http_door import HttpDoor
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger
from weft.rpc.security.tls import Tls
from weft.rpc.telemetry import coordinator_metrics as metrics
from weft.rpc.telemetry.figures import Figures
from weft.rpc.telemetry.metrics_endpoint import MetricsEndpoint
from weft.rpc.telemetry.process_metering import ask_process
from weft.rpc.telemetry.providers import exporter_names

log = get_logger(__name__)

# Between two looks at the queues.
QUEUES_S = 5.0
# Between two looks at the event loop's lag.
LAG_S = 0.5


class CoordinatorFigures:
    """The figures of one coordinator.

    Args:
        address: where Prometheus scrapes them; empty: nowhere.
        max_methods: methods with figures of their own.
        tls: the coordinator's certificates.
    """

    def __init__(self, address: str, max_methods: int, tls: Tls | None = None) -> None:
        self.figures = Figures(max_methods)
        self._endpoint = MetricsEndpoint(self.figures, address, tls) if address else None
        self._lag = self.figures.histogram(metrics.LAG)
        ask_process(self.figures)
        self._meshes: list[MeshFigures] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, mesh: MeshFigures, namespace: str = "") -> None:
        """Export those of a mesh, too, with the label of its namespace. Empty: without one."""
        self._meshes.append(mesh)
        self.figures.include(mesh.figures, {"namespace": namespace} if namespace else {})

    def drop(self, mesh: MeshFigures) -> None:
        """Do not export those of a mesh any more. Repeating it is harmless."""
        self._meshes = [each for each in self._meshes if each is not mesh]
        self.figures.exclude(mesh.figures)

    # -- exports ----------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where they are scraped; empty: nowhere."""
        return "" if self._endpoint is None else self._endpoint.address

    def admit(self, door: HttpDoor) -> None:
        """Let those alone scrape whom the door lets in."""
        if self._endpoint is not None:
            self._endpoint.admit = door.refusal

    def bind(self) -> None:
        """Open the endpoint, if there is one.

        Raises:
            OperatorsBindError: its address cannot be used.
        """
        if self._endpoint is not None:
            self._endpoint.start()

    async def start(self) -> None:
        """Look at the queues and at the event loop from now on, if something exports."""
        if self._endpoint is None and not exporter_names("metrics"):
            return
        await self.look()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._look_on(), name="queue-figures"),
            loop.create_task(self._measure_lag(), name="event-loop-lag"),
        ]

    async def stop(self) -> None:
        await end_tasks(*self._tasks)
        if self._endpoint is not None:
            self._endpoint.close()

    async def look(self) -> None:
        """Look at the queues."""
        for mesh in list(self._meshes):
            await mesh.look()

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(QUEUES_S)
            try:
                await self.look()
            except WeftError as error:
                log.debug("queues.not_read", error=error.message)
            except Exception:
                log.exception("queues.not_read")

    async def _measure_lag(self) -> None:
        while True:
            due_s = time.monotonic() + LAG_S
            await asyncio.sleep(LAG_S)
            self._lag.observe(max(0.0, time.monotonic() - due_s))
