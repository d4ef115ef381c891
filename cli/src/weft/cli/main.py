"""The `weft` command: the list of subcommands, and the handling of failures."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` searches the current folder first. A file there could hide a module that is imported here.
    del sys.path[0]

import typer

from weft.cli.command_line.examples import with_examples
from weft.cli.command_line.lazy_group import SETTINGS, CommandEntry, LazyGroup
from weft.cli.process import first_process, parent_death
from weft.cli.terminal import streams
from weft.rpc.process.pool_member import fork_server_socket

_RUN = "Run"
_CALL = "Call"
_LOOK = "Inspect and control"
_SECURE = "Secure"
_SET = "Configure"
_SEE = "Try it out"
# gRPC's newer event engine hands each event from thread to thread; these parts of it are off. See decision 0010.
_WITHOUT = ("event_engine_client", "event_engine_listener", "event_engine_for_all_other_endpoints")
_ONE_POLLING_THREAD = {"GRPC_EXPERIMENTS": ",".join(f"-{name}" for name in _WITHOUT)}


class _Commands(LazyGroup):
    entries: ClassVar[Mapping[str, CommandEntry]] = {
        "up": CommandEntry(
            "weft.cli.commands.up_command:up", "Start a coordinator and agents, for development.", _RUN
        ),
        "coordinator": CommandEntry(
            "weft.cli.commands.run_coordinator_command:coordinator",
            "Run a coordinator.",
            _RUN,
            _ONE_POLLING_THREAD,
        ),
        "agent": CommandEntry(
            "weft.cli.commands.run_agent_command:agent", "Run an agent.", _RUN, _ONE_POLLING_THREAD
        ),
        "call": CommandEntry(
            "weft.cli.commands.call_command:call",
            "Call a method, durably or directly, and print its response.",
            _CALL,
        ),
        "submit": CommandEntry(
            "weft.cli.commands.submit_command:submit", "Submit tasks and print their ids.", _CALL
        ),
        "plan": CommandEntry(
            "weft.cli.graphs.plan_command:plan",
            "Make a graph of tasks for a goal in words, and run it.",
            _CALL,
        ),
        "run": CommandEntry(
            "weft.cli.graphs.run_command:run", "Run a graph of tasks by the planner, and follow it.", _CALL
        ),
        "tasks": CommandEntry(
            "weft.cli.commands.tasks_command:app",
            "List, show, watch, signal, cancel and retry tasks, and show their logs.",
            _LOOK,
        ),
        "agents": CommandEntry(
            "weft.cli.commands.agents_command:app",
            "List, show, watch and command agents.",
            _LOOK,
        ),
        "queues": CommandEntry(
            "weft.cli.commands.queues_command:app", "List queues; pause, resume and limit methods.", _LOOK
        ),
        "top": CommandEntry(
            "weft.cli.commands.top_command:top",
            "Watch methods, agents, queues, tasks and failures on one screen.",
            _LOOK,
        ),
        "stats": CommandEntry(
            "weft.cli.commands.stats_command:stats",
            "Show counts, times and failures of the last minutes by method.",
            _LOOK,
        ),
        "resources": CommandEntry(
            "weft.cli.commands.resources_command:resources",
            "Show which tasks use resources and hold locks.",
            _LOOK,
        ),
        "methods": CommandEntry(
            "weft.cli.commands.methods_command:app", "List methods; override their task policies.", _LOOK
        ),
        "schedules": CommandEntry(
            "weft.cli.commands.schedules_command:app",
            "Create, list, show, pause, resume, run and delete schedules.",
            _LOOK,
        ),
        "events": CommandEntry(
            "weft.cli.events.events_command:app",
            "Publish, follow, consume and list events; make tasks of them.",
            _LOOK,
        ),
        "hooks": CommandEntry(
            "weft.cli.hooks.hooks_command:app",
            "Take webhooks of other systems, and send webhooks to them.",
            _LOOK,
        ),
        "bridge": CommandEntry(
            "weft.cli.bridge.bridge_command:app", "Make tasks of what other systems queue.", _RUN
        ),
        "pools": CommandEntry(
            "weft.cli.commands.pools_command:app",
            "Create, launch, list, scale, pause, restart, stop and delete pools of agents.",
            _LOOK,
        ),
        "groups": CommandEntry(
            "weft.cli.commands.groups_command:app",
            "List, show, wait for, close, cancel and delete groups.",
            _LOOK,
        ),
        "sessions": CommandEntry(
            "weft.cli.commands.sessions_command:app", "List and end sticky sessions.", _LOOK
        ),
        "health": CommandEntry(
            "weft.cli.commands.health_command:health", "Ask a server for its health, in a probe.", _LOOK
        ),
        "doctor": CommandEntry(
            "weft.cli.commands.doctor_command:doctor",
            "Find out what is wrong, and what to do about it.",
            _LOOK,
        ),
        "state": CommandEntry(
            "weft.cli.keyed_states.keyed_state_command:app",
            "Read and change the states that locks keep for their tasks.",
            _LOOK,
        ),
        "usage": CommandEntry(
            "weft.cli.commands.usage_command:usage", "Show what tasks and direct calls have used.", _LOOK
        ),
        "budgets": CommandEntry(
            "weft.cli.commands.usage_command:budgets",
            "Set, list and delete bounds on what tasks may use.",
            _LOOK,
        ),
        "export": CommandEntry(
            "weft.cli.state.state_command:export_state", "Write the state of a mesh to a file.", _LOOK
        ),
        "import": CommandEntry(
            "weft.cli.state.state_command:import_state",
            "Take the state of another mesh into this one.",
            _LOOK,
        ),
        "backup": CommandEntry(
            "weft.cli.state.backup_command:backup", "Copy the embedded store of a coordinator.", _LOOK
        ),
        "init": CommandEntry(
            "weft.cli.configuration.init_command:init", "Write a weft.toml with all settings.", _SET
        ),
        "config": CommandEntry(
            "weft.cli.configuration.config_command:app",
            "Show the settings in force, and where they came from.",
            _SET,
        ),
        "certs": CommandEntry(
            "weft.cli.certs.certs_command:app", "Make, renew and show certificates for TLS.", _SECURE
        ),
        "tokens": CommandEntry(
            "weft.cli.tokens.tokens_command:app", "Create, list, show, rotate and revoke tokens.", _SECURE
        ),
        "namespaces": CommandEntry(
            "weft.cli.commands.namespaces_command:app", "Create, list and delete namespaces.", _SECURE
        ),
        "policy": CommandEntry(
            "weft.cli.access.policy_command:app", "Check the file that says who may call what.", _SECURE
        ),
        "payloads": CommandEntry(
            "weft.cli.payloads.payloads_command:app",
            "Make keys of encrypted payloads; sweep the store of large ones.",
            _SECURE,
        ),
        "provision": CommandEntry(
            "weft.cli.provision.provision_command:provision",
            "Write what starts an agent: a command or manifest, with a token.",
            _RUN,
        ),
        "operator": CommandEntry(
            "weft.cli.operator.operator_command:operator",
            "Keep pools of agents in Kubernetes as large as their queues want.",
            _RUN,
            _ONE_POLLING_THREAD,
        ),
        "service": CommandEntry(
            "weft.cli.service.service_command:app",
            "Run agents and coordinators as services of the system.",
            _RUN,
        ),
        "audit": CommandEntry(
            "weft.cli.audit.audit_command:app", "Show who did what, and check the file of it.", _SECURE
        ),
        "demo": CommandEntry("weft.cli.demo.demo_command:demo", "Watch real work survive two crashes.", _SEE),
        "bench": CommandEntry("weft.cli.bench.bench_command:bench", "Measure throughput and latency.", _SEE),
        "conformance": CommandEntry(
            "weft.cli.conformance.conformance_command:conformance",
            "Check that an agent keeps the session's rules.",
            _SEE,
        ),
        "version": CommandEntry("weft.cli.commands.version_command:version", "Print the version.", _SEE),
        "help": CommandEntry("weft.cli.commands.help_command:help_", "Show the help of a command.", _SEE),
    }


_HELP = with_examples(
    "A service mesh for tasks on gRPC: your .proto is the task contract.",
    "weft up worker:agent            a coordinator and agents, for development",
    'weft call acme.v1.Greeter/Greet \'{"name": "Ada"}\'',
    "weft tasks list --state FAILED",
)

app = typer.Typer(
    cls=_Commands,
    name="weft",
    help=_HELP,
    no_args_is_help=True,
    **SETTINGS,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from weft.cli.commands.version_command import version

        version()
        raise typer.Exit


@app.callback(help=_HELP)
def _weft(
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit."),
    ] = False,
) -> None:
    """The options before the subcommand."""


def _debugs(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a process is to log all that it can."""
    given = " ".join(words).replace("=", " ")
    level = environment.get("WEFT_LOG_LEVEL", "") if "--log-level" not in given else ""
    return level.lower() == "debug" or "--log-level debug" in given


