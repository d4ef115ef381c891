"""`weft service`: writes, enables, removes and looks at services of the operating system."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import pairs
from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.output import block, line, remark

if TYPE_CHECKING:
    from weft.cli.service.service_spec import ServiceDefinition, ServiceSpec

_HELP = with_examples(
    "Run agents and coordinators as services: of systemd, launchd or Windows.",
    "weft service install --name worker-1 --folder /srv/acme -- agent acme.worker:agent --target 10.0.0.1:7700",
    "weft service status --name worker-1",
    "weft service uninstall --name worker-1",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

_COMMAND_S = 120.0
_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The service is called weft-NAME.")]
ForUser = Annotated[bool, typer.Option("--user", help="A service of this user, not of the system.")]
System = Annotated[
    str,
    typer.Option(
        "--system",
        metavar="SYSTEM",
        help="linux, macos or windows; another than this one with --dry-run only.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be written and run, and change nothing.")
]


@app.command()
@examples(
    "weft service install --name worker-1 --folder /srv/acme -- agent acme.worker:agent --target 10.0.0.1:7700",
    "weft service install --name worker-1 --token-file /etc/weft/worker-1.token --env WEFT_TARGET=10.0.0.1:7700 -- agent acme.worker:agent",
    "weft service install --name mesh -- coordinator --listen 127.0.0.1:7700",
    "weft service install --name worker-1 --dry-run -- agent acme.worker:agent",
)
def install(
    name: Name,
    words: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND...", help="After --: agent or coordinator, with arguments."),
    ],
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable; repeatable.")
    ] = None,
    token_file: Annotated[
        str, typer.Option(metavar="FILE", help="The file that has its token, for its owner alone.")
    ] = "",
    folder: Annotated[
        str,
        typer.Option(metavar="DIR", help="Where it runs, with the program. [default: a folder of its own]"),
    ] = "",
    run_as: Annotated[
        str, typer.Option(metavar="USER", help="Its user. [default: one of its own, without rights]")
    ] = "",
    watchdog_s: Annotated[
        int,
        typer.Option(
            metavar="S",
            min=0,
            help="Start it again if its event loop has not run for so long (systemd); 0: never.",
        ),
    ] = 60,
    weft: Annotated[
        str, typer.Option(metavar="PATH", help="The command weft that it runs. [default: this one]")
    ] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a service of this name.")] = False,
    for_user: ForUser = False,
    system: System = "",
    dry_run: DryRun = False,
) -> None:
    """Write a service's definition, enable and start it.

    The service starts with the system, and again when it ends. Agents have 40 s to finish what they run. On Linux systemd watches it, and
    takes from it all rights that it does not need.
    """
    from weft.cli.service.service_spec import ServiceSpec

    spec = ServiceSpec(
        name,
        [weft] if weft else own_words(),
        words,
        pairs(env, "--env") if env else {},
        token_file,
        folder,
        run_as,
        for_user,
        watchdog_s,
    )
    found = _definition(spec, _system(system, dry_run=dry_run))
    if dry_run:
        remark(f"{found.path}:")
        block(found.text.removesuffix("\n"))
        _tell(found.after_install())
        return
    path = Path(found.path)
    if replaced := path.exists():
        if not replace:
            raise Failure(f"{path} exists, and is not overwritten", "--replace replaces it")
        for command in found.before_uninstall():
            # It may be there without having been started.
            with contextlib.suppress(Failure):
                _run(command)
    _write(path, found.text)
    try:
        for command in found.after_install():
            _run(command)
    except Failure:
        if not replaced:
            # Else the next try would find a service that was never there.
            path.unlink(missing_ok=True)
        raise
    line(str(path))


@app.command()
@examples("weft service uninstall --name worker-1", "weft service uninstall --name worker-1 --dry-run")
def uninstall(name: Name, for_user: ForUser = False, system: System = "", dry_run: DryRun = False) -> None:
    """Stop a service, disable it, and remove its definition. Its data stay."""
    found = _definition(_known(name, for_user=for_user), _system(system, dry_run=dry_run))
    if dry_run:
        _tell([*found.before_uninstall(), ["remove", str(found.path)], *found.after_uninstall()])
        return
    path = Path(found.path)
    if not path.exists():
        raise Failure(f"there is no service {path.stem}: {path} does not exist")
    for command in found.before_uninstall():
        _run(command)
    try:
        path.unlink()
    except OSError as error:
        raise Failure(f"cannot remove {path}: {system_reason(error)}") from None
    for command in found.after_uninstall():
        _run(command)
    line(f"{path.stem} is removed")


@app.command()
@examples("weft service status --name worker-1", "weft service status --name worker-1 --user")
def status(name: Name, for_user: ForUser = False, system: System = "", dry_run: DryRun = False) -> None:
    """Show how a service is, as the operating system tells it. Status 0: it runs."""
    found = _definition(_known(name, for_user=for_user), _system(system, dry_run=dry_run))
    if dry_run:
        _tell([found.status()])
        return
    if not Path(found.path).exists():
        raise Failure(f"there is no service {found.path.stem}: {found.path} does not exist", status=4)
    done = _asked(found.status())
    block((done.stdout or done.stderr).rstrip("\n"))
    if done.returncode:
        raise typer.Exit(done.returncode)


def own_words() -> list[str]:
    """The words that run this weft."""
    program = Path(sys.executable).with_name("weft")
    return [str(program)] if program.exists() else [sys.executable, "-P", "-m", "weft.cli.main"]


def _known(name: str, *, for_user: bool) -> ServiceSpec:
    """A service of which the name alone matters."""
    from weft.cli.service.service_spec import ServiceSpec

    return ServiceSpec(name, ["/weft"], ["agent"], for_user=for_user)


def _system(given: str, *, dry_run: bool) -> str:
    here = _SYSTEMS.get(sys.platform, "")
    if given and given not in _SYSTEMS.values():
        raise typer.BadParameter(
            f"{given!r} is not one of {', '.join(_SYSTEMS.values())}", param_hint="--system"
        )
    if given and given != here and not dry_run:
        raise typer.BadParameter(f"this is not {given}: use --dry-run", param_hint="--system")
    if not (given or here):
        raise Failure(
            f"weft knows no services of {sys.platform}", "--system with --dry-run prints those of another"
        )
    return given or here


def _definition(spec: ServiceSpec, system: str) -> ServiceDefinition:
    from weft.cli.service.launchd_plist import LaunchdPlist
    from weft.cli.service.systemd_unit import SystemdUnit
    from weft.cli.service.windows_service import WindowsService

    if system == "linux":
        return SystemdUnit(spec, Path.home())
    if system == "macos":
        return LaunchdPlist(spec, Path.home())
    return WindowsService(spec)


def _tell(commands: Sequence[Sequence[str]]) -> None:
    for words in commands:
        remark(f"then: {' '.join(words)}")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(  # noqa: PTH123
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise Failure(
            f"cannot write {path}: {system_reason(error)}",
            "--user makes a service of this user; --dry-run prints it",
        ) from None


def _run(words: Sequence[str]) -> None:
    done = _asked(words)
    if done.returncode:
        raise Failure(
            f"{' '.join(words)} has ended with status {done.returncode}", *done.stderr.splitlines()[-5:]
        )


def _asked(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - words of our own, no shell
            words, capture_output=True, text=True, check=False, timeout=_COMMAND_S
        )
    except OSError as error:
        raise Failure(f"cannot run {words[0]}: {system_reason(error)}") from None
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(words)} has not ended within {_COMMAND_S:g} s") from None
