"""Each target for a moment, all findings that were mended, and whether each parser has a target."""

from __future__ import annotations

import ast
import functools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.table import names, table

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = Path(__file__).parent / "findings"
SOURCES = (
    "coordinator/src",
    "agent/src",
    "client/src",
    "rpc/src",
    "cli/src",
    "testing/src",
    "services/src",
    "compat/src",
)
# The calls by which bytes or text of others become values.
DECODES = {
    "FromString",
    "MergeFromString",
    "ParseFromString",
    "ParseDict",
    "loads",
    "unpackb",
    "b64decode",
    "fromisoformat",
    "load_pem_x509_certificate",
    "load_pem_x509_csr",
    "load_pem_private_key",
    "decompressobj",
    "urlsplit",
    "decode_complete",
    "dotenv_values",
    "fromtimestamp",
}
# What is decoded is a row of a table, which a coordinator of this mesh has written, or a copy of a message.
_OWN = re.compile(r"^(row|each|member|record)\.(value|view|description)$|SerializeToString\(\)$")
# Modules that decode what needs no target, and why.
_REASONS = {
    "a message that this mesh's coordinators or agents wrote; one that does not parse is answered INTERNAL, or skipped": (
        "weft/coordinator/calls/call_tasks",
        "weft/coordinator/calls/durable_proxy",
        "weft/coordinator/calls/submit_spans",
        "weft/coordinator/codec",
        "weft/coordinator/dispatch/wait_spans",
        "weft/coordinator/fleet/fleet_view",
        "weft/coordinator/fleet/resource_view",
        "weft/coordinator/identity/authority_table",
        "weft/coordinator/sessions/assignments",
        "weft/coordinator/store/task_figures",
        "weft/coordinator/store/embedded/recovery",
        "weft/coordinator/namespaces/store_events",
        "weft/coordinator/events/consumer",
        "weft/coordinator/events/delivery_pass",
        "weft/coordinator/events/event_codec",
        "weft/coordinator/lifecycle/task_ends",
        "weft/coordinator/pools/pool_part",
        "weft/coordinator/hooks/hook_counts",
        "weft/coordinator/sticky/sticky_codec",
        "weft/coordinator/told_options",
        "weft/coordinator/usage/usage_service",
        "weft/coordinator/hooks/hook_delivery",
        "weft/coordinator/hooks/outgoing_hooks",
        "weft/coordinator/namespaces/namespace_hooks",
        "weft/services/planner/mesh_contracts",
    ),
    "its parser is another target's": (
        "weft/coordinator/access/key_fetch",
        "weft/coordinator/audit/audit_table",
        "weft/coordinator/state/state_writer",
        "weft/coordinator/store/redis/redis_fleet",
        "weft/agent/hosting/payload_checks",
        "weft/services/planner/step_requests",
    ),
    "own, written by this program": (
        "weft/coordinator/alerts/alert_book",
        "weft/coordinator/contracts/contract_loading",
        "weft/coordinator/contracts/vetting_process",
        "weft/coordinator/audit/call_facts",
        "weft/coordinator/doors/xds/resources",
        "weft/cli/process/fork_server",
        "weft/coordinator/pools/processes/fork_server_link",
        "weft/coordinator/pools/processes/keeper_link",
        "weft/coordinator/pools/processes/keeper_process",
        "weft/coordinator/handover/handover_wire",
        "weft/coordinator/usage/usage_times",
        "weft/coordinator/identity/own_authority",
        "weft/agent/direct/direct_server",
        "weft/agent/handlers/isolate",
        "weft/agent/handlers/isolated_process",
        "weft/agent/sandboxing/sandbox_process",
        "weft/services/sandboxes/box_init",
        "weft/services/sandboxes/box_once",
        "weft/agent/handlers/handler_context",
        "weft/agent/hosting/hosted_policies",
        "weft/agent/handlers/current_call",
        "weft/agent/steps/sync_steps",
        "weft/rpc/contracts/health_contract",
        "weft/rpc/security/tls_files",
        "weft/rpc/telemetry/event_export",
        "weft/cli/graphs/run_view",
        "weft/services/planner/graph_run",
        "weft/services/planner/planning",
        "weft/services/planner/replanning",
        "weft/services/planner/tool_list",
    ),
    "an error that an API answers, any of whose faults is caught at the call": (
        "weft/services/sandboxes/kubernetes_cluster",
    ),
    "one small message, whose DecodeError is caught at the call": (
        "weft/agent/direct/direct_contexts",
        "weft/agent/direct/orca_service",
        "weft/agent/sidecar/app_health",
        "weft/cli/commands/health_command",
        "weft/compat/celery/mesh_backend",
    ),
    "a checked option of the command, or a message that a program of the caller reads as its own type": (
        "weft/cli/commands/schedules_command",
        "weft/cli/events/event_options",
        "weft/cli/commands/signal_command",
        "weft/cli/events/events_command",
        "weft/cli/keyed_states/keyed_state_command",
        "weft/cli/keyed_states/keyed_state_view",
        "weft/cli/commands/worker_commands",
        "weft/agent/handlers/keyed_state",
        "weft/client/event_snapshot",
        "weft/client/keyed_states",
        "weft/client/selected_agents",
    ),
    "the demo, the benchmark and the conformance driver, with answers of what they started": (
        "weft/cli/bench/direct_subjects",
        "weft/cli/bench/event_bench",
        "weft/cli/bench/ruled_echo",
        "weft/cli/conformance/agent_under_test",
        "weft/cli/conformance/attempt_checks",
        "weft/cli/conformance/keeping_checks",
        "weft/cli/conformance/opening_checks",
        "weft/cli/demo/demo_report",
        "weft/cli/demo/expected_results",
    ),
}
OTHERS = {module: why for why, modules in _REASONS.items() for module in modules}


@functools.cache
def targets() -> dict[str, Any]:
    return table()


def try_one(target: Any, data: bytes) -> None:
    from tests.fuzz.target import MAX_S

    began_s = time.thread_time()
    target(data)
    assert time.thread_time() - began_s < MAX_S


@pytest.mark.parametrize("name", names())
def test_a_parser_takes_or_refuses_anything(name: str) -> None:
    # Imported here: each worker of the suite collects this file.
    from tests.fuzz.inputs import inputs

    target = targets()[name]
    for seed in target.seeds():
        try_one(target, seed)

    @settings(
        max_examples=target.examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(inputs(target))
    def some(data: bytes) -> None:
        try_one(target, data)

    some()


@pytest.mark.parametrize(
    "path", sorted(FINDINGS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_findings_stay_mended(path: Path) -> None:
    try_one(targets()[path.parent.name], path.read_bytes())


def test_what_decodes_has_a_target() -> None:
    """A new parser shows by the calls that it makes: it needs a target, or a reason why not."""
    covered = {module for target in targets().values() for module in target.covers}
    files = {
        str(path.relative_to(ROOT / source).with_suffix("")): path
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
    }
    assert not covered - files.keys()
    decoding = {name for name, path in files.items() if DECODES & set(_called(path.read_text()))}
    assert not decoding - covered - OTHERS.keys()


def _called(source: str) -> list[str]:
    """The names of the methods that a module calls."""
    # Quick: most modules have none of them.
    if not re.search("|".join(rf"\b{name}\(" for name in sorted(DECODES)), source):
        return []
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    return [
        call.func.attr
        for call in calls
        if isinstance(call.func, ast.Attribute) and not _OWN.search(ast.unparse(call.args[0]))
    ]
