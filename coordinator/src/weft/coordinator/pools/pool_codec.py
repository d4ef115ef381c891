"""Pools on the wire and in rows: specs are checked here, and nowhere else. A row's value is a serialized `weft.v1.Pool`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.coordinator.pools.pool_plan import MAX_METHOD_CHARS, MAX_METHODS, MAX_SIZE
from weft.rpc import refusals
from weft.rpc.times import checked_duration
from weft.v1 import pool_pb2

KIND = "pool"
MAX_TEMPLATE_BYTES = 8 * 1024
MAX_READY_S = MAX_GRACE_S = 3600.0
MAX_SLOTS = 100_000
MAX_TTL_S, MAX_PAUSE_S = 3660 * 86400.0, 86400.0
MAX_FAILURES = 100
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,62}")
_PROGRAM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_METHOD = re.compile(r"[A-Za-z_][\w.]*/[A-Za-z_]\w*")
_APP = re.compile(r"unix:.+|[^:\s]+:[0-9]{1,5}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# By these an agent is told who it is and where: they come from the pool alone.
_OWN_VARIABLES = frozenset(
    {
        *("WEFT_TOKEN", "WEFT_TOKEN_FILE", "WEFT_AGENT_TOKEN", "WEFT_AGENT_TOKEN_FILE", "WEFT_AGENT_ID"),
        *("WEFT_NAMESPACE", "WEFT_AGENT_NAMESPACE", "WEFT_AGENT_SLOTS", "WEFT_AGENT_LABELS"),
        *("WEFT_AGENT_RESOURCES",),
    }
)
POOL_LABEL, VERSION_LABEL = "weft.pool", "weft.pool.version"
HIDDEN = "…"


def check_pool_name(name: str) -> str:
    """
    Raises:
        InvalidArgument
    """
    if not _NAME.fullmatch(name):
        raise refusals.invalid_field(
            "name must be 1 to 40 lower-case letters, digits and '-', begin with a letter, and not end with '-'",
            field="name",
        )
    return name


def check_size(size: int, field: str, least: int = 0) -> None:
    """
    Raises:
        InvalidArgument
    """
    if not least <= size <= MAX_SIZE:
        raise refusals.invalid_field(f"a pool has {least} to {MAX_SIZE} members; this is {size}", field=field)


def check_pool_spec(spec: pool_pb2.PoolSpec) -> None:
    """Refuse a spec that is wrong, apart from what its provider checks.

    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    check_size(spec.size, "spec.size", least=1 if spec.ephemeral else 0)
    check_template(spec.template)
    if spec.HasField("autoscale"):
        if spec.ephemeral:
            raise refusals.invalid_field("an ephemeral pool keeps its size", field="spec.autoscale")
        check_autoscale(spec.autoscale, "spec.autoscale")
    if spec.HasField("ttl"):
        checked_duration(spec.ttl, "spec.ttl", least_s=1.0, most_s=MAX_TTL_S)
    if spec.HasField("idle_stop"):
        checked_duration(spec.idle_stop, "spec.idle_stop", least_s=1.0, most_s=MAX_PAUSE_S)
    rollout = spec.rollout
    if rollout.HasField("healthy_for"):
        checked_duration(rollout.healthy_for, "spec.rollout.healthy_for", most_s=MAX_READY_S)
    if rollout.max_failures > MAX_FAILURES:
        raise refusals.invalid_field(
            f"max_failures is at most {MAX_FAILURES}", field="spec.rollout.max_failures"
        )
    if rollout.surge > MAX_SIZE:
        raise refusals.invalid_field(f"surge is at most {MAX_SIZE}", field="spec.rollout.surge")


