"""What is provisioned says what was asked for, whatever the values are: each text is read as its program reads it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support import provisioned
from tests.support.provision_requests import HOSTILE, ODD, TOKEN, rendered, request
from weft.agent.settings import AgentSettings
from weft.coordinator.provisioning import kind_catalogue
from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kind_catalogue import known_kinds
from weft.coordinator.provisioning.provision_kind import Artifact
from weft.coordinator.provisioning.requested_agent import MeshJoin, known_settings, requested_agent
from weft.coordinator.provisioning.shell_text import powershell
from weft.coordinator.provisioning.yaml_text import yaml_text
from weft.rpc.errors import InvalidArgument
from weft.testing.kind_checks import check_kind
from weft.v1 import provision_pb2

OWN = sorted(name for name, known in known_kinds().items() if known.package == "weft")


def test_the_kinds_are_those() -> None:
    assert OWN == ["compose", "docker", "helm", "kubernetes", "linux", "macos", "process", "windows"]


def started(kind: str, artifact: Artifact, folder: Path) -> provisioned.Started:
    """What the text of a kind starts, as its program reads it."""
    match kind:
        case "process":
            return provisioned.by_shell(artifact.text, "weft", folder)
        case "linux":
            return provisioned.by_service_script(artifact.text, "/etc/weft", folder)
        case "macos":
            return provisioned.by_service_script(artifact.text, "/usr/local/etc/weft", folder)
        case "windows":
            return provisioned.by_powershell(artifact.text)
        case "docker":
            return provisioned.by_docker(artifact.text, folder)[0]
        case "compose":
            (service,) = provisioned.by_compose(artifact.text).values()
            return provisioned.Started(service["command"], service["environment"])
        case "helm":
            return provisioned.by_helm(artifact.text)
        case _:
            manifests = provisioned.by_kubernetes(artifact.text)
            assert manifests["Secret"]["stringData"] == {"token": TOKEN}
            return provisioned.container(manifests["StatefulSet"])[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shell")


@pytest.mark.parametrize("kind", OWN)
def test_hostile_values_stay_values(kind: str, folder: Path) -> None:
    check(kind, dict(enumerate(HOSTILE)), folder)


# Without shrinking: each example starts shells.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(drawn=st.lists(ODD, min_size=1, max_size=8))
def test_any_value_stays_a_value(folder: Path, drawn: list[str]) -> None:
    for kind in OWN:
        check(kind, dict(enumerate(drawn)), folder)


def check(kind: str, odd: dict[int, str], folder: Path) -> None:
    """The agent gets each value as it was given, and nothing else happens."""
    if kind == "windows":
        # What it refuses is in a test of its own.
        odd = {
            number: value.replace('"', "").replace("%", "").rstrip("\\") + "x"
            for number, value in odd.items()
        }
    labels = {f"label.{number}": value.replace("*", "") for number, value in odd.items()}
    if kind == "windows":
        labels = dict.fromkeys(labels, "v")
    env = {f"env.ODD_{number}": value for number, value in odd.items()}
    asked = request(kind, program="acme.worker:agent", slots="3", tls_server_name=odd[0])
    asked.settings.update(labels | env)
    found = started(kind, rendered(asked), folder)
    assert found.words == ["agent", "acme.worker:agent"]
    assert {name: found.variables[f"ODD_{name}"] for name in odd} == odd
    assert found.variables["WEFT_TARGET"] == "127.0.0.1:7700"
    assert found.variables["WEFT_TLS_SERVER_NAME"] == odd[0]
    agent = {"kubernetes": "metadata.name", "helm": "metadata.name"}.get(kind, "worker-1")
    assert found.variables["WEFT_AGENT_ID"] == agent
    read = AgentSettings(labels=found.variables["WEFT_AGENT_LABELS"])  # type: ignore[arg-type]
    assert read.labels == {key.removeprefix("label."): value for key, value in labels.items()}
    assert not (folder / "pwned").exists()
    known = {"WEFT_TOKEN", "WEFT_TOKEN_FILE", "WEFT_AGENT_ID", "WEFT_TARGET", "WEFT_AGENT_SLOTS", "PATH"}
    known |= {"WEFT_AGENT_LABELS", "WEFT_TLS_SERVER_NAME", "OLDPWD", "_", "SHLVL"}
    extra = {name for name in found.variables if not name.startswith(("ODD_", "K8S_"))} - known
    assert not extra, extra


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES)
def test_yaml_is_read_as_it_was_meant(value: Any) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


@pytest.mark.parametrize(
    "word", [*HOSTILE, "on", "Off", "NO", "1_000", "0o7", "1e3", ".inf", "=", "<<", "2026-01-01", ""]
)
def test_words_of_yaml_stay_texts(word: str) -> None:
    assert yaml.safe_load(yaml_text({word: [word, {"a": word}]})) == {word: [word, {"a": word}]}


@given(texts=st.lists(ODD, min_size=1, max_size=4))
def test_powershell_takes_words_as_they_are(texts: list[str]) -> None:
    assert provisioned.powershell_words(" ".join(map(powershell, texts))) == texts


@pytest.mark.parametrize(
    ("kind", "name", "given", "why"),
    [
        ("docker", "", {}, "name must be"),
        ("docker", "-x", {}, "name must be"),
        ("docker", "../x", {}, "name must be"),
        ("docker", "a" * 64, {}, "name must be"),
        ("docker", "A", {}, "name must be"),
        ("docker", "a\n", {}, "name must be"),
        ("docker", "x", {"imag": "y"}, "the nearest is image"),
        ("docker", "x", {"image": ""}, "image is missing"),
        ("docker", "x", {"image": "--privileged"}, "the name of an image"),
        ("docker", "x", {"image": "a b"}, "the name of an image"),
        ("docker", "x", {"image": "a\n"}, "no line breaks"),
        ("docker", "x", {"env__A": "a\nb"}, "no line breaks"),
        ("docker", "x", {"env__A": "a\u202eb"}, "printable"),
        ("docker", "x", {"env__A": "x" * 1025}, "at most 1024"),
        ("docker", "x", {"env__A B": "x"}, "not the name of a variable"),
        ("docker", "x", {"env__WEFT_TOKEN": "x"}, "is set by weft"),
        ("docker", "x", {"env__weft_target": "x"}, "is set by weft"),
        ("docker", "x", {"env": "x"}, "there is no setting"),
        ("docker", "x", {"label.*": "x"}, "there is no setting"),
        ("docker", "x", {"label__a": "*"}, "without '*'"),
        ("docker", "x", {"replicas": "2"}, "there is no setting"),
        ("docker", "x", {"slots": "many"}, "a number from 1"),
        ("docker", "x", {"cpus": "0.5 --privileged"}, "cores, such as"),
        ("docker", "x", {"network": "--privileged"}, "the name of a network"),
        ("docker", "x", {"program": "worker"}, "MODULE:OBJECT"),
        ("docker", "x", {"program": "w:a", "app": "127.0.0.1:1"}, "either program or app"),
        ("docker", "x", {"target": ""}, "target is missing"),
        ("docker", "x", {"target": "a b"}, "is not an address"),
        ("docker", "x", {"target": "10.0.0.1:7700"}, "set tls_ca"),
        ("docker", "x", {"target": "10.0.0.1:7700", "tls_ca": "/a,readonly=false"}, "without commas"),
        ("docker", "x", {"listen": "0.0.0.0:7701"}, "without a certificate"),
        ("docker", "x", {"tls_pin": "sha256:0"}, "64 hex digits"),
        ("docker", "x", {"tls_pin": f"sha256:{'0' * 64}", "tls_ca": "/ca.pem"}, "leave tls_ca"),
        ("compose", "x", {"replicas": "65"}, "at most 64"),
        ("compose", "x", {"replicas": "0"}, "a number from 1"),
        ("kubernetes", "x", {"namespace": "a/b"}, "the name of a namespace"),
        ("kubernetes", "x", {"tls_ca": "/etc/ca.pem"}, "the name of a ConfigMap"),
        ("kubernetes", "x" * 60, {}, "at most 50"),
        ("process", "x", {}, "say what the agent hosts"),
        ("linux", "x", {}, "say what the agent hosts"),
        ("windows", "x", {"program": "a:b", "env__A": "%PATH%"}, "a percent sign"),
        ("windows", "x", {"program": "a:b", "env__A": '"'}, "a double quote"),
        ("windows", "x", {"program": "a:b", "folder": "C:\\"}, "a backslash"),
        ("windows", "x", {"program": "a:b", "label__a": "b c"}, "a double quote"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, name: str, given: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        rendered(request(kind, name, **given))
    assert why in refused.value.message


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KEYS = st.sampled_from(
    sorted(
        {
            each.name.replace("*", "x")
            for known in known_kinds().values()
            if known.kind
            for each in known_settings(known.kind)
        }
    )
)
LIKELY = st.sampled_from(
    ["", "1", "a", "a:b", "127.0.0.1:1", "h:1,[::1]:2", "unix:/x", "system", "off", "auto", "1e99", "9" * 40]
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(OWN),
    name=st.one_of(st.just("w"), ANY),
    given_=st.dictionaries(st.one_of(KEYS, ANY), st.one_of(LIKELY, ANY), max_size=6),
    scope=st.lists(ANY, max_size=3),
)
def test_any_request_is_rendered_or_refused(
    kind: str, name: str, given_: dict[str, str], scope: list[str]
) -> None:
    asked = request(kind, name, program="a:b")
    asked.settings.update(given_)
    asked.scope.labels.extend(scope)
    try:
        artifact = rendered(asked)
    except InvalidArgument:
        return
    assert TOKEN in artifact.text
    assert "/" not in artifact.file_name
    assert all("\n" not in step for step in artifact.steps)


@pytest.mark.parametrize("kind", OWN)
def test_more_settings_than_are_allowed(kind: str) -> None:
    asked = request(kind)
    asked.settings.update({f"env.A{number}": "x" for number in range(200)})
    with pytest.raises(InvalidArgument, match="at most 128"):
        rendered(asked)


def test_the_token_is_for_these_agents_alone() -> None:
    asked = request("compose", "w", replicas="3", label__zone="eu")
    asked.scope.hosts.append("acme.*")
    kind = known_kinds()["compose"].kind
    assert kind is not None
    spec, token = requested_agent(asked, kind, TOKEN)
    assert spec.ids == ("w-1", "w-2", "w-3")
    assert TOKEN not in repr(spec)
    assert (token.max_uses, list(token.scope.agent_ids), list(token.scope.hosts)) == (
        3,
        list(spec.ids),
        ["acme.*"],
    )
    assert not token.scope.labels
    assert token.scope.namespaces == ["default"]
    asked.namespace = "team-a"
    assert requested_agent(asked, kind, TOKEN).token.scope.namespaces == ["team-a"]
    asked.scope.labels.append("tier=*")
    labels = requested_agent(asked, kind, TOKEN).token.scope.labels
    assert list(labels)[:2] == ["tier=*", "zone=eu"]
    assert "k8s.pod.name=*" in labels


def test_pods_run_with_few_rights_and_know_where_they_are() -> None:
    asked = request(
        "kubernetes",
        "w",
        target="mesh.example:7700",
        tls_ca="weft-ca",
        namespace="work",
        replicas="2",
        app="127.0.0.1:50051",
        app_image="acme/app:2",
        cpu="500m",
        memory="256Mi",
    )
    artifact = rendered(asked)
    stateful_set = provisioned.by_kubernetes(artifact.text)["StatefulSet"]
    assert stateful_set["metadata"]["namespace"] == "work"
    assert stateful_set["spec"]["replicas"] == 2
    pod = stateful_set["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    (run, agent), (_, app) = (provisioned.container(stateful_set, number) for number in (0, 1))
    assert run.words == ["agent", "--app", "127.0.0.1:50051"]
    assert run.variables["K8S_NODE_NAME"] == "spec.nodeName"
    assert run.variables["WEFT_TLS_CA"] == "/etc/weft/ca/ca.pem"
    assert TOKEN not in json.dumps(stateful_set)
    assert agent["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert agent["resources"] == {"limits": {"cpu": "500m", "memory": "256Mi"}}
    assert app["image"] == "acme/app:2"
    assert not artifact.warnings
    assert rendered(request("kubernetes")).warnings


def test_a_container_has_the_certificate_and_few_rights(folder: Path) -> None:
    asked = request(
        "docker", target="mesh.example:7700", tls_ca="/etc/we ft/ca.pem", cpus="0.5", memory="64m"
    )
    run, options = provisioned.by_docker(rendered(asked).text, folder)
    assert run.words == []
    assert run.variables["WEFT_TLS_CA"] == "/etc/weft/ca.pem"
    # Nobody with TLS would call a port without a certificate.
    assert run.variables["WEFT_AGENT_LISTEN"] == "off"
    assert (
        options[options.index("--mount") + 1]
        == "type=bind,source=/etc/we ft/ca.pem,target=/etc/weft/ca.pem,readonly"
    )
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--cpus=0.5", "--memory=64m"} <= set(
        options
    )
    assert not any(TOKEN in word for word in options)
    services = provisioned.by_compose(
        rendered(
            request(
                "compose",
                "w",
                target="mesh.example:7700",
                tls_ca="/ca,x.pem",
                replicas="2",
                cpus="2",
                memory="1g",
            )
        ).text
    )
    assert list(services) == ["w-1", "w-2"]
    assert services["w-2"]["environment"]["WEFT_AGENT_ID"] == "w-2"
    assert services["w-1"]["volumes"][0]["source"] == "/ca,x.pem"


PIN, OTHER_PIN = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ({}, {"WEFT_TLS_PIN": PIN, "WEFT_TLS_JOIN": "a.example:7701,b.example:7701"}),
        ({"tls_join": "c:1"}, {"WEFT_TLS_PIN": PIN, "WEFT_TLS_JOIN": "c:1"}),
        (
            {"tls_pin": OTHER_PIN},
            {"WEFT_TLS_PIN": OTHER_PIN, "WEFT_TLS_JOIN": "a.example:7701,b.example:7701"},
        ),
        ({"tls_ca": "system"}, {"WEFT_AGENT_LISTEN": "off"}),
    ],
)
def test_a_mesh_that_makes_certificates_is_joined_by_its_pin(
    given: dict[str, str], variables: dict[str, str]
) -> None:
    """Without a setting, and with a port for direct calls, since the agent gets a certificate."""
    asked = request("docker", target="a.example:7700,b.example:7700", **given)
    kind = known_kinds()["docker"].kind
    assert kind is not None
    found = requested_agent(asked, kind, TOKEN, MeshJoin(PIN, 7701)).spec.variables
    assert {name: value for name, value in found.items() if name != "WEFT_TARGET"} == variables


def test_a_sidecar_shares_the_network_of_its_app() -> None:
    asked = request("compose", "w", app="127.0.0.1:50051", app_image="acme/app:2")
    services = provisioned.by_compose(rendered(asked).text)
    assert services["w-app"]["network_mode"] == "service:w"
    assert rendered(request("compose", "w", app="127.0.0.1:50051")).warnings


THIRD = """
class Kind:
    name = "rocket"
    description = "Starts it on the moon."
    settings = ()
    most_replicas = 1
    first_number = None
    def render(self, agent):
        from weft.coordinator.provisioning.provision_kind import Artifact
        return Artifact(agent.token, "rocket.txt", ["launch"])

