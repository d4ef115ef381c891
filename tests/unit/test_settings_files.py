"""Settings from weft.toml, .env and profiles: what comes first, where a value came from, and what is refused."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from weft.agent import Agent
from weft.agent.errors import SettingsError
from weft.agent.settings import AgentSettings
from weft.agent.sidecar.sidecar_settings import SidecarAgentSettings, SidecarSettings
from weft.cli.configuration.known_models import known_models
from weft.cli.configuration.settings_template import template
from weft.cli.process.client_settings import ClientSettings
from weft.coordinator.settings import CoordinatorSettings
from weft.rpc.process.file_settings import FileSettings
from weft.rpc.process.settings_files import TABLES, SettingsFileFault, SettingsFiles, find, use


@pytest.fixture(autouse=True)
def _no_files_afterwards() -> Iterator[None]:
    yield
    use(None)


def _use(folder: Path, toml: str = "", dotenv: str = "", **environment: str) -> SettingsFiles | None:
    if toml:
        (folder / "weft.toml").write_text(toml)
    if dotenv:
        (folder / ".env").write_text(dotenv)
    files = find(folder, environment)
    use(files)
    return files


@pytest.mark.parametrize("present", range(6))
def test_what_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: int) -> None:
    """The first `present` of: default, table, profile, .env, environment, argument. The last of them counts."""
    toml = "[agent]\nslots = 11\n" if present >= 1 else ""
    toml += "[profile.prod.agent]\nslots = 12\n" if present >= 2 else ""
    dotenv = "WEFT_AGENT_SLOTS=13\n" if present >= 3 else ""
    if present >= 4:
        monkeypatch.setenv("WEFT_AGENT_SLOTS", "14")
    _use(tmp_path, toml, dotenv, **({"WEFT_PROFILE": "prod"} if present >= 2 else {}))
    given = {"slots": 15} if present >= 5 else {}
    assert (
        AgentSettings(**given).slots == (AgentSettings.model_construct().slots, 11, 12, 13, 14, 15)[present]
    )
    source = ("default", "weft.toml", "weft.toml", ".env", "environment", "environment")[present]
    assert AgentSettings.origin("slots").source == source


def test_the_place_of_a_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = '[client]\ntarget = "a:1"\n[agent]\nprefetch = 3\n[profile.p.agent]\nslots = 1\n'
    _use(tmp_path, toml, "export WEFT_TLS_CA='ca.pem'  # by hand\nOTHER=1", WEFT_PROFILE="p")
    monkeypatch.setenv("weft_use_proxy", "1")
    places = {
        name: str(AgentSettings.origin(name)) for name in ("prefetch", "slots", "tls_ca", "use_proxy", "id")
    }
    assert places == {
        "prefetch": f"{tmp_path}/weft.toml, [agent] prefetch",
        "slots": f"{tmp_path}/weft.toml, [profile.p.agent] slots",
        "tls_ca": f"{tmp_path}/.env, WEFT_TLS_CA",
        "use_proxy": "environment WEFT_USE_PROXY",
        "id": "default",
    }
    assert AgentSettings().tls_ca == "ca.pem"
    assert AgentSettings().target == ("127.0.0.1:7700",)
    assert ClientSettings().target == "a:1"
    assert ClientSettings().tls_ca == "ca.pem"


def test_a_sidecar_has_two_tables(tmp_path: Path) -> None:
    _use(tmp_path, '[agent]\nslots = 3\n[sidecar]\napp = "127.0.0.1:50051"\ndurable = ["a.B/C", "a.D"]\n')
    assert SidecarAgentSettings().slots == 3
    assert SidecarSettings().durable == ("a.B/C", "a.D")


def test_mappings_and_lists_are_whole_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = '[agent]\ntarget = ["a:1", "b:2"]\nlabels = {zone = "eu"}\nresources = {gpu = 1}\n'
    _use(tmp_path, toml + '[profile.p.agent.labels]\ntier = "a"\n', WEFT_PROFILE="p")
    assert AgentSettings().target == ("a:1", "b:2")
    assert AgentSettings().labels == {"tier": "a"}
    assert AgentSettings(labels={"x": "y"}).labels == {"x": "y"}
    monkeypatch.setenv("WEFT_AGENT_LABELS", "from=env")
    assert AgentSettings().labels == {"from": "env"}
    assert Agent(labels={"in": "code"}, target="c:3").settings.target == ("c:3",)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    toml = """
    [coordinator]
    store = "data/weft.db"
    listen = "unix:run/weft.sock"
    address_file = "/run/address"
    tls_cert = "pki/c.pem"
    tls_key = "../k.pem"
    tls_ca = "system"
    [sidecar]
    descriptors = "app.binpb"
    """
    (tmp_path / "etc" / "mesh.toml").write_text(toml)
    _use(tmp_path, WEFT_CONFIG="etc/mesh.toml")
    found = CoordinatorSettings()
    etc = tmp_path / "etc"
    assert (found.store, found.listen) == (f"{etc}/data/weft.db", f"unix:{etc}/run/weft.sock")
    assert (found.tls_cert, found.tls_key, found.tls_ca) == (f"{etc}/pki/c.pem", f"{etc}/../k.pem", "system")
    assert found.address_file == Path("/run/address")
    assert SidecarSettings().descriptors == etc / "app.binpb"
    (etc / "mesh.toml").write_text('[coordinator]\nstore = "redis://h/0"\n')
    _use(tmp_path, WEFT_CONFIG="etc/mesh.toml")
    assert CoordinatorSettings().store == "redis://h/0"


@pytest.mark.parametrize(
    ("toml", "environment", "message"),
    [
        ("[agent\n", {}, "is not TOML: .*line 1.*correct it there"),
        ("[agnet]\nslots = 1\n", {}, r"no table \[agnet\]; the nearest is agent"),
        ("slots = 1\n", {}, r"no key slots; settings are in the tables \[coordinator\]"),
        ("agent = 1\n", {}, r"agent is not a table: write \[agent\]"),
        ("profile = 1\n", {}, "profile is not a table"),
        ("[profile]\nprod = 1\n", {}, "profile.prod is not a table"),
        ("[profile.prod]\nagent = 1\n", {}, "profile.prod.agent is not a table"),
        ("[profile.prod.agnet]\n", {}, r"no table \[profile.prod.agnet\]; the nearest is agent"),
        (
            "[profile.prod.agent]\n",
            {"WEFT_PROFILE": "prdo"},
            "no profile 'prdo'; the nearest is prod; it has prod",
        ),
        ("[agent]\n", {"WEFT_PROFILE": "prod"}, r"no profile 'prod'; it has no table \[profile.NAME\]"),
        ("", {"WEFT_PROFILE": "prod"}, "no file for the profile 'prod'.*weft init"),
        ("", {"WEFT_CONFIG": "gone.toml"}, "cannot read .*gone.toml: No such file"),
        ("", {"WEFT_CONFIG": "."}, "cannot read .*: Is a directory"),
        ("#" * (1024 * 1024 + 1), {}, "it is no file of settings"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, toml: str, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsFileFault, match=message):
        _use(tmp_path, toml, **environment)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "weft.toml").write_bytes(b'[agent]\nid = "\xff"\n')
    with pytest.raises(SettingsFileFault, match="is not UTF-8 text, at byte 14"):
        find(tmp_path, {})
    (tmp_path / "weft.toml").unlink()
    (tmp_path / ".env").write_bytes(b"WEFT_TARGET=\xff\n")
    with pytest.raises(SettingsFileFault, match="is not UTF-8 text, at byte 12"):
        find(tmp_path, {})


@pytest.mark.parametrize(
    ("model", "toml", "line"),
    [
        (
            AgentSettings,
            "slotz = 1",
            "slotz: there is no such setting; the nearest is slots (FILE, [agent] slotz)",
        ),
        (AgentSettings, "slots = 0", "slots: 0 is not a whole number from 1 to 100000 (FILE, [agent] slots)"),
        (AgentSettings, "target = 1", "target: 1 is not a target"),
        (AgentSettings, "labels = {a = 1}", "labels: a: 1 is not text (FILE, [agent] labels)"),
        (CoordinatorSettings, "listen = 7700", "listen: 7700 is not text (FILE, [coordinator] listen)"),
        (CoordinatorSettings, "store = [1]", "store: the value is not text (FILE, [coordinator] store)"),
        (CoordinatorSettings, 'tls_cert = "c"', "tls_cert: there is no key"),
        (SidecarSettings, 'egress = "x"', "(FILE, [sidecar] egress)"),
        (ClientSettings, 'target = ""', "(FILE, [client] target)"),
        (ClientSettings, "use_proxy = 3", "use_proxy: 3 is not true or false (FILE, [client] use_proxy)"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(
    tmp_path: Path, model: type[FileSettings], toml: str, line: str
) -> None:
    _use(tmp_path, f"[{model.table}]\n{toml}\n")
    with pytest.raises(ValidationError) as caught:
        model()
    (fault,) = model.faults(caught.value, {})
    shown = str(fault).replace(str(tmp_path / "weft.toml"), "FILE")
    assert line in shown
    assert f"(FILE, [{model.table}] {toml.partition(' ')[0]})" in shown


def test_an_agent_of_a_program_names_the_file(tmp_path: Path) -> None:
    _use(tmp_path, "", "WEFT_AGENT_SLOTS=many\n")
    with pytest.raises(SettingsError, match=r"slots: 'many' is not .*\.env, WEFT_AGENT_SLOTS\)"):
        Agent()
    with pytest.raises(SettingsError, match=r"to 100000$"):
        Agent(slots=0)


def test_dotenv_of_other_programs(tmp_path: Path) -> None:
    assert _use(tmp_path, "", "DATABASE_URL=x\nthis is no line\n") is None
    assert _use(tmp_path, "", "this is no line\nWEFT_TARGET=a:1\nDEBUG=1\n") is not None
    assert ClientSettings().target == "a:1"
    (tmp_path / ".env").write_text("OTHER=1\nWEFT_TARGET a:1\n")
    with pytest.raises(SettingsFileFault, match=r"\.env, line 2: it is not NAME=VALUE"):
        find(tmp_path, {})


def test_dotenv_may_choose_file_and_profile(tmp_path: Path) -> None:
    (tmp_path / "mesh.toml").write_text("[profile.p.agent]\nslots = 7\n")
    _use(tmp_path, "", "WEFT_CONFIG=mesh.toml\nWEFT_PROFILE=p\n")
    assert AgentSettings().slots == 7


def test_no_files_and_files_that_are_off(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    assert find(tmp_path, {}) is None
    (tmp_path / ".env").mkdir()
    assert find(tmp_path, {}) is None
    assert _use(tmp_path, "[agent\n", WEFT_CONFIG="off") is None


def test_a_program_reads_no_files_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weft.toml").write_text("[agent]\nslots = 7\n")
    (tmp_path / ".env").write_text("WEFT_AGENT_PREFETCH=7\n")
    monkeypatch.chdir(tmp_path)
    assert (Agent().settings.slots, Agent().settings.prefetch) != (7, 7)


def test_every_table_has_a_model_and_every_path_is_known_as_one() -> None:
    models = known_models()
    assert tuple(table for table in models if not table.startswith("services.")) == TABLES
    for table, model in models.items():
        assert model.table == table
        paths = {
            name
            for name, field in model.model_fields.items()
            if "file of " in (field.description or "")
            or (field.description or "").startswith(("path ", "file "))
        }
        for name in paths:
            kind = model.model_fields[name].annotation
            known = Path in (kind, *get_args(kind)) or name in model.paths
            assert known or name.endswith(("_ca", "_cert", "_key", "_file")), f"{table}.{name}"


def test_the_template_says_what_holds(tmp_path: Path) -> None:
    """Every setting is in it; with the # of every default removed, nothing changes."""
    models = known_models()
    text = template(models)
    services = {table.partition(".")[2]: {} for table in models if table.startswith("services.")}
    assert tomllib.loads(text) == {table: {} for table in TABLES} | {"services": services}
    lines = text.splitlines()
    for model in models.values():
        for name in model.model_fields:
            assert [line for line in lines if line.startswith(f"#{name} =")], name
    shown = [
        line[1:] if line.startswith("#") and line[1:2].isalpha() and line[-1] != "=" else line
        for line in lines
    ]
    (tmp_path / "full").mkdir()
    # An own folder has other paths: the store's default is a path.
    _use(tmp_path / "full", "\n".join(shown))
    for model in models.values():
        with_file: dict[str, Any] = model().model_dump()
        sources = {model.origin(name).source for name in model.model_fields}
        assert "weft.toml" in sources
        use(None)
        without = model().model_dump()
        _use(tmp_path / "full")
        for drawn in ("id", "store"):
            with_file.pop(drawn, None)
            without.pop(drawn, None)
        assert with_file == without


def test_the_tests_themselves_have_no_files() -> None:
    assert os.environ["WEFT_CONFIG"] == "off"
