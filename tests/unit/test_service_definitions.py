"""Services of the operating system: each definition is read by the system's own program, or by the reader of its format."""

from __future__ import annotations

import os
import plistlib
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import layout
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support import provisioned, systemd
from tests.support.provision_requests import HOSTILE, ODD, rendered, request
from weft.cli.main import app
from weft.cli.service.launchd_plist import LaunchdPlist
from weft.cli.service.service_spec import ServiceSpec
from weft.cli.service.systemd_unit import SystemdUnit
from weft.cli.service.windows_service import WindowsService
from weft.cli.terminal.failure import Failure

HOME = Path("/home/somebody")


def spec(
    words: Sequence[str] = ("agent", "a:b"), variables: dict[str, str] | None = None, **more: object
) -> ServiceSpec:
    return ServiceSpec("w-1", ["/usr/bin/env"], words, variables or {}, **more)  # type: ignore[arg-type]


SPECS = {
    "agent": spec(token_file="/etc/weft/w.token"),
    "coordinator": spec(("coordinator", "--listen", "127.0.0.1:7700"), watchdog_s=0),
    "folder and user": spec(folder="/srv/a+b@c", run_as="daemon"),
    "hostile": spec(("agent", *HOSTILE), {f"ODD_{number}": value for number, value in enumerate(HOSTILE)}),
}


@pytest.mark.skipif(not systemd.can_verify, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", SPECS)
def test_systemd_finds_no_fault_in_units(tmp_path: Path, name: str) -> None:
    unit = tmp_path / "weft-w-1.service"
    unit.write_text(SystemdUnit(SPECS[name], HOME).text)
    systemd.verify(unit)
    assert systemd.exposure(unit) <= 2.5


@pytest.mark.skipif(not systemd.can_verify, reason="needs systemd-analyze")
def test_systemd_finds_no_fault_in_a_user_s_unit(tmp_path: Path) -> None:
    unit = tmp_path / "weft-w-1.service"
    unit.write_text(SystemdUnit(spec(for_user=True, token_file="/srv/t", folder="/srv"), HOME).text)
    systemd.verify(unit, "--user")


@pytest.mark.skipif(not systemd.can_verify, reason="needs systemd-analyze")
def test_systemd_finds_no_fault_in_the_units_of_the_guide(tmp_path: Path) -> None:
    """The socket that keeps a coordinator's port, and the proxy behind it."""
    guide = (layout.ROOT / "docs/deploy/operating-systems.md").read_text()
    named = re.findall(r"`/etc/systemd/system/(\S+)` [^\n]*\n\n```ini\n(.*?)```", guide, re.DOTALL)
    assert [name for name, _ in named] == ["weft-mesh-port.socket", "weft-mesh-port.service"]
    (tmp_path / "weft-mesh.service").write_text(SystemdUnit(SPECS["coordinator"], HOME).text)
    for name, text in named:
        (tmp_path / name).write_text(text)
    for name, _ in named:
        systemd.verify(tmp_path / name)
    assert systemd.exposure(tmp_path / "weft-mesh-port.service") <= 3.0


@pytest.mark.skipif(not systemd.can_read, reason="needs systemd, and to be root")
def test_systemd_reads_hostile_values_as_they_are() -> None:
    words = ["agent", *HOSTILE, "漢 é 😀", "$", "$$", "${A}", "%%", ";", "", "a\\ b", "\\x41"]
    variables = {f"ODD_{number}": value for number, value in enumerate(words)}
    found = systemd.read(SystemdUnit(spec(words, variables, for_user=True), HOME).text, "weft-w-1.service")
    assert found.words == ["/usr/bin/env", *words]
    assert found.variables == variables


@given(words=st.lists(ODD, max_size=6), value=ODD)
def test_launchd_and_windows_read_any_value_as_it_is(words: list[str], value: str) -> None:
    words = ["agent", *words]
    read = plistlib.loads(LaunchdPlist(spec(words, {"ODD": value}, token_file="/t"), HOME).text.encode())
    assert read["ProgramArguments"] == ["/usr/bin/env", *words]
    assert read["EnvironmentVariables"] == {"ODD": value, "WEFT_TOKEN_FILE": "/t"}
    if "%" in "".join((value, *words)):
        with pytest.raises(Failure, match="percent sign"):
            WindowsService(spec(words, {"ODD": value}))
        return
    root = ET.fromstring(WindowsService(spec(words, {"ODD": value}, folder="C:\\x y")).text)
    assert windows_words(root.findtext("arguments", "")) == words
    assert {each.get("name"): each.get("value") for each in root.iter("env")} == {"ODD": value}
    assert root.findtext("workingdirectory") == "C:\\x y"


def windows_words(text: str) -> list[str]:
    """As C programs on Windows take their command line apart (CommandLineToArgvW)."""
    words: list[str] = []
    place, word, inside, began = 0, "", False, False
    while place < len(text):
        char = text[place]
        if char == "\\":
            run = len(text[place:]) - len(text[place:].lstrip("\\"))
            place += run
            quote = text[place : place + 1] == '"'
            word += "\\" * (run // 2 if quote else run)
            began = True
            if quote and run % 2:
                word += '"'
                place += 1
        elif char == '"':
            inside, began, place = not inside, True, place + 1
        elif char in " \t" and not inside:
            if began:
                words.append(word)
            word, began, place = "", False, place + 1
        else:
            word, began, place = word + char, True, place + 1
    return [*words, word] if began else words


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"name": "../x"}, "is not a name"),
        ({"name": "a\nb"}, "is not a name"),
        ({"words": []}, "after --"),
        ({"words": ["rm", "-rf"]}, "after --"),
        ({"words": ["coordinator"], "watchdog_s": 19}, "at least 20 s"),
        ({"words": ["agent", "a\nExecStartPre=/bin/x"]}, "not printable"),
        ({"variables": {"A B": "x"}}, "not the name of a variable"),
        ({"variables": {"A": "x\n[Service]"}}, "not printable"),
        ({"variables": {"WEFT_TOKEN": "weft_x"}}, "readable for everybody"),
        ({"folder": "relative"}, "an absolute path"),
        ({"folder": "/a b"}, "an absolute path"),
        ({"folder": "/a%n"}, "an absolute path"),
        ({"folder": "/a/../etc"}, "an absolute path"),
        ({"token_file": "/t:u"}, "an absolute path"),
        ({"weft": ["-/bin/weft"]}, "an absolute path"),
        ({"weft": ["/root/weft"]}, "home of a user"),
        ({"folder": "/home/ada/x"}, "home of a user"),
        ({"run_as": "root; x"}, "not the name of a user"),
    ],
)
def test_what_a_unit_cannot_have_is_refused(changed: dict[str, object], why: str) -> None:
    given: dict[str, object] = {"name": "w", "weft": ["/usr/bin/weft"], "words": ["agent", "a:b"]} | changed
    with pytest.raises(Failure) as refused:
        _ = SystemdUnit(ServiceSpec(**given), HOME).text  # type: ignore[arg-type]
    assert why in " ".join((str(refused.value), *refused.value.hints))