def broken():
    raise RuntimeError("no fuel")
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with a kind that works, one that does not, and one whose name is taken."""
    (tmp_path / "acme_kinds.py").write_text(THIRD)
    info = tmp_path / "acme_kinds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-kinds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[weft.providers]\nrocket = acme_kinds:Kind\nsled = acme_kinds:missing\ndocker = acme_kinds:Kind\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    known_kinds.cache_clear()
    yield
    known_kinds.cache_clear()


class _Careless:
    """A kind that quotes nothing."""

    name = "careless"
    description = "A file of variables."
    settings = ()
    most_replicas = 1
    first_number: int | None = None

    def render(self, agent: AgentSpec) -> Artifact:
        lines = [f"export {name}={value}" for name, value in agent.variables.items()]
        return Artifact("\n".join([*lines, f"export WEFT_TOKEN={agent.token}"]), "x.env", ["source it"])


def test_packages_can_check_their_kinds(folder: Path) -> None:
    compose = known_kinds()["compose"].kind
    assert compose is not None
    check_kind(
        compose,
        lambda text: provisioned.by_compose(text)["worker"]["environment"],
        {"image": "acme/worker:1"},
    )
    with pytest.raises(AssertionError, match="careless: HOSTILE"):
        check_kind(
            _Careless(), lambda text: dict(each.split("=", 1) for each in shlex.split(text) if "=" in each)
        )


@pytest.mark.usefixtures("third_party")
def test_packages_add_kinds() -> None:
    kinds = known_kinds()
    rocket, sled = kinds["rocket"], kinds["sled"]
    assert rocket.kind is not None
    assert (rocket.package, rocket.kind.description) == ("acme-kinds", "Starts it on the moon.")
    assert {"target", "env.*"} <= {each.name for each in known_settings(rocket.kind)}
    assert sled.kind is None
    assert "missing" in sled.problem
    assert kinds["docker"].package == kind_catalogue.OWN_PACKAGE
    asked = provision_pb2.ProvisionAgentRequest(kind="rocket", name="x", settings={"target": "localhost:1"})
    assert rendered(asked).text == TOKEN
