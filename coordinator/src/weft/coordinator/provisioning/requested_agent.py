"""From a request to the spec of an agent and the token that it needs: checks of the name and of settings. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.provision_kind import KindSetting, ProvisionKind
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.identity.caller import AGENT
from weft.rpc.identity.scope import ENVIRONMENT_LABELS
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.targets import is_source, parse
from weft.rpc.security import namespace_names
from weft.rpc.similar_names import similar_names
from weft.v1 import provision_pb2, security_pb2

MAX_SETTINGS = 128
MAX_VALUE_CHARS = 1024
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ADDRESS = r"unix:.+|[^:\s]+:[0-9]{1,5}"

# The settings of every kind. A kind's own setting of the same name stands in the place of one.
SHARED = (
    KindSetting(
        "target", "the coordinator's address, as the agent dials it: host:port, or several", required=True
    ),
    KindSetting(
        "program",
        "what the agent hosts: the MODULE:OBJECT of a weft.agent.Agent",
        form=r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*",
        form_text="MODULE:OBJECT, such as acme.worker:agent",
    ),
    KindSetting(
        "app",
        "instead of a program: the address of a gRPC server beside the agent, for a sidecar",
        form=_ADDRESS,
        form_text="HOST:PORT or unix:PATH",
    ),
    KindSetting(
        "slots",
        "calls that the agent runs at a time",
        form="[1-9][0-9]{0,4}",
        form_text="a number from 1 to 99999",
    ),
    KindSetting(
        "listen",
        "where it takes direct calls: host:port, or `auto`; unless set, nowhere if the coordinator is elsewhere",
        form=f"auto|off|{_ADDRESS}",
        form_text="auto, off, HOST:PORT or unix:PATH",
    ),
    KindSetting("tls_ca", "file of the authorities that sign the coordinator's certificate, or `system`"),
    KindSetting("tls_server_name", "name in the coordinator's certificate, if it is not the target's host"),
    KindSetting(
        "tls_pin",
        "the pin of a mesh that makes its certificates; unless set, this mesh's, if it does and tls_ca is not set",
        form="sha256:[0-9a-f]{64}",
        form_text="sha256: and 64 hex digits",
    ),
    KindSetting(
        "tls_join",
        "where such a mesh is joined; unless set, at the coordinators' join port, at the target's hosts",
    ),
    KindSetting("label.*", "a label, such as label.zone=eu"),
    KindSetting(
        "resource.*",
        "an amount of a resource, such as resource.gpu=2",
        form=r"[0-9]{1,18}(\.[0-9]{1,9})?(e[0-9]{1,2})?",
        form_text="an amount, such as 2 or 8e9",
    ),
    KindSetting("env.*", "another variable of the agent's environment, such as env.LOG_LEVEL=debug"),
)
OFF = "off"
_LABEL, _RESOURCE, _ENV = "label.", "resource.", "env."
REPLICAS = KindSetting(
    "replicas", "how many agents", default="1", form="[1-9][0-9]?", form_text="a number from 1 to 64"
)
# By these the agent is told who it is: they come from the request alone.
_OWN_VARIABLES = frozenset(
    {
        "WEFT_TOKEN",
        "WEFT_TOKEN_FILE",
        "WEFT_AGENT_TOKEN",
        "WEFT_AGENT_TOKEN_FILE",
        "WEFT_AGENT_ID",
        "WEFT_AGENT_TARGET",
        "WEFT_TARGET",
    }
)


class MeshJoin(NamedTuple):
    """How a mesh that makes its certificates is joined. The default is one that does not.

    Attributes:
        pin: by which its authority is recognised.
        port: of coordinators, where certificates are asked for.
    """

    pin: str = ""
    port: int = 0


NO_JOIN = MeshJoin()


class RequestedAgent(NamedTuple):
    """A checked request."""

    spec: AgentSpec
    token: security_pb2.CreateTokenRequest


def known_settings(kind: ProvisionKind) -> list[KindSetting]:
    """All settings of a kind, by name."""
    own = [*kind.settings, *([REPLICAS] if kind.most_replicas > 1 else [])]
    names = {each.name for each in own}
    return sorted((*own, *(each for each in SHARED if each.name not in names)), key=lambda each: each.name)


def requested_agent(
    request: provision_pb2.ProvisionAgentRequest,
    kind: ProvisionKind,
    token: str,
    joining: MeshJoin = NO_JOIN,
) -> RequestedAgent:
    """Check a request.

    Args:
        token: the text of the token that will be made.
        joining: how the coordinator's mesh is joined.

    Raises:
        InvalidArgument: INVALID_FIELD, with the setting's name.
    """
    if not _NAME.fullmatch(request.name):
        raise refusals.invalid_field(
            "name must be 1 to 63 lower-case letters, digits and '-', begin with a letter, and not end with '-'",
            field="name",
        )
    if request.namespace:
        namespace_names.checked_name(request.namespace)
    settings = _checked(request.settings, known_settings(kind))
    try:
        target = ",".join(parse(settings.pop("target")))
    except InvalidArgument as error:
        raise refusals.invalid_field(error.message, field="settings.target") from None
    if settings.get("program") and settings.get("app"):
        raise refusals.invalid_field("give either program or app", field="settings.program")
    ids = _ids(request.name, settings, kind)
    labels, env = _part(settings, _LABEL), _part(settings, _ENV)
    by_pin = _by_pin(target, settings, joining)
    variables = _variables(target, settings, labels, listens=bool(by_pin)) | by_pin | _extra(env)
    _check_port(variables)
    spec = AgentSpec(
        request.name,
        ids,
        token,
        target,
        program=settings.pop("program", ""),
        app=settings.pop("app", ""),
        tls_ca=settings.pop("tls_ca", ""),
        variables=variables,
        options={name: value for name, value in settings.items() if "." not in name},
    )
    if not (spec.stays_here or spec.tls_ca or {"WEFT_TLS_CA", "WEFT_TLS_PIN"} & variables.keys()):
        raise refusals.invalid_field(
            f"the agent would not send its token to {target}, because that connection has no TLS: set tls_ca or tls_pin",
            field="settings.tls_ca",
        )
    return RequestedAgent(spec, _token(request, ids, labels))


def _checked(given: Mapping[str, str], known: Sequence[KindSetting]) -> dict[str, str]:
    """The settings with their defaults."""
    if len(given) > MAX_SETTINGS:
        raise refusals.invalid_field(f"at most {MAX_SETTINGS} settings", field="settings")
    by_name = {each.name: each for each in known}
    found = {each.name: each.default for each in known if each.default}
    for name, value in given.items():
        family, dot, _ = name.partition(".")
        setting = by_name.get(f"{family}.*" if dot else name)
        if setting is None or name.endswith(".*"):
            near = similar_names(name, by_name)
            hint = f"; the nearest is {near[0]}" if near else f"; there are {', '.join(sorted(by_name))}"
            raise refusals.invalid_field(f"there is no setting {name[:128]!r}{hint}", field="settings")
        field = f"settings.{name[:128]}"
        if len(value) > MAX_VALUE_CHARS or not value.isprintable() or not name.isprintable():
            raise refusals.invalid_field(
                f"a setting has at most {MAX_VALUE_CHARS} printable characters, and no line breaks",
                field=field,
            )
        if value and setting.form and not re.fullmatch(setting.form, value):
            raise refusals.invalid_field(
                f"{name} is {value[:128]!r}; it must be {setting.form_text}", field=field
            )
        found[name] = value
    for each in known:
        if each.required and not found.get(each.name):
            raise refusals.invalid_field(
                f"{each.name} is missing: {each.description}", field=f"settings.{each.name}"
            )
    return found


def _ids(name: str, settings: dict[str, str], kind: ProvisionKind) -> tuple[str, ...]:
    replicas = int(settings.pop("replicas", "") or 1)
    if replicas > kind.most_replicas:
        raise refusals.invalid_field(
            f"replicas is at most {kind.most_replicas} with {kind.name}", field="settings.replicas"
        )
    first = kind.first_number
    if replicas == 1 and first is None:
        return (name,)
    first = 1 if first is None else first
    return tuple(f"{name}-{number}" for number in range(first, first + replicas))


def _part(settings: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}


def _by_pin(target: str, settings: dict[str, str], joining: MeshJoin) -> dict[str, str]:
    """The variables by which the agent gets its certificates from the mesh. Empty: it has none, or files."""
    pin, join = settings.pop("tls_pin", ""), settings.pop("tls_join", "")
    files = bool(settings.get("tls_ca") or settings.get("tls_server_name"))
    if files and (pin or join):
        raise refusals.invalid_field(
            "with tls_pin the mesh makes the certificates: leave tls_ca and tls_server_name out",
            field="settings.tls_pin",
        )
    pin = pin or ("" if files else joining.pin)
    if not pin:
        return {}
    # An agent whose coordinators a source names joins at the port after theirs.
    if not join and joining.port and not target.startswith("unix") and not is_source(target):
        join = ",".join(f"{each.rpartition(':')[0]}:{joining.port}" for each in target.split(","))
    return {"WEFT_TLS_PIN": pin} | ({"WEFT_TLS_JOIN": join} if join else {})


def _variables(
    target: str, settings: dict[str, str], labels: Mapping[str, str], *, listens: bool
) -> dict[str, str]:
    """The variables of weft's own settings."""
    for key, value in labels.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or "*" in value:
            raise refusals.invalid_field(
                "a label has a key of 1 to 128 characters, and a value of at most 256, without '*'",
                field=f"settings.{_LABEL}{key[:128]}",
            )
    resources = _part(settings, _RESOURCE)
    if max(len(labels), len(resources)) > 64:
        raise refusals.invalid_field("an agent has at most 64 labels, and 64 resources", field="settings")
    found = {
        "WEFT_TARGET": target,
        "WEFT_AGENT_SLOTS": settings.pop("slots", ""),
        "WEFT_AGENT_LABELS": _pairs(labels),
        "WEFT_AGENT_RESOURCES": _pairs(resources),
        "WEFT_AGENT_LISTEN": _listen(target, settings.pop("listen", ""), listens=listens),
        "WEFT_TLS_SERVER_NAME": settings.pop("tls_server_name", ""),
    }
    return {name: value for name, value in found.items() if value}


