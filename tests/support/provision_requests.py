"""Requests to provision agents, with values that somebody chose to do harm."""

from __future__ import annotations

from hypothesis import strategies as st

from weft.coordinator.provisioning.kind_catalogue import known_kinds
from weft.coordinator.provisioning.provision_kind import Artifact
from weft.coordinator.provisioning.requested_agent import requested_agent
from weft.rpc.security import tokens
from weft.v1 import provision_pb2

TOKEN = tokens.generate("0123456789ab")
# Printable, and full of what has a meaning in some place.
ODD = st.text(
    st.one_of(
        st.sampled_from("'\"`$\\%!*?[]{}()<>|&;#~=:,@^ -‘’‚‛“”\u00a0é漢😀"),
        st.characters(categories=["L", "N", "P", "S", "Zs"]),
    ).filter(str.isprintable),
    min_size=1,
    max_size=24,
)
HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$WEFT_TOKEN ${WEFT_TOKEN} $$ $(WEFT_TOKEN)",
    "--privileged",
    "-v=/:/host",
    "{{ .Values.token }}",
    "%PATH% %n",
    "x: y # z",
    "- a",
    "null",
    "yes",
    "0x10",
    "12:30:45",
    "&a *a !!python/object:os.system",
    "\\",
    "a\\",
    "!",
    "~",
    "’; touch pwned; ’",
]


HOST_KINDS = {"process", "linux", "macos", "windows"}


def request(kind: str, name: str = "worker-1", **given: str) -> provision_pb2.ProvisionAgentRequest:
    """A request; `__` in names stands for a dot."""
    defaults = {"target": "127.0.0.1:7700"} | (
        {"weft": "weft"} if kind in HOST_KINDS else {"image": "acme/worker:1"}
    )
    chosen = defaults | {key.replace("__", "."): value for key, value in given.items()}
    return provision_pb2.ProvisionAgentRequest(kind=kind, name=name, settings=chosen)


def rendered(asked: provision_pb2.ProvisionAgentRequest) -> Artifact:
    kind = known_kinds()[asked.kind].kind
    assert kind is not None
    return kind.render(requested_agent(asked, kind, TOKEN).spec)
