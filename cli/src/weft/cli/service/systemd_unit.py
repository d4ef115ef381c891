"""A unit of systemd: with its watchdog, and without the rights that weft does not need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath, PurePosixPath

from weft.cli.service.service_spec import STOP_S, ServiceSpec
from weft.cli.terminal.failure import Failure

# Paths stand in places of a unit that know no quotes.
_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_HOMES = ("/home/", "/root/", "/run/user/")
_CREDENTIAL = "weft.token"

# What weft does not need. A program that needs more gets it by a drop-in: systemctl edit.
_HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077"""
# What the manager of a user may forbid.
_USER_HARDENING = """\
NoNewPrivileges=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077"""


class SystemdUnit:
    """`/etc/systemd/system/weft-NAME.service`, or that of a user."""

    def __init__(self, spec: ServiceSpec, home: Path) -> None:
        self._spec = spec.checked()
        self._unit = f"{spec.service}.service"
        self._home = PurePosixPath(home.as_posix())

    @property
    def path(self) -> PurePath:
        if self._spec.for_user:
            return self._home / ".config/systemd/user" / self._unit
        return PurePosixPath("/etc/systemd/system") / self._unit

    @property
    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def after_install(self) -> Sequence[Sequence[str]]:
        return [self._systemctl("daemon-reload"), self._systemctl("enable", "--now", self._unit)]

    def before_uninstall(self) -> Sequence[Sequence[str]]:
        return [self._systemctl("disable", "--now", self._unit)]

    def after_uninstall(self) -> Sequence[Sequence[str]]:
        return [self._systemctl("daemon-reload")]

    def status(self) -> Sequence[str]:
        return self._systemctl("status", "--no-pager", self._unit)

    def _systemctl(self, *words: str) -> Sequence[str]:
        return ["systemctl", *(["--user"] if self._spec.for_user else []), *words]

    def _lines(self) -> Iterator[str]:
        spec = self._spec
        yield "# Written by `weft service install`. Change it by `systemctl edit`, or install it again."
        yield "[Unit]"
        yield f"Description=weft {spec.words[0]} {spec.name}"
        if not spec.for_user:
            yield "Wants=network-online.target"
            yield "After=network-online.target"
        # However often it fails: its coordinator may be away for long.
        yield "StartLimitIntervalSec=0"
        yield ""
        yield "[Service]"
        yield "Type=notify"
        yield "NotifyAccess=main"
        yield f"ExecStart={' '.join([_path(spec.weft[0], 'weft'), *map(_word, [*spec.weft[1:], *spec.words])])}"
        yield from (f"Environment={_quoted(f'{name}={value}')}" for name, value in spec.variables.items())
        yield from self._token()
        yield from self._place()
        # A program may load much before it is ready; its coordinator need not be there.
        yield "TimeoutStartSec=600"
        yield "Restart=always"
        yield "RestartSec=2"
        # Wrong usage and settings: starting again mends nothing.
        yield "RestartPreventExitStatus=2"
        if spec.watchdog_s:
            yield f"WatchdogSec={spec.watchdog_s}"
        yield "KillMode=mixed"
        yield f"TimeoutStopSec={STOP_S}"
        yield _USER_HARDENING if spec.for_user else _HARDENING
        yield ""
        yield "[Install]"
        yield f"WantedBy={'default' if spec.for_user else 'multi-user'}.target"

    def _token(self) -> Iterator[str]:
        spec = self._spec
        if not spec.token_file:
            return
        path = _path(spec.token_file, "the token's file")
        if spec.for_user:
            yield f"Environment={_quoted(f'WEFT_TOKEN_FILE={path}')}"
            return
        # systemd reads it as root, and shows it to this service alone.
        yield f"LoadCredential={_CREDENTIAL}:{path}"
        yield f"Environment=WEFT_TOKEN_FILE=%t/credentials/%n/{_CREDENTIAL}"

    def _place(self) -> Iterator[str]:
        spec = self._spec
        if spec.for_user:
            if spec.folder:
                yield f"WorkingDirectory={_path(spec.folder, 'the folder')}"
            return
        if spec.run_as:
            if not _USER.fullmatch(spec.run_as):
                raise Failure(f"{spec.run_as!r} is not the name of a user", status=2)
            yield f"User={spec.run_as}"
        else:
            yield "DynamicUser=yes"
        in_homes = [path for path in (spec.weft[0], spec.folder) if f"{path}/".startswith(_HOMES)]
        if in_homes and not spec.run_as:
            raise Failure(
                f"{in_homes[0]} is in the home of a user, and the service runs as a user of its own that cannot read it",
                "install weft and the program elsewhere, such as in /opt; or name the user with --run-as; or use --user",
                status=2,
            )
        yield f"ProtectHome={'read-only' if in_homes else 'yes'}"
        yield f"StateDirectory=weft/{spec.name}"
        yield "StateDirectoryMode=0700"
        yield f"WorkingDirectory={_path(spec.folder, 'the folder') if spec.folder else f'%S/weft/{spec.name}'}"


def _path(path: str, what: str) -> str:
    if not _PATH.fullmatch(path) or ".." in path.split("/"):
        raise Failure(
            f"{what} is {path!r}; a unit takes an absolute path of letters, digits and . _ / @ + -", status=2
        )
    return path


def _word(text: str) -> str:
    """A word of a command: systemd replaces variables there."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    """A value in which systemd replaces nothing."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
