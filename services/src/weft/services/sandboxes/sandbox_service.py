"""The servicer of `SandboxService`.

a call ─► SandboxTable.use: the box, going on if it was idle ─► the box's provider ─► the answer
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from weft.agent import Agent
from weft.services.sandboxes.sandbox_life import Life
from weft.services.sandboxes.sandbox_provider import BoxConnection, BoxError, BoxProgram, ProgramSpec
from weft.services.sandboxes.sandbox_table import SandboxTable
from weft.services.sandboxes.settings import SandboxesSettings
from weft.services.sandboxes.v1 import sandboxes_pb2, sandboxes_pb2_grpc
from weft.services.sandboxes.views import sandbox_of, view

RUN_S = 30.0
OUTPUT_BYTES = 64 << 10
PART_BYTES = 1 << 20
FILES = 1000
# Until a stream says what it is for.
FIRST_S = 30.0
Context = grpc.aio.ServicerContext[Any, Any]


class SandboxService(sandboxes_pb2_grpc.SandboxServiceServicer):
    """Answers for the sandboxes of its agent. Large because the contract has as many RPCs: each is a few lines."""

    def __init__(self, agent: Agent, settings: SandboxesSettings, table: SandboxTable) -> None:
        self._agent = agent
        self._settings = settings
        self._table = table

    async def CreateSandbox(
        self, request: sandboxes_pb2.CreateSandboxRequest, context: Context
    ) -> sandboxes_pb2.CreateSandboxResponse:
        async with _errors_to(context):
            settings = self._settings
            sandbox = sandbox_of(request, self._table.default, settings)
            ttl_s, idle_s = settings.ttl_s, settings.pause_when_idle_s
            if request.HasField("ttl"):
                ttl_s = request.ttl.ToTimedelta().total_seconds()
            if request.HasField("pause_when_idle"):
                idle_s = request.pause_when_idle.ToTimedelta().total_seconds()
            if request.snapshot_id:
                self._table.snapshots.check(request.snapshot_id)
            life, warm = await self._table.create(
                sandbox,
                request.provider or settings.provider,
                ttl_s=ttl_s,
                pause_when_idle_s=idle_s,
                labels=dict(request.labels),
                archive=self._table.snapshots.read(request.snapshot_id) if request.snapshot_id else None,
            )
            return sandboxes_pb2.CreateSandboxResponse(sandbox=self._view(life), warm=warm)

    async def GetSandbox(
        self, request: sandboxes_pb2.GetSandboxRequest, context: Context
    ) -> sandboxes_pb2.GetSandboxResponse:
        async with _errors_to(context):
            return sandboxes_pb2.GetSandboxResponse(sandbox=self._view(self._table.get(request.sandbox_id)))

    async def ListSandboxes(
        self, request: sandboxes_pb2.ListSandboxesRequest, context: Context
    ) -> sandboxes_pb2.ListSandboxesResponse:
        found = [self._view(each) for each in self._table.all()]
        kept = [each for each in found if request.ended or each.state != sandboxes_pb2.SANDBOX_STATE_ENDED]
        return sandboxes_pb2.ListSandboxesResponse(sandboxes=kept, warm=self._table.warm)

    # -- programs -------------------------------------------------------------------------------------------------

    async def Run(self, request: sandboxes_pb2.RunRequest, context: Context) -> sandboxes_pb2.RunResponse:
        timeout_s = RUN_S
        if request.HasField("timeout"):
            timeout_s = request.timeout.ToTimedelta().total_seconds()
        most = request.max_output_bytes or OUTPUT_BYTES
        kept = {False: bytearray(), True: bytearray()}
        left_out = 0
        async with _errors_to(context), self._table.use(request.sandbox_id) as box:
            program = await box.start(_spec(request.program))
            feeding = asyncio.ensure_future(_feed(program, request.input))
            try:
                async with asyncio.timeout(timeout_s):
                    async for as_errors, data in program.output():
                        room = most - len(kept[as_errors])
                        kept[as_errors] += data[:room]
                        left_out += max(0, len(data) - room)
                    code = await program.wait()
            except TimeoutError:
                raise BoxError(
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                    f"the program has not ended within {timeout_s:g} s, and was killed",
                ) from None
            finally:
                feeding.cancel()
                await program.close()
            return sandboxes_pb2.RunResponse(
                exit_code=code,
                output=bytes(kept[False]),
                errors=bytes(kept[True]),
                left_out_bytes=left_out,
            )

    async def Exec(
        self, request_iterator: AsyncIterator[sandboxes_pb2.ExecRequest], context: Context
    ) -> AsyncIterator[sandboxes_pb2.ExecResponse]:
        async with _errors_to(context):
            first = await _first(request_iterator)
            if first is None or not first.HasField("start"):
                raise BoxError(grpc.StatusCode.INVALID_ARGUMENT, "the first message must have `start`")
            async with self._table.use(first.start.sandbox_id) as box:
                program = await box.start(_spec(first.start.program))
                feeding = asyncio.ensure_future(_follow(program, request_iterator))
                try:
                    async for as_errors, data in program.output():
                        yield (
                            sandboxes_pb2.ExecResponse(errors=data)
                            if as_errors
                            else sandboxes_pb2.ExecResponse(output=data)
                        )
                        _raise_from(feeding)
                    code = await program.wait()
                    _raise_from(feeding)
                    yield sandboxes_pb2.ExecResponse(exit_code=code)
                finally:
                    feeding.cancel()
                    await program.close()

    async def ConnectPort(
        self, request_iterator: AsyncIterator[sandboxes_pb2.ConnectPortRequest], context: Context
    ) -> AsyncIterator[sandboxes_pb2.ConnectPortResponse]:
        async with _errors_to(context):
            first = await _first(request_iterator)
            if first is None or not first.HasField("open"):
                raise BoxError(grpc.StatusCode.INVALID_ARGUMENT, "the first message must have `open`")
            async with self._table.use(first.open.sandbox_id) as box:
                connection = await box.connect(first.open.port)
                feeding = asyncio.ensure_future(_relay(connection, request_iterator))
                try:
                    yield sandboxes_pb2.ConnectPortResponse()
                    while data := await connection.read():
                        yield sandboxes_pb2.ConnectPortResponse(data=data)
                        _raise_from(feeding)
                finally:
                    feeding.cancel()
                    await connection.close()

    # -- files ----------------------------------------------------------------------------------------------------

    async def ReadFile(
        self, request: sandboxes_pb2.ReadFileRequest, context: Context
    ) -> sandboxes_pb2.ReadFileResponse:
        async with _errors_to(context), self._table.use(request.sandbox_id) as box:
            most = request.max_bytes or PART_BYTES
            data, size = await box.read_file(request.path, request.offset_bytes, most)
            return sandboxes_pb2.ReadFileResponse(data=data, size_bytes=size)

    async def WriteFile(
        self, request: sandboxes_pb2.WriteFileRequest, context: Context
    ) -> sandboxes_pb2.WriteFileResponse:
        async with _errors_to(context), self._table.use(request.sandbox_id) as box:
            size = await box.write_file(
                request.path, request.data, request.offset_bytes, executable=request.executable
            )
            return sandboxes_pb2.WriteFileResponse(size_bytes=size)

    async def ListFiles(
        self, request: sandboxes_pb2.ListFilesRequest, context: Context
    ) -> sandboxes_pb2.ListFilesResponse:
        async with _errors_to(context), self._table.use(request.sandbox_id) as box:
            files, more = await box.list_files(request.path, FILES)
            answer = sandboxes_pb2.ListFilesResponse(more=more)
            for each in files:
                made = answer.files.add(name=each.name, size_bytes=each.size_bytes, kind=each.kind)
                made.changed_at.FromSeconds(int(each.changed_at_s))
            return answer

    async def RemoveFile(
        self, request: sandboxes_pb2.RemoveFileRequest, context: Context
    ) -> sandboxes_pb2.RemoveFileResponse:
        async with _errors_to(context), self._table.use(request.sandbox_id) as box:
            await box.remove_file(request.path)
            return sandboxes_pb2.RemoveFileResponse()

    # -- life -----------------------------------------------------------------------------------------------------

    async def PauseSandbox(
        self, request: sandboxes_pb2.PauseSandboxRequest, context: Context
    ) -> sandboxes_pb2.PauseSandboxResponse:
        async with _errors_to(context):
            life = self._table.get(request.sandbox_id)
            await self._table.pause(life)
            return sandboxes_pb2.PauseSandboxResponse(sandbox=self._view(life))

    async def ResumeSandbox(
        self, request: sandboxes_pb2.ResumeSandboxRequest, context: Context
    ) -> sandboxes_pb2.ResumeSandboxResponse:
        async with _errors_to(context):
            life = self._table.get(request.sandbox_id)
            await self._table.resume(life)
            return sandboxes_pb2.ResumeSandboxResponse(sandbox=self._view(life))

    async def ExtendSandbox(
        self, request: sandboxes_pb2.ExtendSandboxRequest, context: Context
    ) -> sandboxes_pb2.ExtendSandboxResponse:
        async with _errors_to(context):
            life = self._table.get(request.sandbox_id)
            self._table.extend(life, request.ttl.ToTimedelta().total_seconds())
            return sandboxes_pb2.ExtendSandboxResponse(sandbox=self._view(life))

    async def SnapshotSandbox(
        self, request: sandboxes_pb2.SnapshotSandboxRequest, context: Context
    ) -> sandboxes_pb2.SnapshotSandboxResponse:
        async with _errors_to(context):
            made, size = await self._table.snapshot(self._table.get(request.sandbox_id))
            return sandboxes_pb2.SnapshotSandboxResponse(snapshot_id=made, size_bytes=size)

    async def DeleteSnapshot(
        self, request: sandboxes_pb2.DeleteSnapshotRequest, context: Context
    ) -> sandboxes_pb2.DeleteSnapshotResponse:
        async with _errors_to(context):
            self._table.snapshots.delete(request.snapshot_id)
            return sandboxes_pb2.DeleteSnapshotResponse()

    async def ForkSandbox(
        self, request: sandboxes_pb2.ForkSandboxRequest, context: Context
    ) -> sandboxes_pb2.ForkSandboxResponse:
        async with _errors_to(context):
            life = await self._table.fork(self._table.get(request.sandbox_id))
            return sandboxes_pb2.ForkSandboxResponse(sandbox=self._view(life))

    async def TerminateSandbox(
        self, request: sandboxes_pb2.TerminateSandboxRequest, context: Context
    ) -> sandboxes_pb2.TerminateSandboxResponse:
        async with _errors_to(context):
            life = self._table.get(request.sandbox_id)
            await self._table.terminate(life, "terminated")
            return sandboxes_pb2.TerminateSandboxResponse(sandbox=self._view(life))

    def _view(self, life: Life) -> sandboxes_pb2.Sandbox:
        return view(life, self._agent.id)


@contextlib.asynccontextmanager
async def _errors_to(context: Context) -> AsyncIterator[None]:
    """What cannot be done is the caller's status."""
    try:
        yield
    except BoxError as error:
        await _abort(context, error)


