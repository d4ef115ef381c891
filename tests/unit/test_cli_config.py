"""The command and its files: `weft init`, `weft config show`, `--config`, `--profile`, and what each command takes from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.support.command import weft
from weft.cli.main import app
from weft.cli.terminal.failure import Failure
from weft.rpc.process.settings_files import use

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder whose files count, and an environment that is put back."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    del os.environ["WEFT_CONFIG"]
    yield
    use(None)
    os.environ.clear()
    os.environ.update(before)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words, prog_name="weft")


def facts(*words: str) -> dict[str, Any]:
    done = run("config", "show", *words, "--json")
    assert done.exit_code == 0, done.exception
    found: dict[str, Any] = json.loads(done.output)
    return found


def failure(*words: str) -> Failure:
    error = run(*words).exception
    assert isinstance(error, Failure), error
    assert error.status == 2
    return error


def test_init_writes_what_show_reads_and_never_overwrites(tmp_path: Path) -> None:
    assert run("init").exit_code == 0
    text = (tmp_path / "weft.toml").read_text()
    again = run("init").exception
    assert "exists, and is not overwritten" in str(again)
    assert (tmp_path / "weft.toml").read_text() == text
    changed = text.replace("#heartbeat_interval_s = 1.0", "heartbeat_interval_s = 2.5")
    (tmp_path / "weft.toml").write_text(changed)
    assert facts("coordinator")["coordinator"]["heartbeat_interval_s"] == {
        "value": "2.5",
        "source": "weft.toml",
        "place": "weft.toml, [coordinator] heartbeat_interval_s",
    }


def test_show_hides_secrets_and_names_every_source(tmp_path: Path) -> None:
    os.environ["WEFT_STORE_PASSWORD"] = SECRET
    (tmp_path / ".env").write_text("WEFT_MAX_CALLS=9\n")
    (tmp_path / "mesh.toml").write_text(
        f'[coordinator]\nstore = "redis://me:{SECRET}@h:1/0"\n[profile.p.coordinator]\nlisten = "h:2"\n'
    )
    done = run("config", "show", "--config", "mesh.toml", "--profile", "p")
    assert done.exit_code == 0
    assert SECRET not in done.output
    found = facts("--config", "mesh.toml", "--profile", "p")
    assert SECRET not in json.dumps(found)
    assert set(found) >= {"coordinator", "agent", "sidecar", "client", "services.hardware"}
    shown = {name: (fact["value"], fact["place"]) for name, fact in found["coordinator"].items()}
    assert shown["store_password"] == ("(secret)", "WEFT_STORE_PASSWORD")
    assert shown["max_calls"] == ("9", ".env, WEFT_MAX_CALLS")
    assert shown["listen"] == ("h:2", "mesh.toml, [profile.p.coordinator] listen")
    assert shown["store"] == ("redis://h:1/0", "mesh.toml, [coordinator] store")
    assert found["agent"]["id"]["value"] == "(chosen at the start)"


def test_client_commands_take_their_settings(tmp_path: Path) -> None:
    (tmp_path / "weft.toml").write_text('[client]\ntarget = "a:1"\ntls_ca = "pki/ca.pem"\nuse_proxy = true\n')
    # Its options are read with the files' values; then a task id is missing.
    assert run("tasks", "get").exit_code == 2
    assert os.environ["WEFT_TARGET"] == "a:1"
    assert os.environ["WEFT_TLS_CA"] == "pki/ca.pem"
    assert os.environ["WEFT_USE_PROXY"] == "true"
    os.environ["WEFT_TARGET"] = "b:1"
    assert run("tasks", "get").exit_code == 2
    assert os.environ["WEFT_TARGET"] == "b:1"


def test_processes_do_not_take_the_clients_settings(tmp_path: Path) -> None:
    (tmp_path / "weft.toml").write_text('[client]\ntarget = "a:1"\n')
    assert run("agent", "--reload").exit_code == 2
    assert "WEFT_TARGET" not in os.environ


@pytest.mark.parametrize(
    ("toml", "dotenv", "words", "message"),
    [
        ("[agnet]\n", "", ("tasks", "list"), "no table [agnet]; the nearest is agent"),
        (
            "",
            "WEFT_TRGET=1\n",
            ("tasks", "list"),
            ".env: no setting is named WEFT_TRGET; did you mean WEFT_TARGET?",
        ),
        (
            "",
            "WEFT_TRGET=1\n",
            ("coordinator",),
            ".env: no setting is named WEFT_TRGET; did you mean WEFT_TARGET?",
        ),
        ("[agent]\n", "", ("up", "--profile", "x"), "no profile 'x'"),
        ("[agent]\n", "", ("agent", "a:b", "--config", "x.toml"), "cannot read x.toml"),
        ("[client]\ntarget = 1\n", "", ("tasks", "list"), "bad settings of the client"),
        ("[coordinator]\nlisen = 1\n", "", ("coordinator",), "bad settings"),
        ("[agent]\nslotz = 1\n", "", ("config", "show", "agent"), "bad settings of the agent"),
    ],
)
def test_a_wrong_file_stops_the_command(
    tmp_path: Path, toml: str, dotenv: str, words: tuple[str, ...], message: str
) -> None:
    if toml:
        (tmp_path / "weft.toml").write_text(toml)
    if dotenv:
        (tmp_path / ".env").write_text(dotenv)
    assert message in str(failure(*words))


def test_files_that_are_off_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "weft.toml").write_text("[agnet]\n")
    assert "(chosen at the start)" in run("config", "show", "--config", "off").output
    assert run("tasks", "list", "--help").exit_code == 0


async def test_the_failure_is_a_line_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "weft.toml").write_text("[coordinator]\nlisten = 7700\nlog_levle = 1\n")
    done = await weft("coordinator", env={"WEFT_CONFIG": ""}, cwd=tmp_path)
    assert done.status == 2
    assert done.err.splitlines() == [
        "weft: bad settings",
        "  listen: 7700 is not text (weft.toml, [coordinator] listen)",
        "  log_levle: there is no such setting; the nearest is log_level (weft.toml, [coordinator] log_levle)",
    ]