def _listen(target: str, given: str, *, listens: bool) -> str:
    if given:
        return "" if given == "auto" else given
    # Without a certificate of its own, nobody who uses TLS calls it.
    return "" if listens or all(map(stays_here, parse(target))) else OFF


def _check_port(variables: Mapping[str, str]) -> None:
    """Refuse an address of the direct server that would keep the agent from starting.

    Raises:
        InvalidArgument
    """
    address = variables.get("WEFT_AGENT_LISTEN", OFF)
    if address == OFF or stays_here(address):
        return
    if not variables.keys() & {"WEFT_TLS_PIN", "WEFT_TLS_CERT", "WEFT_AGENT_TLS_CERT", "WEFT_INSECURE"}:
        raise refusals.invalid_field(
            f"the agent would not open {address} to other machines without a certificate: set env.WEFT_TLS_CERT and env.WEFT_TLS_KEY",
            field="settings.listen",
        )


def _pairs(values: Mapping[str, str]) -> str:
    """As KEY=VALUE,KEY=VALUE, or as JSON if they have other characters."""
    texts: Iterable[str] = [*values, *values.values()]
    if all(re.fullmatch(r"[A-Za-z0-9_./:@+-]+", text) for text in texts):
        return ",".join(f"{key}={value}" for key, value in values.items())
    return json.dumps(values, ensure_ascii=False) if values else ""


