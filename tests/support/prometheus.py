"""A real Prometheus, and promtool: built from the sources that the Go module proxy has, and run on configurations of this project."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.beside import free_address
from tests.support.languages import Language, run
from tests.support.processes import Process, until

# 3.8.0: the newest that the oldest Go of the tests builds.
_MODULE = "github.com/prometheus/prometheus@v0.308.0"

# As in deploy/observability/compose.yaml.
FLAGS = ("--web.enable-otlp-receiver", "--enable-feature=exemplar-storage")


class Prometheus(Language):
    """The build."""

    name = "prometheus-3.8.0"
    tools = (("go", "version", (1, 24)),)

    def build(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        module = json.loads(run(["go", "mod", "download", "-json", _MODULE], folder))
        sources = folder / "sources"
        shutil.rmtree(sources, ignore_errors=True)
        # A module's own go.mod has its replacements only where it is built in its own folder. That in the cache is read-only.
        shutil.copytree(module["Dir"], sources, copy_function=shutil.copyfile)
        for each in (sources, *(path for path in sources.rglob("*") if path.is_dir())):
            each.chmod(0o755)
        # Clouds to find targets in: most of the build, and not needed here.
        (sources / "plugins" / "plugins.go").unlink()
        commands = ("./cmd/prometheus", "./cmd/promtool")
        # Without what a debugger wants: it takes a while to link.
        run(["go", "build", "-ldflags=-s -w", "-o", f"{folder / 'bin'}/", *commands], sources)
        shutil.rmtree(sources)

    @property
    def program(self) -> str:
        return str(self.built / "bin" / "prometheus")

    def promtool(self, *words: str, folder: Path) -> str:
        """Run promtool; its output."""
        return run([str(self.built / "bin" / "promtool"), *words], folder, 120)


class Running:
    """A Prometheus that runs."""

    def __init__(self, address: str, process: Process) -> None:
        self.address, self.process = address, process

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of a query, now."""
        found = await self.ask("query", query=expr)
        result: list[dict[str, Any]] = found["result"]
        return result

    async def firing(self) -> dict[str, dict[str, str]]:
        """The annotations of the alerts that fire, by name."""
        alerts = (await self.ask("alerts"))["alerts"]
        return {
            each["labels"]["alertname"]: each["annotations"] for each in alerts if each["state"] == "firing"
        }

    async def ask(self, path: str, **parameters: str) -> Any:
        """Ask its HTTP API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"

        def fetch() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=20) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                return json.load(error)

        answer = await asyncio.to_thread(fetch)
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]


@asynccontextmanager
async def prometheus(folder: Path, config: Path) -> AsyncIterator[Running]:
    """A Prometheus with this configuration, and its data in this folder."""
    address = free_address()
    process = Process(
        "prometheus",
        [
            Prometheus().program,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={address}",
            *FLAGS,
        ],
        log=folder / "prometheus.log",
    )
    try:
        await until(lambda: not process.alive or _is_ready(address), "Prometheus is ready", timeout_s=60)
        assert process.alive, process.output()
        yield Running(address, process)
    finally:
        process.cleanup()


def _is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
