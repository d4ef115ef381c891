"""Which RPCs the audit records: decided for each, so that a new one needs a decision."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import weft.v1
from tests.support.token_door import RPCS
from weft.coordinator.audit.audit_rules import AuditRule, audit_rule
from weft.coordinator.fleet.service_health import OWN_SERVICES

# A new RPC: is it recorded as it should be? If not, see `weft.v1.Access`. Then it has its line here.
DECIDED = {
    AuditRule.EACH: """
        CertificateService/IssueCertificate
        CertificateService/RotateAuthority
        CommandService/CommandAgents
        CoordinatorService/CancelTask
        CoordinatorService/RetryTask
        CoordinatorService/UpdateAgent
        CoordinatorService/UpdateQueue
        EventService/CreateSubscription
        EventService/DeleteSubscription
        EventService/UpdateSubscription
        FleetService/CreatePool
        FleetService/DeletePool
        FleetService/LaunchAgents
        FleetService/PausePool
        FleetService/RestartPool
        FleetService/ResumePool
        FleetService/RollBackPool
        FleetService/ScalePool
        FleetService/StopPool
        FleetService/UpdatePool
        GroupService/CancelGroup
        GroupService/CloseGroup
        GroupService/CreateGroup
        GroupService/DeleteGroup
        HookService/CreateHook
        HookService/DeleteHook
        HookService/RotateHookSecret
        HookService/TestHook
        HookService/UpdateHook
        KeyedStateService/DeleteKeyedState
        KeyedStateService/SetKeyedState
        MethodService/UpdateMethod
        NamespaceService/CreateNamespace
        NamespaceService/DeleteNamespace
        ProvisionService/ProvisionAgent
        ScheduleService/CreateSchedule
        ScheduleService/DeleteSchedule
        ScheduleService/PauseSchedule
        ScheduleService/ResumeSchedule
        ScheduleService/RunSchedule
        ScheduleService/UpdateSchedule
        StateService/ExportState
        StateService/ImportState
        StickySessionService/EndStickySession
        TokenService/CreateToken
        TokenService/GetToken
        TokenService/ListTokens
        TokenService/RevokeToken
        TokenService/RotateToken
        StepService/SendSignal
        UsageService/DeleteBudget
        UsageService/SetBudget
        """,
    # Of Connect, each beginning of a session is recorded, and of SubmitTasks, each task is counted.
    AuditRule.COUNTED: """
        CommandService/TellAgents
        CoordinatorService/Connect
        CoordinatorService/Report
        CoordinatorService/SubmitTask
        CoordinatorService/SubmitTasks
        EventService/ConsumeEvents
        EventService/PublishEvents
        KeyedStateService/SaveKeyedState
        StickySessionService/FindStickySession
        StepService/RecordStep
        TokenService/CheckToken
        TokenService/CreateTickets
        """,
    AuditRule.NOT: """
        AuditService/ListAuditEvents
        AuditService/WatchAuditEvents
        CertificateService/GetAuthority
        CoordinatorService/GetAgent
        CoordinatorService/GetTask
        CoordinatorService/ListAgents
        CoordinatorService/ListQueues
        CoordinatorService/ListResources
        CoordinatorService/ListTasks
        CoordinatorService/WaitTasks
        CoordinatorService/WatchAgents
        CoordinatorService/WatchTask
        EventService/GetSubscription
        EventService/ListEvents
        EventService/ListSubscriptions
        EventService/ListTopics
        EventService/SubscribeEvents
        FleetService/GetPool
        FleetService/ListPoolProviders
        FleetService/ListPools
        GroupService/GetGroup
        GroupService/ListGroups
        GroupService/WaitGroup
        HookService/GetHook
        HookService/ListHooks
        KeyedStateService/GetKeyedState
        KeyedStateService/ListKeyedStates
        LogService/GetTaskLogs
        MethodService/GetMethod
        MethodService/ListMethods
        NamespaceService/ListNamespaces
        ProvisionService/ListProvisionKinds
        ScheduleService/GetSchedule
        ScheduleService/ListSchedules
        StatsService/GetStats
        StickySessionService/ListStickySessions
        StepService/ListSteps
        UsageService/GetUsage
        UsageService/ListBudgets
        """,
}


def test_each_service_of_the_contract_is_known_to_the_coordinator() -> None:
    """Else its RPCs are in no table: neither in this one, nor in the matrix of callers, reflection and health."""
    served = {
        service.full_name
        for module in pkgutil.iter_modules(weft.v1.__path__, "weft.v1.")
        if module.name.endswith("_pb2")
        for service in import_module(module.name).DESCRIPTOR.services_by_name.values()
    }
    # That one is served by agents.
    assert served - {"weft.v1.AgentService"} == OWN_SERVICES - {""}


def test_each_rpc_is_decided_on() -> None:
    found = {path.removeprefix("/weft.v1."): audit_rule(path[1:]) for path in RPCS}
    assert found == {rpc: how for how, rpcs in DECIDED.items() for rpc in rpcs.split()}


def test_what_is_not_wefts_own_has_no_rule() -> None:
    assert audit_rule("grpc.health.v1.Health/Check") is AuditRule.NOT
    assert audit_rule("acme.v1.S/M") is AuditRule.NOT
    assert audit_rule("") is AuditRule.NOT
