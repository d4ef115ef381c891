"""The servicer of `RepositoryService`: each call is one function on a workspace whose lock is held."""

from __future__ import annotations

import hashlib

from weft.agent import Agent, current_task
from weft.services.repositories import branches, changes, commits, remotes, tree_files
from weft.services.repositories.call_answers import Context, answering
from weft.services.repositories.git_names import check_branch
from weft.services.repositories.settings import RepositoriesSettings
from weft.services.repositories.v1 import repositories_pb2 as pb
from weft.services.repositories.v1 import repositories_pb2_grpc
from weft.services.repositories.workspaces import Workspaces

_DEFAULT_READ_BYTES = 256 << 10


class RepositoryService(repositories_pb2_grpc.RepositoryServiceServicer):
    """Works with the workspaces of its agent. Large because it has a method for each RPC of the contract."""

    def __init__(self, agent: Agent, settings: RepositoriesSettings) -> None:
        self._workspaces = Workspaces(settings, agent)
        self.sweep_in_background = self._workspaces.sweep_in_background

    async def Clone(self, request: pb.CloneRequest, context: Context) -> pb.CloneResponse:
        async with answering(context):
            if request.branch:
                check_branch(request.branch)
            return await self._workspaces.clone(request)

    async def ListWorkspaces(
        self, request: pb.ListWorkspacesRequest, context: Context
    ) -> pb.ListWorkspacesResponse:
        async with answering(context):
            return pb.ListWorkspacesResponse(workspaces=await self._workspaces.listed())

    async def DeleteWorkspace(
        self, request: pb.DeleteWorkspaceRequest, context: Context
    ) -> pb.DeleteWorkspaceResponse:
        async with answering(context):
            return pb.DeleteWorkspaceResponse(existed=await self._workspaces.delete(request.workspace))

    async def UpdateWorkspace(
        self, request: pb.UpdateWorkspaceRequest, context: Context
    ) -> pb.UpdateWorkspaceResponse:
        async with answering(context), self._workspaces.held(request.workspace) as held:
            old = await held.git.commit_at("HEAD")
            await remotes.fetch(
                held.git, self._workspaces.remote_of(held.about), held.about, await held.git.branch()
            )
            head = old
            if not request.fetch_only:
                head = await remotes.follow(held.git, discard_changes=request.discard_changes)
            return pb.UpdateWorkspaceResponse(old_head=old, head=head)

    async def SwitchBranch(
        self, request: pb.SwitchBranchRequest, context: Context
    ) -> pb.SwitchBranchResponse:
        async with answering(context), self._workspaces.held(request.workspace) as held:
            return await branches.switch(held.git, request.branch, request.start, create=request.create)

    async def ListBranches(
        self, request: pb.ListBranchesRequest, context: Context
    ) -> pb.ListBranchesResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            return await branches.list_branches(held.git)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            found = await changes.status(held.git)
            found.workspace.CopyFrom(self._workspaces.described(held.space))
            return found

    async def GetDiff(self, request: pb.GetDiffRequest, context: Context) -> pb.GetDiffResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            return await changes.diff(held.git, request)

    async def ListCommits(self, request: pb.ListCommitsRequest, context: Context) -> pb.ListCommitsResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            return await changes.list_commits(held.git, request)

    async def ListFiles(self, request: pb.ListFilesRequest, context: Context) -> pb.ListFilesResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            return await changes.list_files(held.git, request)

    async def ReadFile(self, request: pb.ReadFileRequest, context: Context) -> pb.ReadFileResponse:
        async with answering(context), self._workspaces.held(request.workspace, shared=True) as held:
            most = request.max_bytes or _DEFAULT_READ_BYTES
            part = await self._workspaces.in_thread(
                tree_files.read_part, held.space.tree, request.path, request.offset, most
            )
            truncated = request.offset + len(part.content) < part.size_bytes
            whole = not request.offset and not truncated
            return pb.ReadFileResponse(
                content=part.content,
                size_bytes=part.size_bytes,
                truncated=truncated,
                sha256=hashlib.sha256(part.content).hexdigest() if whole else "",
                executable=part.executable,
                lfs_pointer=part.lfs_pointer,
            )

    async def WriteFiles(self, request: pb.WriteFilesRequest, context: Context) -> pb.WriteFilesResponse:
        async with answering(context), self._workspaces.held(request.workspace) as held:
            written = 0
            for each in request.files:
                written += await self._workspaces.in_thread(tree_files.apply, held.space.tree, each)
            return pb.WriteFilesResponse(written=written)

    async def Commit(self, request: pb.CommitRequest, context: Context) -> pb.CommitResponse:
        async with answering(context):
            paths = changes.checked(request.paths)
            async with self._workspaces.held(request.workspace) as held:
                return await commits.commit(held.git, request, request.key or current_task().id, paths)

    async def Push(self, request: pb.PushRequest, context: Context) -> pb.PushResponse:
        async with answering(context), self._workspaces.held(request.workspace) as held:
            branch = check_branch(request.branch or await held.git.branch())
            remote = self._workspaces.remote_of(held.about)
            up_to_date = await remotes.push(held.git, remote, branch, request.replace)
            head = await held.git.commit_at(f"refs/heads/{branch}")
            return pb.PushResponse(branch=branch, head=head, up_to_date=up_to_date)
