"""The health of the coordinator and of each hosted service, for grpc.health.v1."""

from __future__ import annotations

from collections.abc import Iterable

from grpc_health.v1 import health_pb2

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.store.base import Store
from weft.rpc import health
from weft.rpc.health import Status
from weft.rpc.identity.edge import Edge

OWN_SERVICES = frozenset(
    {
        "",
        "weft.v1.AuditService",
        "weft.v1.CertificateService",
        "weft.v1.CommandService",
        "weft.v1.CoordinatorService",
        "weft.v1.EventService",
        "weft.v1.FleetService",
        "weft.v1.GroupService",
        "weft.v1.HookService",
        "weft.v1.KeyedStateService",
        "weft.v1.LogService",
        "weft.v1.MethodService",
        "weft.v1.ProvisionService",
        "weft.v1.NamespaceService",
        "weft.v1.ScheduleService",
        "weft.v1.StateService",
        "weft.v1.StatsService",
        "weft.v1.StepService",
        "weft.v1.TokenService",
        "weft.v1.UsageService",
        "weft.v1.StickySessionService",
    }
)


class ServiceHealth(health.HealthService):
    """Answers from the register of agents."""

    def __init__(
        self, store: Store, register: AgentRegister, contracts: Contracts, edge: Edge | None = None
    ) -> None:
        super().__init__(edge)
        self._store = store
        self._register = register
        self._contracts = contracts
        self._stopping = False

    def stop(self) -> None:
        """NOT_SERVING from now on."""
        self._stopping = True
        self.changed()

    def services(self) -> Iterable[str]:
        hosted = {info.name.partition("/")[0] for info in self._contracts.methods()}
        return sorted(OWN_SERVICES | hosted)

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        methods = () if service in OWN_SERVICES else self._methods_of(service)
        if service not in OWN_SERVICES and not methods:
            return Status.SERVICE_UNKNOWN
        if self._stopping or not self._store.writable:
            return Status.NOT_SERVING
        if service in OWN_SERVICES or any(map(self._register.serves, methods)):
            return Status.SERVING
        return Status.NOT_SERVING

    def _methods_of(self, service: str) -> list[str]:
        prefix = f"{service}/"
        return [info.name for info in self._contracts.methods() if info.name.startswith(prefix)]