@pytest.mark.parametrize(("kind", "etc"), [("linux", "/etc/weft"), ("macos", "/usr/local/etc/weft")])
def test_what_is_provisioned_becomes_a_service(tmp_path: Path, kind: str, etc: str) -> None:
    """From the RPC's text through a shell and the command to the system's own reader."""
    asked = request(kind, program="acme.worker:agent", label__zone="a b", env__ODD=HOSTILE[4])
    script = rendered(asked).text.replace(etc, str(tmp_path))
    words = provisioned.by_shell(script, "weft", tmp_path).words
    token = tmp_path / "worker-1.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    at = words.index("--")
    options = [word for word in words[:at] if not word.startswith("--weft=")]
    made = CliRunner().invoke(
        app, [*options, "--weft=/usr/bin/env", "--dry-run", f"--system={kind}", "--user", *words[at:]]
    )
    assert made.exit_code == 0, made.output
    wanted = {
        "WEFT_TARGET": "127.0.0.1:7700",
        "WEFT_AGENT_ID": "worker-1",
        "WEFT_AGENT_LABELS": '{"zone": "a b"}',
        "WEFT_TOKEN_FILE": str(token),
        "ODD": HOSTILE[4],
    }
    run = ["/usr/bin/env", "agent", "acme.worker:agent"]
    if kind == "macos":
        read = plistlib.loads(made.stdout.encode())
        assert (read["ProgramArguments"], read["EnvironmentVariables"]) == (run, wanted)
    elif systemd.can_read:
        assert systemd.read(made.stdout, "weft-w-1.service") == (run, wanted)


def test_a_service_is_installed_and_removed(tmp_path: Path) -> None:
    """A recorder stands in for systemctl, which needs systemd as the first process."""
    (systemctl := tmp_path / "systemctl").write_text('#!/bin/sh\necho "$*" >> "$CALLS"\n')
    systemctl.chmod(0o755)
    calls = tmp_path / "calls"
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "CALLS": str(calls)}
    unit = tmp_path / ".config/systemd/user/weft-w.service"

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["service", words[0], "--name", "w", "--user", *words[1:]], env=env)
        if isinstance(failure := done.exception, Failure):
            return failure.status, " ".join((str(failure), *failure.hints))
        return done.exit_code, done.output

    assert (run("status"))[0] == 4
    status, told = run("install", "--", "agent", "a:b")
    assert (status, told.strip()) == (0, str(unit))
    assert "ExecStart=/" in unit.read_text()
    status, told = run("install", "--", "agent", "c:d")
    assert status == 1
    assert "--replace" in told
    assert (run("install", "--replace", "--", "agent", "c:d"))[0] == 0
    assert '"c:d"' in unit.read_text()
    assert (run("status"))[0] == 0
    assert (run("uninstall"))[0] == 0
    assert not unit.exists()
    assert (run("uninstall"))[0] == 1
    assert calls.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now weft-w.service",
        "--user disable --now weft-w.service",
        "--user daemon-reload",
        "--user enable --now weft-w.service",
        "--user status --no-pager weft-w.service",
        "--user disable --now weft-w.service",
        "--user daemon-reload",
    ]
    systemctl.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    status, told = run("install", "--", "agent", "a:b")
    assert status == 1
    assert "no bus" in told
    assert not unit.exists()
