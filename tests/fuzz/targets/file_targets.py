"""Files that people and other programs write: settings, policies, keys, exports, audit logs, descriptors, the system's own."""

from __future__ import annotations

import functools
import os
import shlex
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import typer
import yaml
from google.protobuf.message import DecodeError

from tests.fuzz.target import joined, parts_of, target, text_of
from tests.fuzz.targets.contract_targets import serialized
from weft.agent.errors import HostingError
from weft.agent.settings import AgentSettings
from weft.agent.sidecar import app_contract
from weft.cli.audit import audit_view
from weft.cli.command_line import inputs
from weft.cli.commands import methods_command, up_command
from weft.cli.state import state_file
from weft.cli.steering import task_filters
from weft.cli.terminal.failure import Failure
from weft.coordinator.access.access_file import parse_policy
from weft.coordinator.access.policy_entries import PolicyFault
from weft.coordinator.audit import audit_check, audit_event
from weft.coordinator.provisioning.shell_text import PosixScript, powershell
from weft.coordinator.provisioning.yaml_text import yaml_text
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.redis.endpoint_resolver import EndpointResolver
from weft.rpc import visible
from weft.rpc.network import binding
from weft.rpc.payloads import key_file
from weft.rpc.process import environment, own_cgroup, settings_files
from weft.rpc.security import certificates, token_source
from weft.v1 import audit_pb2


@functools.cache
def _folder() -> Path:
    """Of this process; files in it are written anew for each input."""
    return Path(tempfile.mkdtemp(prefix=f"weft-fuzz-{os.getpid()}-"))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


_POLICY = b"""
default = "deny"
[[rules]]
effect = "allow"
callers = ["role:client", "team-*"]
methods = ["a.v1.*"]
namespaces = ["x"]
[[limits]]
callers = ["*"]
calls_per_s = 5
"""


@target(
    "weft/coordinator/access/access_file",
    "weft/coordinator/access/policy_entries",
    "weft/coordinator/access/issuer_entries",
    "weft/coordinator/access/limit_entries",
    seeds=lambda: [
        _POLICY,
        b'[[issuers]]\nissuer = "https://i.example"\naudience = "weft"\nkeys = "keys.json"\nalgorithms = ["ES256"]',
        b"a = " + b"[" * 2000,
    ],
    raises=(PolicyFault,),
    max_bytes=16 * 1024,
)
def access_policy(data: bytes) -> None:
    parse_policy(text_of(data), Path("policy.toml"))


@target(
    "weft/rpc/process/settings_files",
    seeds=lambda: [
        joined(
            b'[agent]\nid = "a"\n[profiles.prod.coordinator]\nlisten = "x"',
            b"WEFT_ID=a\nexport WEFT_B='c d'\n",
        ),
        joined(b"a = " + b"[" * 2000, b"WEFT_X"),
    ],
    raises=(settings_files.SettingsFileFault,),
    max_bytes=16 * 1024,
)
def settings(data: bytes) -> None:
    """weft.toml and .env, side by side."""
    toml, dotenv = parts_of(data, 2)
    _file("weft.toml", toml)
    _file(".env", dotenv)
    settings_files.find(_folder(), {})


@target(
    "weft/agent/settings", seeds=lambda: [b"a=b,c=d", b'{"a": "b"}', b'{"a":' * 500], raises=(ValueError,)
)
def labels(data: bytes) -> None:
    AgentSettings._split_pairs(text_of(data))


@target(
    "weft/rpc/payloads/key_file",
    seeds=lambda: [key_file.new_line("k1").encode() + b"\n# x\n" + key_file.new_line("k2").encode()],
)
def payload_keys(data: bytes) -> None:
    assert key_file.keys_of(data.decode("ascii", "replace"), "keys")


@target("weft/rpc/security/token_source", seeds=lambda: [b"weft_" + b"a" * 61 + b"\n"])
def token_file(data: bytes) -> None:
    token_source.TokenSource(file=_file("token", data))


@target(
    "weft/rpc/security/certificates",
    seeds=lambda: [certificates.PrivateKey().pem],
    raises=(certificates.CertificateFault,),
    examples=15,
)
def private_key(data: bytes) -> None:
    certificates.unlocked_key(data, b"passphrase")


@functools.cache
def _audit_line() -> bytes:
    chain = audit_event.Chain("c1")
    fact = audit_event.AuditFact("tokens.created", audit_event.Who("a", "operator", "id"))
    return audit_event.line_of(chain.add(fact, 1, 1.7e9))


@target(
    "weft/coordinator/audit/audit_event",
    "weft/coordinator/audit/audit_check",
    seeds=lambda: [_audit_line() + b"\n" + _audit_line()],
    max_bytes=8192,
)
def audit_log(data: bytes) -> None:
    """A file of events: each line is whole, or a fault is told."""
    for fault in audit_check.ChainCheck().faults(data.splitlines(keepends=True)):
        assert fault.what


@target(
    "weft/cli/state/state_file",
    seeds=lambda: [b'{"header": {"version": 1}}\n{"end": {}}\n', b'{"header": {}}\n' + b'{"a":' * 400],
    raises=(Failure,),
    max_bytes=8192,
)
def exported_state(data: bytes) -> None:
    for record in state_file.records_of(str(_file("state", data))):
        assert record.WhichOneof("record")


