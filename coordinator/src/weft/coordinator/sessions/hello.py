"""An agent's Hello: its bounds, and the description that is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from weft.coordinator.store.rules import AGENT_ID_LABEL, CONTRACT_DIGITS, CONTRACT_LABEL
from weft.rpc import refusals
from weft.rpc.identity.scope import ENVIRONMENT_LABELS
from weft.rpc.security.mesh_names import is_agent_id
from weft.v1 import fleet_pb2, session_pb2

MAX_METHODS = 4096
MAX_SLOTS = 100_000
MAX_LABELS = 64
MAX_HELD = 200_000
# Characters.
MAX_KEY = 128
MAX_VALUE = 256
MAX_METHOD = 512
VERSION_LABEL = "version"
# The labels that weft adds, here and in its agents.
_IMPLICIT = frozenset({AGENT_ID_LABEL, CONTRACT_LABEL, VERSION_LABEL, "host"}) | ENVIRONMENT_LABELS
_HASH = re.compile(r"[0-9a-f]{64}")


def describe(hello: session_pb2.Hello) -> fleet_pb2.Agent:
    """The agent's description, which the store keeps."""
    return fleet_pb2.Agent(
        id=hello.agent_id,
        instance_id=hello.instance_id,
        labels=hello.labels,
        resources=hello.resources,
        methods=hello.methods,
        contract_hash=hello.contract_hash,
        slots=hello.slots,
        advertised_address=hello.advertised_address,
        tls_name=hello.tls_name,
        version=hello.version,
    )


def checked(hello: session_pb2.Hello) -> session_pb2.Hello:
    """A Hello with its implicit labels: the agent's id and contract, and its version unless it has such a label of its own.

    Raises:
        InvalidArgument: as `check_hello`.
    """
    check_hello(hello)
    hello.labels[AGENT_ID_LABEL] = hello.agent_id
    hello.labels[CONTRACT_LABEL] = hello.contract_hash[:CONTRACT_DIGITS]
    if hello.version and VERSION_LABEL not in hello.labels:
        hello.labels[VERSION_LABEL] = hello.version
    return hello


def with_labels(hello: session_pb2.Hello, labels: Mapping[str, str]) -> session_pb2.Hello:
    """The same Hello with other labels, and the implicit ones.

    Raises:
        InvalidArgument: as `check_hello`.
    """
    changed = session_pb2.Hello()
    changed.CopyFrom(hello)
    changed.labels.clear()
    changed.labels.update(labels)
    return checked(changed)


def check_hello(hello: session_pb2.Hello) -> None:
    """Refuse a Hello that breaks a bound, or has another agent's id or another contract as a label.

    Raises:
        InvalidArgument: with the field's path.
    """
    if not is_agent_id(hello.agent_id):
        raise refusals.invalid_field(
            "agent_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -", field="hello.agent_id"
        )
    if not 1 <= len(hello.instance_id) <= 128:
        raise refusals.invalid_field("instance_id must be 1 to 128 characters", field="hello.instance_id")
    if not 1 <= hello.slots <= MAX_SLOTS:
        raise refusals.invalid_field(f"slots must be 1 to {MAX_SLOTS}", field="hello.slots")
    if hello.prefetch > MAX_SLOTS:
        raise refusals.invalid_field(f"prefetch must be at most {MAX_SLOTS}", field="hello.prefetch")
    if not 1 <= len(hello.methods) <= MAX_METHODS:
        raise refusals.invalid_field(
            f"an agent hosts 1 to {MAX_METHODS} methods; this one names {len(hello.methods)}",
            field="hello.methods",
        )
    if len(hello.held) > MAX_HELD:
        raise refusals.invalid_field(f"at most {MAX_HELD} held attempts", field="hello.held")
    if not _HASH.fullmatch(hello.contract_hash):
        raise refusals.invalid_field(
            "contract_hash must be a SHA-256 in hex: 64 digits", field="hello.contract_hash"
        )
    for name in ("advertised_address", "version", "tls_name"):
        if len(getattr(hello, name)) > MAX_VALUE:
            raise refusals.invalid_field(f"{name} is at most {MAX_VALUE} characters", field=f"hello.{name}")
    _check_attributes(hello)
    for method in hello.methods:
        if len(method.name) > MAX_METHOD:
            raise refusals.invalid_field(
                f"a method's name is at most {MAX_METHOD} characters", field="hello.methods.name"
            )
        if method.slot_cost > hello.slots:
            raise refusals.invalid_field(
                f"{method.name} costs {method.slot_cost} slots, but the agent has {hello.slots}",
                field="hello.methods.slot_cost",
            )


def _check_attributes(hello: session_pb2.Hello) -> None:
    """Labels and resources, by the rules of requirements, which are matched against them."""
    if len(hello.labels.keys() - _IMPLICIT) > MAX_LABELS:
        raise refusals.invalid_field(f"at most {MAX_LABELS} labels", field="hello.labels")
    if len(hello.resources) > MAX_LABELS:
        raise refusals.invalid_field(f"at most {MAX_LABELS} resources", field="hello.resources")
    for key, value in hello.labels.items():
        if not 1 <= len(key) <= MAX_KEY or len(value) > MAX_VALUE:
            raise refusals.invalid_field(
                f"labels need a key of 1 to {MAX_KEY} characters and a value of at most {MAX_VALUE}",
                field="hello.labels",
            )
    own = {AGENT_ID_LABEL: hello.agent_id, CONTRACT_LABEL: hello.contract_hash[:CONTRACT_DIGITS]}
    for key, value in own.items():
        if hello.labels.get(key, value) != value:
            raise refusals.invalid_field(
                f"the label {key} is the agent's own, {value}; leave it out", field="hello.labels"
            )
    for key, amount in hello.resources.items():
        if not 1 <= len(key) <= MAX_KEY or not (math.isfinite(amount) and amount >= 0):
            raise refusals.invalid_field(
                f"resources need a key of 1 to {MAX_KEY} characters and a finite amount of 0 or more",
                field="hello.resources",
            )
