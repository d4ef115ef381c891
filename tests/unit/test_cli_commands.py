"""The command line without a coordinator: help, options, and how failures are told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from google.rpc import error_details_pb2
from typer.testing import CliRunner

from tests.support.command import weft
from tests.support.processes import environment
from weft.cli.command_line import inputs
from weft.cli.command_line.shared_options import pairs
from weft.cli.command_line.task_options import TaskOptions
from weft.cli.commands.up_command import readable
from weft.cli.main import app
from weft.cli.process.unread_variables import known_variables, warnings
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.failures import explain
from weft.client import Unreachable
from weft.rpc.errors import InvalidArgument, from_status, make_status
from weft.rpc.process.extras import install_command

COMMANDS = [
    "up",
    "coordinator",
    "agent",
    "call",
    "submit",
    "tasks",
    "agents",
    "queues",
    "schedules",
    "groups",
    "demo",
    "bench",
    "version",
]
NOBODY = "127.0.0.1:1"


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\n"
        "from weft.cli.main import app\n"
        "with contextlib.suppress(SystemExit): app(['--help'])\n"
        "heavy = {'grpc', 'google.protobuf', 'pydantic', 'rich', 'asyncio'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("needed", ["weft.coordinator.server", "weft.agent", "weft.client"])
def test_what_only_terminals_and_programs_need_is_not_loaded(needed: str) -> None:
    """Many processes of weft start often: with structlog, and what it loads for terminals, each took an eighth longer."""
    code = f"import sys, {needed}; print([n for n in ('structlog', 'rich', 'typer') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("variables", [{}, {"WEFT_AGENT_SLOTS": "2"}], ids=["plain", "with variables"])
@pytest.mark.parametrize("command", ["coordinator", "agent"])
def test_how_grpc_polls_is_settled_before_it_is_loaded(command: str, variables: dict[str, str]) -> None:
    """gRPC reads the variables once; see decision 0010. The target is checked before the command's own code runs, and the names of
    variables are checked first of all."""
    code = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'grpc':\n"
        "            print(os.environ.get('GRPC_EXPERIMENTS'))\n"
        "            os._exit(0)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from weft.cli.main import main\n"
        f"sys.argv[1:] = {[command, *(['--target', 'a:1', 'm:o'] if command == 'agent' else ['--store', 'x.db'])]!r}\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", code],
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "-event_engine_client" in done.stdout, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_a_wrong_command_is_told_the_near_ones() -> None:
    result = CliRunner().invoke(app, ["task"])
    assert result.exit_code == 2
    assert "tasks" in result.output


@pytest.mark.parametrize(
    "args",
    [
        ("call", "a.B/C", "{}"),
        ("agents", "list", "--json"),
    ],
)
async def test_no_coordinator(args: tuple[str, ...]) -> None:
    done = await weft(*args, target=NOBODY)
    assert done.status == 1
    assert done.out == ""
    assert f"no coordinator answers at {NOBODY}" in done.err
    assert "--target" in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--direct", "--detach", "--priority", "3"), "--detach, --priority: for durable calls"),
        (("--explain", "--require", "a=b"), "--require: for durable calls"),
        (("--policy", "weighted"), "add --direct or --explain"),
        (("--direct", "--policy", "best"), "the policies are least_connections, round_robin, weighted"),
    ],
)
def test_options_of_a_call_that_do_not_go_together(args: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(app, ["call", "a.B/C", "{}", "--target", NOBODY, *args])
    said = " ".join(f"{result.output} {result.exception}".replace("│", "").split())
    assert words in said
    assert getattr(result.exception, "status", result.exit_code) == 2


@pytest.mark.parametrize("words", [("call",), ("submit",), ("schedules", "create")], ids=" ".join)
def test_commands_have_all_options_of_tasks_under_their_names(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"]).output
    given = TaskOptions(**dict.fromkeys(each.name for each in fields(TaskOptions)) | {"no_wait": True})
    assert given.given() == ["--no-wait"]
    for each in fields(TaskOptions):
        option = f"--{each.name.replace('_', '-')}"
        assert f"\n  {option} " in shown
        if each.name not in {"metadata", "session", "session_mode", "session_ttl_s"}:
            assert TaskOptions(**{each.name: 0}).given() == [option], "0 is a value too"


async def test_an_agent_that_is_none(tmp_path: Path) -> None:
    done = await weft("agent", "nowhere.at_all:agent", cwd=tmp_path)
    assert done.status == 2
    assert "there is no module 'nowhere'" in done.err
    done = await weft("agent", "json:dumps_nothing", cwd=tmp_path)
    assert done.status == 2
    assert "json has no 'dumps_nothing'" in done.err


async def test_bad_settings_of_a_coordinator(tmp_path: Path) -> None:
    done = await weft("coordinator", "--listen", "here", "--durability", "maybe", cwd=tmp_path)
    assert done.status == 2
    assert "listen: 'here' is not HOST:PORT" in done.err
    assert "durability" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "env", "words"),
    [
        (
            ("coordinator", "--durability", "fast"),
            {},
            "durability: 'fast' is not possible. The embedded store has process or full",
        ),
        (("coordinator",), {"WEFT_RESULT_TTL_S": "soon"}, "result_ttl_s: "),
        (("coordinator",), {"WEFT_LOG_LEVEL": "loud"}, "log_level: "),
        (("agent", "json:dumps"), {"WEFT_AGENT_SLOTS": "many"}, "agent setting slots"),
        (("agent", "json:dumps", "--log-level", "loud"), {}, "'loud' is not one of"),
        (("agent", "--app", "here"), {}, "sidecar setting app"),
        (("agent", "--app", "127.0.0.1:1", "--slots", "-1"), {}, "agent setting slots"),
        (("up", "-n", "0", "--listen", "here"), {}, "listen: 'here' is not HOST:PORT"),
        (("up", "-n", "0", "--listen", "127.0.0.1:0"), {"WEFT_MAX_AGENTS": "-1"}, "max_agents: "),
        (("tasks", "list"), {"WEFT_TARGET": "a:b:c"}, "--target"),
        (("call", "a.B/C"), {"WEFT_TARGET": "a:99999"}, "--target"),
    ],
    ids=range(11),
)
async def test_bad_settings_are_exit_status_2_everywhere(
    tmp_path: Path, args: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    (tmp_path / "program.py").write_text("from weft.agent import Agent\nagent = Agent()\n")
    if "json:dumps" in args:
        args = tuple("program:agent" if arg == "json:dumps" else arg for arg in args)
    done = await weft(*args, env=env, cwd=tmp_path)
    assert done.status == 2, done
    assert words in done.err + done.out
    assert ": :" not in done.err
    assert "  :" not in done.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WEFT_RESULT_TTL", "did you mean WEFT_RESULT_TTL_S?"),
        ("WEFT_AGENT_SLOT", "did you mean WEFT_AGENT_SLOTS?"),
        ("WEFT_TARGETS", "did you mean WEFT_TARGET?"),
        ("WEFT_COLOUR_OF_THE_SKY", "docs/settings.md lists all variables"),
    ],
)
async def test_a_misspelt_variable_is_told(name: str, hint: str) -> None:
    assert [*warnings({name: "1", "WEFT_TARGET": "x", "PATH": ""})] == [
        f"weft: warning: no setting is named {name}, so it does nothing; {hint}"
    ]


async def test_the_warning_goes_to_stderr_and_changes_nothing_else() -> None:
    done = await weft("version", env={"WEFT_STOER": "x"})
    assert done.status == 0
    assert done.out.startswith("weft ")
    assert "did you mean WEFT_STORE?" in done.err


def test_variables_that_are_read_or_not_ours_are_no_reason_to_warn() -> None:
    cluster = (
        "WEFT_SERVICE_HOST",
        "WEFT_SERVICE_PORT_GRPC",
        "WEFT_PORT_7700_TCP_ADDR",
        "WEFT_COORDINATOR_PORT",
    )
    assert not [*warnings(dict.fromkeys([*known_variables(), *cluster, "WEFTY"], "1"))]


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("no-such-host.invalid:0", "the host 'no-such-host.invalid' is not known"),
        ("192.0.2.1:0", "it is not an address of this machine"),
        ("unix:/no/such/folder/socket", "the folder /no/such does not exist: make it first"),
    ],
)
async def test_why_an_address_cannot_be_listened_on(tmp_path: Path, listen: str, words: str) -> None:
    done, conformance = await asyncio.gather(
        weft("coordinator", "--insecure", "--listen", listen, cwd=tmp_path),
        weft("conformance", "--listen", listen),
    )
    assert done.status == 1
    assert conformance.status == 2
    for each in (done, conformance):
        assert f"cannot listen on {listen}: {words}" in each.err
        # Beside the log's line about the open port.
        assert len([line for line in each.err.splitlines() if not line.startswith("{")]) == 1


def test_how_to_install_what_is_missing() -> None:
    command = install_command("coordinator")
    assert command.startswith("pip install '")
    assert "'grpcio-health-checking" in command
    assert "'msgpack" in command
    assert "'redis[hiredis]" in command
    assert "watchfiles" in install_command("reload")


async def test_a_store_that_is_none(tmp_path: Path) -> None:
    store = tmp_path / "weft.db"
    store.write_text("Dear diary, this is no database at all. " * 100)
    done = await weft("coordinator", "--listen", "127.0.0.1:0", "--store", str(store))
    assert done.status == 1
    assert str(store) in done.err
    assert len(done.err.splitlines()) == 1


def test_key_value_options() -> None:
    assert pairs(["a=1", "b=x=y", "c="], "--label") == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(typer.BadParameter, match="KEY=VALUE"):
        pairs(["a"], "--label")
    assert inputs.requirements(["zone=eu", "gpu>=1.5"]) == ({"zone": "eu"}, {"gpu": 1.5})
    with pytest.raises(typer.BadParameter, match="not a number"):
        inputs.requirements(["gpu>=many"])


def test_texts_from_files(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"a": 1}\n\n{"a": 2}\n')
    assert list(inputs.read_lines(f"@{file}")) == [(1, '{"a": 1}'), (3, '{"a": 2}')]
    with pytest.raises(Failure, match="cannot read"):
        inputs.read_text("@/no/such/file")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0031, "3 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (60, "1 m"),
        (5400, "1.5 h"),
        (172800, "2 d"),
        (-1, "0 ms"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert moments.span(seconds) == text


def test_since_between_and_sizes() -> None:
    now = datetime.now(UTC)
    assert moments.since(now - timedelta(seconds=90), now) == "1.5 m"
    assert moments.since(None) == ""
    assert moments.between(now, now + timedelta(milliseconds=12)) == "12 ms"
    assert [moments.size(n) for n in (0, 512, 1536, 5 * 2**20, 3 * 2**40)] == [
        "0 B",
        "512 B",
        "1.5 KiB",
        "5.0 MiB",
        "3072.0 GiB",
    ]


def test_how_failures_are_told() -> None:
    received = from_status(
        make_status(
            InvalidArgument.code,
            "the year is in the future",
            [
                error_details_pb2.ErrorInfo(reason="YEAR", domain="acme", metadata={"year": "3000"}),
                error_details_pb2.BadRequest(
                    field_violations=[
                        error_details_pb2.BadRequest.FieldViolation(field="year", description="too large"),
                        error_details_pb2.BadRequest.FieldViolation(
                            field="name", description="is empty", reason="string.min_len"
                        ),
                        error_details_pb2.BadRequest.FieldViolation(description="both", reason="one_of"),
                        # These say what the message says.
                        error_details_pb2.BadRequest.FieldViolation(
                            field="month", description="the year is in the future"
                        ),
                        error_details_pb2.BadRequest.FieldViolation(description="the year is in the future"),
                    ]
                ),
                error_details_pb2.DebugInfo(detail="line 7"),
            ],
        )
    )
    told = explain(received)
    assert told is not None
    assert told.status == 1
    assert told.lines == (
        "weft: INVALID_ARGUMENT: the year is in the future",
        "  reason YEAR (acme), year 3000",
        "  field year: too large",
        "  field name: is empty (string.min_len)",
        "  both (one_of)",
        "  field month",
        '  google.rpc.DebugInfo: {"detail": "line 7"}',
    )
    # An error of this process' own has said it all in its message.
    own = explain(InvalidArgument("the year is in the future"))
    assert own is not None
    assert own.lines == ("weft: the year is in the future",)
    unreachable = explain(Unreachable("there:1", "refused"))
    assert unreachable is not None
    assert "there:1" in unreachable.lines[0]
    assert explain(KeyError("a fault of the program")) is None


def test_log_lines_become_readable() -> None:
    entry = '{"event": "agent.connected", "level": "info", "timestamp": "2026-01-02T03:04:05.678901Z", "agent": "a1"}'
    assert readable(entry) == "03:04:05.678 info    agent.connected agent=a1"
    assert readable("plain words") == "plain words"
    assert readable("{not json") == "{not json"