def main() -> None:
    """Run the command line. A failure is a sentence on stderr and an exit status."""
    # gRPC's log lines are for its developers. The commands print what users need; but a server's failed handshakes are told by gRPC alone.
    os.environ.setdefault("GRPC_VERBOSITY", "INFO" if _debugs(sys.argv, os.environ) else "NONE")
    if (number := fork_server_socket(os.environ)) is not None:
        from weft.cli.process.fork_server import serve

        # It goes on here as a member of a pool.
        serve(number, _ONE_POLLING_THREAD)
    streams.replace_streams()
    first_process.become_child()
    is_child = parent_death.obey()
    try:
        app(prog_name="weft", obj=None if is_child else _warn)
    except streams.Unwritable as error:
        if error.no_reader:
            sys.exit(streams.NO_READER_STATUS)
        sys.stderr.write(f"weft: cannot write to standard output: {error}\n")
        sys.exit(1)
    except Exception as error:
        # Imported late: it imports gRPC.
        from weft.cli.terminal.failures import explain
        from weft.cli.terminal.output import remark

        failure = explain(error)
        if failure is None:
            raise
        for line in failure.lines:
            remark(line)
        sys.exit(failure.status)


def _warn() -> None:
    """Warn of variables that no setting reads. A child process of a command does not repeat it."""
    if any(name.startswith("WEFT_") for name in os.environ):
        from weft.cli.process.unread_variables import warnings
        from weft.cli.terminal.output import remark

        for text in warnings(os.environ):
            remark(text)


if __name__ == "__main__":
    main()