def _extra(env: Mapping[str, str]) -> dict[str, str]:
    for name in env:
        if not _VARIABLE.fullmatch(name):
            raise refusals.invalid_field(
                f"{name[:128]!r} is not the name of a variable", field="settings.env"
            )
        if name.upper() in _OWN_VARIABLES:
            raise refusals.invalid_field(
                f"{name} is set by weft: target and name say the same", field=f"settings.env.{name}"
            )
    return dict(env)


def _token(
    request: provision_pb2.ProvisionAgentRequest, ids: Sequence[str], labels: Mapping[str, str]
) -> security_pb2.CreateTokenRequest:
    """The token that lets these agents join, and no others."""
    given = request.scope
    return security_pb2.CreateTokenRequest(
        role=AGENT,
        scope=security_pb2.TokenScope(
            methods=given.methods,
            hosts=given.hosts,
            agent_ids=ids,
            namespaces=[request.namespace or namespace_names.DEFAULT],
            labels=[*given.labels, *_granted(labels)] if given.labels else [],
        ),
        ttl=request.ttl if request.HasField("ttl") else None,
        comment=f"provisioned: {request.kind[:64]} {request.name}",
        max_uses=len(ids),
    )


def _granted(labels: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{key}={value}" for key, value in labels.items())
    yield from (f"{name}=*" for name in sorted(ENVIRONMENT_LABELS))
