"""The base of settings models: arguments, then variables, then `.env`, then `weft.toml`, then defaults.

Files count only while they are in force (`settings_files.use`). Every setting knows where its value came from.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import AliasChoices, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from weft.rpc.process.setting_faults import SettingFault, setting_faults
from weft.rpc.process.settings_files import SettingsFiles, in_force

_HIDDEN = "(secret)"
# Settings with these ends are paths of files; others are so by their type.
_PATH_ENDS = ("_ca", "_cert", "_key", "_file")
# In the place of a path: the authorities that the operating system trusts.
_NO_PATHS = frozenset({"", "system"})
_UNIX = "unix:"


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a setting came from.

    Args:
        place: the variable, or the file with the variable or the key in it; empty for a default.
    """

    source: Literal["environment", ".env", "weft.toml", "default"]
    place: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.place}" if self.source == "environment" else self.place or self.source


class FileSettings(BaseSettings):
    """Settings that may also come from the files in force."""

    # Its table in weft.toml.
    table: ClassVar[str] = ""
    # Settings that are paths, besides those that say so by name or type; URLs are none.
    paths: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        files = in_force()
        found: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if files is not None and files.dotenv is not None:
            found.append(_OwnVariables(settings_cls, files.dotenv))
        if files is not None and files.toml is not None:
            found.append(_OwnTable(cls, files))
        return tuple(found)

    @classmethod
    def variables(cls, name: str) -> list[str]:
        """The variables of a setting, the one that counts first in front."""
        alias = cls.model_fields[name].validation_alias
        if isinstance(alias, AliasChoices):
            return [str(choice).upper() for choice in alias.choices]
        return [(alias if isinstance(alias, str) else cls.model_config.get("env_prefix", "") + name).upper()]

    @classmethod
    def origin(cls, name: str) -> Origin:
        """Where the value of a setting comes from, unless an argument gives it."""
        files = in_force() or SettingsFiles()
        variables = cls.variables(name) if name in cls.model_fields else []
        environment = {each.upper() for each in os.environ}
        for variable in variables:
            if variable in environment:
                return Origin("environment", variable)
        for variable in variables:
            if variable in files.variables:
                return Origin(".env", f"{files.dotenv}, {variable}")
        place = files.place(cls.table, name)
        return Origin("weft.toml", place) if place else Origin("default")

    @classmethod
    def faults(cls, error: ValidationError, given: Mapping[str, Any]) -> list[SettingFault]:
        """Describe every wrong setting, each in one line, with the file or the variable that has it.

        Args:
            given: the arguments.
        """
        found = setting_faults(error.errors(include_url=False), cls.model_fields)
        return [_located(cls, fault, given) for fault in found]

    def shown(self, name: str) -> str:
        """The value of a setting as text, without secrets."""
        value = getattr(self, name)
        if value in (None, "", ()):
            return ""
        if isinstance(value, SecretStr) or not type(self).model_fields[name].repr:
            return _HIDDEN
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, dict):
            return ",".join(f"{key}={each}" for key, each in value.items())
        return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


class _OwnVariables(DotEnvSettingsSource):
    """The variables of a model in `.env`. Those of other programs and other models are left alone."""

    def __init__(self, model: type[BaseSettings], path: Path) -> None:
        super().__init__(model, env_file=path, env_file_encoding="utf-8")

    def __call__(self) -> dict[str, Any]:
        # The source itself would also return variables that are no settings, for the model to refuse.
        return super(DotEnvSettingsSource, self).__call__()


class _OwnTable(TomlConfigSettingsSource):
    """A model's table in `weft.toml`, with that of the profile."""

    def __init__(self, model: type[FileSettings], files: SettingsFiles) -> None:
        self._model = model
        self._files = files
        super().__init__(model, files.toml)

    def _read_file(self, file_path: Path) -> dict[str, Any]:  # type: ignore[override]
        found = self._files.table(self._model.table)
        return {name: _from(file_path.parent, self._model, name, value) for name, value in found.items()}

    def __call__(self) -> dict[str, Any]:
        # A mapping that an argument gives is the whole value: what the file has is not added to it.
        return {name: value for name, value in super().__call__().items() if name not in self.current_state}


def _from(folder: Path, model: type[FileSettings], name: str, value: Any) -> Any:
    """The value, with its paths relative to the folder."""
    if isinstance(value, list):
        return [_from(folder, model, name, each) for each in value]
    if not isinstance(value, str) or value in _NO_PATHS or "://" in value:
        return value
    if value.startswith(_UNIX):
        return _UNIX + str(folder / value.removeprefix(_UNIX))
    field = model.model_fields.get(name)
    if field is None:
        return value
    of_path = Path in (field.annotation, *get_args(field.annotation))
    return str(folder / value) if of_path or name in model.paths or name.endswith(_PATH_ENDS) else value


def _located(model: type[FileSettings], fault: SettingFault, given: Mapping[str, Any]) -> SettingFault:
    # Settings that do not fit together: the reason begins with the name of one.
    name = fault.name or fault.reason.partition(":")[0]
    if name in given:
        return fault
    origin = model.origin(name)
    return (
        fault
        if origin.source == "default"
        else dataclasses.replace(fault, reason=f"{fault.reason} ({origin})")
    )
