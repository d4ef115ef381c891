"""The methods of the demo's own agents: they divide the files, measure a part in a sandbox, join, summarize and write the report."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import grpc

from examples.demo_agents import measure_files
from weft.agent import Agent, RetryLater, RetryPolicy, current_task
from weft.services.repositories.v1 import repositories_pb2
from weft.services.repositories.v1.repositories_pb2_grpc import RepositoryServiceStub
from weft.services.sandboxes.v1 import sandboxes_pb2 as box
from weft.services.sandboxes.v1.sandboxes_pb2_grpc import SandboxServiceStub

agent = Agent()
# Files of the top folder are divided, too.
_PART_FILES = 40
_CHUNK_BYTES = 1 << 20
_ARCHIVE = "files.tar"
_PROGRAM = Path(measure_files.__file__).read_text()
# Not the environment's own link: sandboxes see the interpreter alone.
_PYTHON = str(Path(sys.executable).resolve())
_LOST = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
_SUMS = ("files", "lines", "functions", "classes")


@agent.method("demo.v1.Study/Divide")
async def divide(request: dict[str, Any]) -> dict[str, Any]:
    """Parts of the files: by folder, and of at most so many files."""
    folders: dict[str, list[str]] = {}
    for path in request["paths"]:
        folders.setdefault(path.partition("/")[0] if "/" in path else "modules", []).append(path)
    parts = []
    for name, paths in sorted(folders.items()):
        pieces = [paths[at : at + _PART_FILES] for at in range(0, len(paths), _PART_FILES)]
        numbered = len(pieces) > 1
        parts += [
            {"name": f"{name} {n}" if numbered else name, "paths": piece} for n, piece in enumerate(pieces, 1)
        ]
    return {"parts": parts}


@agent.method("demo.v1.Study/Measure", retry=RetryPolicy(max_attempts=5))
async def measure(request: dict[str, Any]) -> dict[str, Any]:
    """The figures of a part, by a program in a sandbox; without sandboxes, in a process."""
    part, found_at = request["part"], ""
    try:
        if request["git"]:
            files = await _files_of_workspace(part["paths"])
        else:
            files = await asyncio.to_thread(_files_of_disk, request["folder"], part["paths"])
        archive = _archive(files)
        if request["sandbox"]:
            found, found_at = await _in_sandbox(archive)
        else:
            found = await _in_process(archive)
    except grpc.aio.AioRpcError as error:
        if error.code() in _LOST:
            # The agent that had the sandbox is gone or full: another one makes the next.
            raise RetryLater(f"{error.code().name}: {error.details()}") from None
        raise
    return {"name": part["name"], "sandbox_at": found_at} | found


@agent.method("demo.v1.Study/Join")
async def join(request: dict[str, Any]) -> dict[str, Any]:
    """The figures of all parts together, and as a text."""
    parts = request["parts"]
    total: dict[str, Any] = {name: sum(part[name] for part in parts) for name in _SUMS}
    longest = max(parts, key=lambda part: part["longest_lines"])
    most = max(parts, key=lambda part: part["functions"])
    total |= {
        "longest": longest["longest"],
        "longest_lines": longest["longest_lines"],
        "most": most["name"],
        "unparsed": sum(len(part["unparsed"]) for part in parts),
    }
    return {"total": total, "facts": "\n".join(f"{name}: {value}" for name, value in total.items())}


@agent.method("demo.v1.Study/Summarize")
async def summarize(request: dict[str, Any]) -> dict[str, Any]:
    """A summary by rules."""
    total = {
        name: f"{value:,.0f}" if isinstance(value, float) else value
        for name, value in request["total"].items()
    }
    return {
        "text": f"{total['files']} files have {total['lines']} lines, {total['functions']} functions and {total['classes']} classes; {total['unparsed']} do not parse. "
        f"The longest function is {total['longest']}, with {total['longest_lines']} lines."
    }


@agent.method("demo.v1.Study/Write")
async def write(request: dict[str, Any]) -> dict[str, Any]:
    """The report: a summary, and a table of the parts."""
    summary = request["summary"]
    # Whichever choice of the graph has run.
    (answer,) = [each for name in ("asked", "ruled") if (each := summary.get(name))]
    text = answer["text"] if "text" in answer else answer["message"]["content"].strip()
    by = "rules" if "text" in answer else f"{answer['source']['model']} of {answer['source']['backend']}"
    rows = [
        f"| {part['name']} | {part['files']:.0f} | {part['lines']:.0f} | {part['functions']:.0f} |"
        for part in request["parts"]
    ]
    head = [
        "# A study of these files",
        "",
        text,
        "",
        "| part | files | lines | functions |",
        "|---|---|---|---|",
    ]
    report = "\n".join([*head, *rows]) + "\n"
    return {"summary": text, "by": by, "report": report, "base64": base64.b64encode(report.encode()).decode()}


def _files_of_disk(folder: str, paths: list[str]) -> list[tuple[str, bytes]]:
    return [(path, Path(folder, path).read_bytes()) for path in paths]


async def _files_of_workspace(paths: list[str]) -> list[tuple[str, bytes]]:
    stub = RepositoryServiceStub(current_task().mesh.channel(direct=True))
    found = []
    for path in paths:
        content, size = b"", 1
        while len(content) < size:
            asked = repositories_pb2.ReadFileRequest(
                workspace="study", path=path, offset=len(content), max_bytes=_CHUNK_BYTES
            )
            read = await stub.ReadFile(asked, timeout=30)
            content, size = content + read.content, read.size_bytes
        found.append((path, content))
    return found


def _archive(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


async def _in_sandbox(archive: bytes) -> tuple[dict[str, Any], str]:
    """The figures, and the agent that had the sandbox. All calls have one session, so that they go to that agent."""
    task = current_task()
    stub = SandboxServiceStub(task.mesh.channel(direct=True))
    session = (("weft-session", f"{task.id}-{task.attempt}"), ("weft-session-mode", "hard"))
    made = await stub.CreateSandbox(
        box.CreateSandboxRequest(ttl={"seconds": 120}), metadata=session, timeout=30
    )
    at = {"sandbox_id": made.sandbox.id}
    try:
        for offset in range(0, len(archive), _CHUNK_BYTES):
            chunk = archive[offset : offset + _CHUNK_BYTES]
            put = box.WriteFileRequest(**at, path=_ARCHIVE, data=chunk, offset_bytes=offset)
            await stub.WriteFile(put, metadata=session, timeout=30)
        argv = [_PYTHON, "-I", "-S", "-c", _PROGRAM, _ARCHIVE]
        ask = box.RunRequest(**at, program={"argv": argv}, timeout={"seconds": 60})
        ran = await stub.Run(ask, metadata=session, timeout=70)
    finally:
        # If it cannot be told, the sandbox ends by its time.
        await asyncio.gather(
            stub.TerminateSandbox(box.TerminateSandboxRequest(**at), metadata=session, timeout=10),
            return_exceptions=True,
        )
    return _figures(ran.exit_code, ran.output, ran.errors), made.sandbox.agent_id


async def _in_process(archive: bytes) -> dict[str, Any]:
    argv, pipe = ("-I", "-S", "-c", _PROGRAM, "-"), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(_PYTHON, *argv, stdin=pipe, stdout=pipe, stderr=pipe)
    out, errors = await process.communicate(archive)
    return _figures(process.returncode or 0, out, errors)


def _figures(status: int, output: bytes, errors: bytes) -> dict[str, Any]:
    if status:
        raise RuntimeError(f"the program ended with {status}: {errors[-500:].decode(errors='replace')}")
    found: dict[str, Any] = json.loads(output)
    return found