async def _abort(context: Context, error: BoxError) -> NoReturn:
    await context.abort(error.code, error.message)
    raise AssertionError("abort raises")


def _spec(program: sandboxes_pb2.Program) -> ProgramSpec:
    return ProgramSpec(list(program.argv), program.folder, dict(program.variables))


async def _first(requests: AsyncIterator[Any]) -> Any:
    """The first message of a stream; None: there is none."""
    try:
        async with asyncio.timeout(FIRST_S):
            return await anext(aiter(requests), None)
    except TimeoutError:
        raise BoxError(grpc.StatusCode.DEADLINE_EXCEEDED, f"no message came within {FIRST_S:g} s") from None


async def _feed(program: BoxProgram, data: bytes) -> None:
    await program.write(data)
    await program.end_input()


async def _follow(program: BoxProgram, requests: AsyncIterator[sandboxes_pb2.ExecRequest]) -> None:
    """Give a program what its caller sends."""
    async for request in requests:
        match request.WhichOneof("kind"):
            case "input":
                await program.write(request.input)
            case "end_of_input":
                await program.end_input()
            case "signal":
                await program.signal(request.signal)
            case _:
                await program.signal(9)
                raise BoxError(grpc.StatusCode.INVALID_ARGUMENT, "only the first message has `start`")
    await program.end_input()


async def _relay(
    connection: BoxConnection, requests: AsyncIterator[sandboxes_pb2.ConnectPortRequest]
) -> None:
    async for request in requests:
        if not request.HasField("data"):
            await connection.close()
            raise BoxError(grpc.StatusCode.INVALID_ARGUMENT, "only the first message has `open`")
        await connection.write(request.data)
    await connection.end_input()


def _raise_from(feeding: asyncio.Future[None]) -> None:
    """The caller's own mistake is the stream's end; if the caller has gone, the stream ends anyway."""
    if feeding.done() and not feeding.cancelled() and isinstance(error := feeding.exception(), BoxError):
        raise error
