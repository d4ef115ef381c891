"""Checks that a kind of provisioning quotes what it writes: for the tests of packages that add one (`weft.providers`).

def test_nomad() -> None:
    check_kind(NomadKind(), lambda text: hcl.loads(text)["job"]["env"])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.coordinator.provisioning.provision_kind import ProvisionKind
from weft.coordinator.provisioning.requested_agent import known_settings, requested_agent
from weft.rpc.security import tokens
from weft.v1 import provision_pb2

# Each has a meaning somewhere: in shells, YAML, JSON, TOML, XML, templates, units of systemd, command lines.
HOSTILE_VALUES = (
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    '"; touch pwned; "',
    "$HOME ${HOME} $$ $(HOME) %HOME% %n",
    "--privileged",
    "{{ .Values.token }} {% raw %} #{x}",
    "x: y # z",
    "- a",
    "null",
    "0x10",
    "&a *a !!python/object:os.system",
    "<!-- &amp; ]]> </x>",
    "a\\",
    "\\x41 \\n",
    "\u2019; touch pwned; \u2019",
    "漢 é 😀",
    " ",
)


def check_kind(
    kind: ProvisionKind,
    read: Callable[[str], Mapping[str, str]],
    settings: Mapping[str, str] | None = None,
) -> None:
    """Check a kind's members, and that values of all sorts stay values in what it writes.

    Args:
        read: takes a text apart as the program does that it is for: the variables of the agent's environment.
        settings: those that the kind requires; by default it hosts `acme.worker:agent`.

    Raises:
        AssertionError: what is wrong.
    """
    names = [each.name for each in known_settings(kind)]
    assert len(names) == len(set(names)), f"{kind.name}: settings have one name: {names}"
    assert kind.description, f"{kind.name}: it has no description"
    token = tokens.generate(tokens.generate_id())
    asked = provision_pb2.ProvisionAgentRequest(kind=kind.name, name="worker")
    asked.settings.update({"target": "127.0.0.1:7700", "program": "acme.worker:agent"} | dict(settings or {}))
    asked.settings.update({f"env.HOSTILE_{number}": value for number, value in enumerate(HOSTILE_VALUES)})
    spec = requested_agent(asked, kind, token).spec
    made = kind.render(spec)
    assert token in made.text, f"{kind.name}: the text has no token"
    assert made.file_name, f"{kind.name}: it names no file"
    assert not set(made.file_name) & set("/\\"), f"{kind.name}: {made.file_name!r} is no file's name"
    assert made.steps, f"{kind.name}: it says no steps"
    found = read(made.text)
    for name, value in spec.variables.items():
        assert found.get(name) == value, (
            f"{kind.name}: {name} is {value!r}, and is read as {found.get(name)!r}"
        )