@target(
    "weft/agent/sidecar/app_contract",
    seeds=lambda: [serialized(rules=False)],
    raises=(HostingError,),
    max_bytes=64 * 1024,
)
def app_descriptors(data: bytes) -> None:
    app_contract.from_file(_file("descriptors", data))


@target(
    "weft/rpc/process/environment",
    "weft/rpc/process/own_cgroup",
    seeds=lambda: [
        joined(b"0::/docker/" + b"a" * 64, b"150000 100000"),
        joined(b"4:memory,cpu:/a/../b", b"max 0"),
    ],
)
def container_files(data: bytes) -> None:
    """What a container's own files say of it."""
    own, limits = parts_of(data, 2)
    place = _folder() / "proc/self"
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup").write_bytes(own)
    (place / "mountinfo").write_bytes(own)
    for value in environment.read_environment(_folder(), {"K8S_POD_NAME": text_of(own)}).values():
        assert len(value) <= 256
    own_cgroup._cores(limits.decode("ascii", "replace").strip())
    own_cgroup._bytes(limits.decode("ascii", "replace").strip())


@target(
    "weft/cli/steering/task_filters",
    seeds=lambda: [b"15m", b"2026-11-29T10:00", b"1e400d", b"9999-12-31T23:59:59+00:00"],
    raises=(Failure,),
)
def moment(data: bytes) -> None:
    task_filters._moment("--since", text_of(data), datetime.now(UTC))


@target(
    "weft/cli/command_line/inputs",
    seeds=lambda: [b"zone=eu\x00gpu>=1", b"x-bin=AAE=", b"gpu=1e999"],
    raises=(typer.BadParameter, Failure),
)
def command_options(data: bytes) -> None:
    texts = text_of(data).split("\0")
    inputs.metadata_entries(texts)
    inputs.requirements(texts)
    inputs.amounts(texts, "--consume")


@target(
    "weft/coordinator/store/redis/endpoint_resolver",
    "weft/coordinator/store/store_config",
    seeds=lambda: [
        b"redis://u:p@h:6379/0",
        b"redis://[h",
        b"redis+sentinel://a:1,b:2/s/1?sentinel_password=x",
        b"redis+cluster://a,b",
        b"rediss://[::1]:1",
        b"redis://h:99999",
    ],
    raises=(StoreError,),
)
def redis_url(data: bytes) -> None:
    EndpointResolver(text_of(data), tag="t", timeout_s=1.0)


@target(
    "weft/rpc/network/binding", seeds=lambda: [b"127.0.0.1:80", b"[::1]:0", b"x:y:1"], raises=(ValueError,)
)
def listen_address(data: bytes) -> None:
    binding.checked_host_port(text_of(data), "127.0.0.1:9090")


@target(
    "weft/rpc/visible", seeds=lambda: [b"a\x1b[2Jb", "\u202ex\u2028\ud800".encode("utf-8", "surrogatepass")]
)
def shown_text(data: bytes) -> None:
    """Text of strangers moves no terminal."""
    text = text_of(data)
    assert not set(visible.one_line(text)) & set("\n\t\x1b")
    assert not set(visible.visible(text)) & set(map(chr, [*range(9), *range(11, 32), 127, *range(128, 160)]))
    assert "\x1b" not in visible.in_json(text)


@target(
    "weft/coordinator/provisioning/shell_text",
    "weft/coordinator/provisioning/yaml_text",
    seeds=lambda: [b"a'b\"c$(d)`e`\\f", b"yes", b"- a: b # c", "\u2019; rm".encode()],
)
def provisioned_text(data: bytes) -> None:
    """A value in a script or a document is the same value, and nothing else."""
    text = "".join(char for char in text_of(data) if char.isprintable())
    script = PosixScript()
    script.run(["weft", text], NAME=text)
    assert shlex.split(script.text)[2:] == [f"NAME={text}", "weft", text]
    assert yaml.safe_load(yaml_text({text or "k": text, "list": [text]})) == {
        text or "k": text,
        "list": [text],
    }
    assert powershell(text)


@target(
    "weft/cli/commands/up_command",
    "weft/cli/commands/methods_command",
    seeds=lambda: [
        b'{"event": "a", "timestamp": "2026-11-29T10:00:00.1Z", "level": "info", "x": 1}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a":' * 2000,
    ],
    max_bytes=16 * 1024,
)
def log_line(data: bytes) -> None:
    """A line that a process of `weft up` writes: a program's own may be anything."""
    assert isinstance(up_command.readable(text_of(data)), str)
    methods_command._value(text_of(data))


@target(
    "weft/coordinator/audit/audit_event",
    "weft/cli/audit/audit_view",
    seeds=lambda: [audit_event.message_of(audit_event.record_of(_audit_line())).SerializeToString()],
    raises=(DecodeError,),
)
def audit_message(data: bytes) -> None:
    """An event that a coordinator sends is shown."""
    record = audit_event.record_from(audit_pb2.AuditEvent.FromString(data))
    assert audit_view.text(record)
    assert len(audit_event.digest_of(record)) == 64
