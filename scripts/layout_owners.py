"""Which rooms may import which packages of others: `scripts/layout.py` refuses the rest."""

from __future__ import annotations

# Packages of others -> the rooms that may import them: folders or modules, without the suffix.
OWNERS: dict[str, tuple[str, ...]] = {
    "aiohttp": ("weft/coordinator/hooks",),
    "cel_expr_python": ("weft/coordinator/events/event_filter",),
    "cloudevents": ("weft/client/cloud_events", "weft/client/cloud_event_format", "weft/cli/events"),
    "cronsim": ("weft/coordinator/schedules",),
    "cryptography": ("weft/rpc/security/certificates", "weft/rpc/payloads/sealing"),
    "dotenv": ("weft/rpc/process/settings_files",),
    "fsspec": ("weft/rpc/payloads/payload_store",),
    "buf": ("weft/services",),
    "google": ("weft",),
    "grpc": ("weft",),
    "grpc_channelz": ("weft/rpc/operators", "weft/cli/doctor"),
    "grpc_health": ("weft/rpc", "weft/agent", "weft/coordinator/namespaces", "weft/coordinator/fleet"),
    "grpc_reflection": ("weft/rpc/contracts",),
    "grpc_status": ("weft/cli/conformance",),
    "jwt": ("weft/coordinator/access/jwt_signature",),
    "msgpack": ("weft/coordinator/store/redis",),
    "opentelemetry": ("weft/rpc/telemetry",),
    "protovalidate": ("weft/rpc/contracts/payload_rules",),
    "psutil": (
        "weft/agent/session/host_details",
        "weft/agent/session/host_figures",
        "weft/agent/session/host_metering",
        "weft/cli/bench",
        "weft/rpc/process/host_readings",
        "weft/rpc/process/process_readings",
        "weft/services/hardware",
    ),
    "pynvml": ("weft/rpc/process/host_readings",),
    "pydantic": (
        "weft/rpc/process/file_settings",
        "weft/coordinator/settings",
        "weft/coordinator/caller_limit_settings",
        "weft/coordinator/door_settings",
        "weft/coordinator/hook_settings",
        "weft/coordinator/pool_settings",
        "weft/coordinator/limit_settings",
        "weft/agent",
        "weft/cli",
        "weft/services",
    ),
    "pydantic_settings": (
        "weft/rpc/process/file_settings",
        "weft/coordinator/settings",
        *(
            "weft/coordinator/door_settings",
            "weft/coordinator/hook_settings",
            "weft/coordinator/pool_settings",
        ),
        "weft/agent",
        "weft/cli/process",
        "weft/services",
    ),
    **dict.fromkeys(("pytest", "pytest_asyncio"), ("weft_pytest",)),
    **dict.fromkeys(
        ("aiodocker", "kubernetes_asyncio"), ("weft/coordinator/pools/outside", "weft/services/hardware")
    ),
    "redis": ("weft/coordinator/store/redis",),
    "rich": ("weft/cli",),
    "sqlite3": ("weft/coordinator/store/embedded",),
    "structlog": ("weft/rpc/process", "weft/agent/handlers/isolated_process"),
    "typer": ("weft/cli",),
    "zstandard": ("weft/rpc/payloads/compression",),
    "uvloop": ("weft/coordinator/coordinator_process", "weft/agent/process/event_loop", "weft/cli"),
    "watchfiles": ("weft/agent/program/reload",),
    # The example that `weft demo` runs.
    "corpus": ("weft/cli/demo",),
    "examples": ("weft/cli/demo",),
}
