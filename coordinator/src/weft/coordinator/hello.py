"""An agent's Hello: its bounds, and what of it is kept."""

from __future__ import annotations

import re

from weft.rpc import errors
from weft.v1 import fleet_pb2, session_pb2

_AGENT_ID = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
MAX_METHODS = 4096
MAX_SLOTS = 100_000
MAX_LABELS = 64
MAX_HELD = 200_000


def describe(hello: session_pb2.Hello) -> fleet_pb2.Agent:
    """What is durable of an agent, from its Hello."""
    return fleet_pb2.Agent(
        id=hello.agent_id,
        instance_id=hello.instance_id,
        labels=hello.labels,
        resources=hello.resources,
        methods=hello.methods,
        contract_hash=hello.contract_hash,
        slots=hello.slots,
        advertised_address=hello.advertised_address,
        version=hello.version,
    )


def check_hello(hello: session_pb2.Hello) -> None:
    """Refuse a Hello that breaks a bound.

    Raises:
        InvalidArgument: with the field's path.
    """
    if not _AGENT_ID.fullmatch(hello.agent_id):
        raise errors.InvalidArgument(
            "agent_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -", field="hello.agent_id"
        )
    if not 1 <= len(hello.instance_id) <= 128:
        raise errors.InvalidArgument("instance_id must be 1 to 128 characters", field="hello.instance_id")
    if not 1 <= hello.slots <= MAX_SLOTS:
        raise errors.InvalidArgument(f"slots must be 1 to {MAX_SLOTS}", field="hello.slots")
    if hello.prefetch > MAX_SLOTS:
        raise errors.InvalidArgument(f"prefetch must be at most {MAX_SLOTS}", field="hello.prefetch")
    if not 1 <= len(hello.methods) <= MAX_METHODS:
        raise errors.InvalidArgument(
            f"an agent hosts 1 to {MAX_METHODS} methods; this one names {len(hello.methods)}",
            field="hello.methods",
        )
    if len(hello.labels) > MAX_LABELS or len(hello.resources) > MAX_LABELS:
        raise errors.InvalidArgument(f"at most {MAX_LABELS} labels and resources", field="hello.labels")
    if len(hello.held) > MAX_HELD:
        raise errors.InvalidArgument(f"at most {MAX_HELD} held attempts", field="hello.held")
    for method in hello.methods:
        if method.slot_cost > hello.slots:
            raise errors.InvalidArgument(
                f"{method.name} costs {method.slot_cost} slots, but the agent has {hello.slots}",
                field="hello.methods.slot_cost",
            )
