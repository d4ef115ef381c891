"""The files of settings: `weft.toml` and `.env`. Which ones are in force, and what their tables say.

The command `weft` looks for them (`find`) and puts them in force (`use`); a program that makes agents and clients itself reads none.
Models of settings (`file_settings`) ask for those in force.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weft.rpc import bounded_json
from weft.rpc.similar_names import similar_names

TOML_NAME = "weft.toml"
DOTENV_NAME = ".env"
# The variables that choose files and profile; their values are never settings.
CONFIG = "WEFT_CONFIG"
PROFILE = "WEFT_PROFILE"
# As WEFT_CONFIG: no file is read.
OFF = "off"
TABLES = ("coordinator", "agent", "sidecar", "client")
# Has a table for each service: [services.hardware].
SERVICES = "services"
_PROFILES = "profile"
# Larger files are something else.
_MAX_BYTES = 1024 * 1024


class SettingsFileFault(Exception):
    """A file of settings cannot be used. The message names the file, the place in it, and what to do."""


@dataclass(frozen=True, slots=True)
class SettingsFiles:
    """Files that are in force.

    Args:
        toml: the file `weft.toml`, if there is one.
        dotenv: the file `.env`, if there is one that has variables of weft.
        profile: the profile in force; empty: none.
        variables: weft's variables in `.env`, with their names in capitals.
    """

    toml: Path | None = None
    dotenv: Path | None = None
    profile: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    _root: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def table(self, name: str) -> dict[str, Any]:
        """The settings of a table: those of the profile before those of the plain table, key by key."""
        return {**_within(self._root, name), **self._profiled(name)}

    def place(self, table: str, key: str) -> str:
        """Where a key of a table is set, such as `weft.toml, [profile.prod.agent] slots`; empty: nowhere."""
        if key in self._profiled(table):
            return f"{self.toml}, [{_PROFILES}.{self.profile}.{table}] {key}"
        return f"{self.toml}, [{table}] {key}" if key in _within(self._root, table) else ""

    def _profiled(self, table: str) -> Mapping[str, Any]:
        return _within(self._root.get(_PROFILES, {}).get(self.profile, {}), table)


def _within(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table by its name, such as "agent" or "services.hardware"; empty: there is none."""
    for part in name.split("."):
        tables = tables.get(part, {})
    return tables


_in_force: SettingsFiles | None = None


def use(files: SettingsFiles | None) -> None:
    """Put files in force for all settings that this process makes from now on; None: no files."""
    global _in_force  # noqa: PLW0603
    _in_force = files


def in_force() -> SettingsFiles | None:
    """The files in force; None: settings come from arguments, variables and defaults."""
    return _in_force


def find(folder: Path, environment: Mapping[str, str]) -> SettingsFiles | None:
    """Read the files of a folder, and those that the environment names; None: there are none.

    Args:
        environment: WEFT_CONFIG names another file than `weft.toml`, or is `off`; WEFT_PROFILE names a profile. Both may also be in
            `.env`, where the environment does not have them.

    Raises:
        SettingsFileFault: a file cannot be read or is malformed, or there is no such profile.
    """
    if environment.get(CONFIG, "").lower() == OFF:
        return None
    dotenv, variables = _dotenv(folder / DOTENV_NAME)
    config = environment.get(CONFIG) or variables.get(CONFIG, "")
    profile = environment.get(PROFILE) or variables.get(PROFILE, "")
    if config.lower() == OFF:
        config = ""
    elif config:
        config = str(folder / config)
    elif (folder / TOML_NAME).exists():
        config = str(folder / TOML_NAME)
    if not config:
        if profile:
            raise SettingsFileFault(
                f"there is no file for the profile {profile!r}: {folder / TOML_NAME} does not exist;"
                f" write it (`weft init`), name another with --config or {CONFIG}, or unset {PROFILE}"
            )
        return None if dotenv is None else SettingsFiles(dotenv=dotenv, variables=variables)
    path = Path(config)
    root = _parsed(path)
    _check(path, root)
    profiles = root.get(_PROFILES, {})
    if profile and profile not in profiles:
        known = f"it has {', '.join(sorted(profiles))}" if profiles else f"it has no table [{_PROFILES}.NAME]"
        raise SettingsFileFault(f"{path} has no profile {profile!r}{_near(profile, profiles)}; {known}")
    return SettingsFiles(path, dotenv, profile, variables, root)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        root = tomllib.loads(_text(path).decode())
        bounded_json.check_depth(root)
    except (tomllib.TOMLDecodeError, bounded_json.TooDeep, RecursionError) as error:
        raise SettingsFileFault(f"{path} is not TOML: {error}; correct it there") from None
    except UnicodeDecodeError as error:
        raise SettingsFileFault(
            f"{path} is not UTF-8 text, at byte {error.start}: save it as UTF-8"
        ) from None
    return root


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsFileFault(
            f"cannot read {path}: {error.strerror}; correct its path or mode, or set {CONFIG}={OFF} to read no files"
        ) from None
    if len(found) > _MAX_BYTES:
        raise SettingsFileFault(f"{path} has more than {_MAX_BYTES} bytes: it is no file of settings")
    return found


