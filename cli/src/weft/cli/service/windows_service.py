"""A definition for WinSW, which runs a program as a Windows service: a program of its own cannot be one without it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import PurePath, PureWindowsPath
from xml.etree import ElementTree as ET

from weft.cli.service.service_spec import STOP_S, ServiceSpec
from weft.cli.terminal.failure import Failure

_FOLDER = PureWindowsPath(r"C:\ProgramData\weft\services")


class WindowsService:
    """A file weft-NAME.xml in ProgramData; WinSW is beside it, as weft-NAME.exe."""

    def __init__(self, spec: ServiceSpec) -> None:
        self._spec = spec.checked()
        # It has no way to write a percent sign that stays one.
        variables = (f"{name}={value}" for name, value in spec.variables.items())
        for text in (*spec.weft, *spec.words, *variables, spec.folder, spec.token_file):
            if "%" in text:
                raise Failure(
                    f"{text!r} has a percent sign: Windows services replace what stands between two of them",
                    status=2,
                )

    @property
    def path(self) -> PurePath:
        return _FOLDER / f"{self._spec.service}.xml"

    @property
    def text(self) -> str:
        root = ET.Element("service")
        for name, value in self._elements():
            ET.SubElement(root, name).text = value
        variables = dict(self._spec.variables)
        if self._spec.token_file:
            variables["WEFT_TOKEN_FILE"] = self._spec.token_file
        for name, value in variables.items():
            ET.SubElement(root, "env", name=name, value=value)
        ET.SubElement(root, "onfailure", action="restart", delay="2 sec")
        ET.SubElement(root, "log", mode="roll")
        ET.indent(root)
        return ET.tostring(root, encoding="unicode") + "\n"

    def after_install(self) -> Sequence[Sequence[str]]:
        return [[self._winsw, "install"], [self._winsw, "start"]]

    def before_uninstall(self) -> Sequence[Sequence[str]]:
        return [[self._winsw, "stop"], [self._winsw, "uninstall"]]

    def after_uninstall(self) -> Sequence[Sequence[str]]:
        return []

    def status(self) -> Sequence[str]:
        return [self._winsw, "status"]

    @property
    def _winsw(self) -> str:
        return str(self.path.with_suffix(".exe"))

    def _elements(self) -> Iterator[tuple[str, str]]:
        spec = self._spec
        yield "id", spec.service
        yield "name", spec.service
        yield "description", f"weft {spec.words[0]} {spec.name}"
        yield "executable", spec.weft[0]
        # Windows has one text for all arguments, which the program takes apart by these rules.
        yield "arguments", subprocess.list2cmdline([*spec.weft[1:], *spec.words])
        if spec.folder:
            yield "workingdirectory", spec.folder
        yield "startmode", "Automatic"
        yield "stoptimeout", f"{STOP_S} sec"