def check_autoscale(autoscale: pool_pb2.Autoscale, field: str) -> None:
    """
    Raises:
        InvalidArgument
    """
    check_size(autoscale.max, f"{field}.max", least=1)
    if autoscale.min > autoscale.max:
        raise refusals.invalid_field("min is more than max", field=f"{field}.min")
    if autoscale.target_per_member > MAX_SLOTS:
        raise refusals.invalid_field(
            f"target_per_member is at most {MAX_SLOTS}", field=f"{field}.target_per_member"
        )
    if autoscale.HasField("cool_down"):
        checked_duration(autoscale.cool_down, f"{field}.cool_down", most_s=MAX_PAUSE_S)
    if len(autoscale.methods) > MAX_METHODS or any(
        not _METHOD.fullmatch(name) or len(name) > MAX_METHOD_CHARS for name in autoscale.methods
    ):
        raise refusals.invalid_field(
            f"methods are at most {MAX_METHODS} full names, such as acme.v1.Analyst/Analyze",
            field=f"{field}.methods",
        )


def check_template(template: pool_pb2.PoolTemplate, field: str = "spec.template") -> None:
    """
    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    if (size := template.ByteSize()) > MAX_TEMPLATE_BYTES:
        raise refusals.payload_too_large(
            f"a template has at most {MAX_TEMPLATE_BYTES} bytes; this one has {size}",
            size,
            MAX_TEMPLATE_BYTES,
            field=field,
        )
    if not _PROVIDER.fullmatch(template.provider):
        raise refusals.invalid_field(
            "provider must be the name of a provider, such as process", field=f"{field}.provider"
        )
    _check_what(template, field)
    if template.slots > MAX_SLOTS:
        raise refusals.invalid_field(f"an agent has at most {MAX_SLOTS} slots", field=f"{field}.slots")
    _check_labels(template.labels, f"{field}.labels")
    if len(template.resources) > 64 or any(not 0 <= each < 1e18 for each in template.resources.values()):
        raise refusals.invalid_field(
            "an agent has at most 64 resources, with amounts of 0 or more", field=f"{field}.resources"
        )
    for name, text in template.environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in text:
            raise refusals.invalid_field(
                f"{name[:128]!r} is not the name of a variable", field=f"{field}.environment"
            )
        if name.upper() in _OWN_VARIABLES:
            raise refusals.invalid_field(f"{name} is set by weft", field=f"{field}.environment")
    for path, text in (("folder", template.folder), ("image", template.image)):
        if len(text) > 1024 or not text.isprintable():
            raise refusals.invalid_field(
                f"{path} has at most 1024 printable characters", field=f"{field}.{path}"
            )
    if template.HasField("ready_timeout"):
        checked_duration(template.ready_timeout, f"{field}.ready_timeout", least_s=1.0, most_s=MAX_READY_S)
    if template.HasField("stop_grace"):
        checked_duration(template.stop_grace, f"{field}.stop_grace", most_s=MAX_GRACE_S)


def _check_what(template: pool_pb2.PoolTemplate, field: str) -> None:
    given = [name for name in ("program", "app", "command") if getattr(template, name)]
    if len(given) > 1:
        raise refusals.invalid_field(
            f"give one of program, app and command, not {' and '.join(given)}",
            field=f"{field}.{given[1]}",
        )
    for name, form, text in (
        ("program", _PROGRAM, "MODULE:OBJECT, such as acme.worker:agent"),
        ("app", _APP, "HOST:PORT or unix:PATH"),
    ):
        value = getattr(template, name)
        if value and not form.fullmatch(value):
            raise refusals.invalid_field(
                f"{name} is {value[:128]!r}; it must be {text}", field=f"{field}.{name}"
            )
    if any("\0" in word for word in template.command) or (template.command and not template.command[0]):
        raise refusals.invalid_field("command has a word that cannot be one", field=f"{field}.command")


def _check_labels(labels: Mapping[str, str], field: str) -> None:
    if len(labels) > 60:
        raise refusals.invalid_field("a template has at most 60 labels", field=field)
    for key, value in labels.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or not (key + value).isprintable():
            raise refusals.invalid_field(
                "a label has a key of 1 to 128 characters, and a value of at most 256", field=field
            )
        if key in (POOL_LABEL, VERSION_LABEL):
            raise refusals.invalid_field(f"the label {key} is set by weft", field=field)


def without_secrets(pool: pool_pb2.Pool) -> None:
    """Hide the values of the environment."""
    for template in (pool.spec.template, pool.previous_template):
        for name in template.environment:
            template.environment[name] = HIDDEN