def _check(path: Path, root: Mapping[str, Any]) -> None:
    """Check the tables. Their keys are checked by the models that read them."""
    profiles = root.get(_PROFILES, {})
    _check_tables(path, "", {key: value for key, value in root.items() if key != _PROFILES})
    if not isinstance(profiles, dict):
        raise SettingsFileFault(
            f"{path}: {_PROFILES} is not a table: write [{_PROFILES}.NAME.agent], and choose one by --profile NAME"
        )
    for name, tables in profiles.items():
        if not isinstance(tables, dict):
            raise SettingsFileFault(
                f"{path}: {_PROFILES}.{name} is not a table: write [{_PROFILES}.{name}.agent]"
            )
        _check_tables(path, f"{_PROFILES}.{name}.", tables)


def _check_tables(path: Path, prefix: str, tables: Mapping[str, Any]) -> None:
    for name, table in tables.items():
        if name == SERVICES and isinstance(table, dict):
            _check_services(path, prefix, table)
        elif name not in TABLES:
            what = f"table [{prefix}{name}]" if isinstance(table, dict) else f"key {prefix}{name}"
            allowed = [*TABLES, SERVICES, *([] if prefix else [_PROFILES])]
            raise SettingsFileFault(
                f"{path}: there is no {what}{_near(name, allowed)}; settings are in the tables"
                f" {', '.join(f'[{prefix}{each}]' for each in TABLES)} and [{prefix}{SERVICES}.NAME]"
            )
        elif not isinstance(table, dict):
            raise SettingsFileFault(f"{path}: {prefix}{name} is not a table: write [{prefix}{name}]")


def _check_services(path: Path, prefix: str, tables: Mapping[str, Any]) -> None:
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SettingsFileFault(
                f"{path}: {prefix}{SERVICES}.{name} is not a table: write [{prefix}{SERVICES}.NAME]"
            )


def _dotenv(path: Path) -> tuple[Path | None, Mapping[str, str]]:
    """The file with its variables of weft, if it has any. Everything else in it belongs to other programs."""
    # A folder of that name may be a virtual environment.
    if not path.is_file():
        return None, {}
    data = _text(path)
    if b"WEFT_" not in data.upper():
        return None, {}
    # Imported late: most folders have no such file.
    from io import StringIO

    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SettingsFileFault(
            f"{path} is not UTF-8 text, at byte {error.start}: save it as UTF-8"
        ) from None
    for binding in parse_stream(StringIO(text)):
        if binding.error and "WEFT_" in binding.original.string.upper():
            raise SettingsFileFault(
                f"{path}, line {binding.original.line}: it is not NAME=VALUE; correct it there"
            )
    values = dotenv_values(stream=StringIO(text))
    found = {name.upper(): value or "" for name, value in values.items() if name.upper().startswith("WEFT_")}
    return (path, found) if found else (None, {})


def _near(name: str, known: Iterable[str]) -> str:
    near = similar_names(name, known)
    return f"; the nearest is {near[0]}" if near else ""
