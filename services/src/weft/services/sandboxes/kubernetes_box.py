"""The provider `kubernetes`: a sandbox is a pod, made by the controller of agent-sandbox (`Sandbox`, agents.x-k8s.io), or plainly. An image with python3 is all that it needs.

its resource is made ─► its pod runs ─► attach: process 1 ─► programs by exec ─► the resource is deleted, and the pod is gone
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import uuid
from collections.abc import Mapping, Sequence

import grpc

from weft.agent import Sandbox
from weft.rpc.process.logs import get_logger
from weft.services.sandboxes import kubernetes_spec as spec
from weft.services.sandboxes.kubernetes_channel import LastingChannel, PodChannel
from weft.services.sandboxes.kubernetes_cluster import Cluster, own_namespace
from weft.services.sandboxes.remote_box import LEASE_S, RemoteBox
from weft.services.sandboxes.remote_piece import do_once
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings

_log = get_logger("weft.services.sandboxes")

_GONE_S = 30.0
# Between two looks for what other agents have left, when one is made.
_SWEEP_S = 300.0
_FIRST_USER, _USERS = 1_000_000_000, 1_000_000_000


class KubernetesBoxProvider:
    """Makes pods."""

    def __init__(self) -> None:
        self._settings = SandboxesSettings()
        self._cluster: Cluster | None = None
        self._version = ""
        self._opening = asyncio.Lock()
        self._sweep_at_s = 0.0
        self._sweeping: asyncio.Task[None] | None = None

    async def create(self, sandbox: Sandbox) -> RemoteBox:
        """A box whose process 1 runs.

        Raises:
            BoxError: the cluster cannot be reached, or refuses it, or its pod does not start in time.
        """
        if sandbox.readable:
            raise BoxError(
                grpc.StatusCode.UNIMPLEMENTED,
                "the provider kubernetes cannot show folders of the machine (WEFT_SANDBOXES_READABLE): put them into the image",
            )
        cluster = await self._opened()
        if not sandbox.network:
            await _check_policy(cluster)
        carrier = PodCarrier(cluster, f"weft-sandbox-{uuid.uuid4().hex[:16]}", self._version)
        user = _FIRST_USER + secrets.randbelow(_USERS)
        pod = spec.pod_of(sandbox, carrier.name, user, LEASE_S, self._settings)
        try:
            ends_at = _now() + dt.timedelta(seconds=self._settings.kubernetes_deadline_s)
            made = spec.resource_of(pod, self._version, ends_at) if self._version else pod
            await cluster.create(made, self._version)
            await carrier.up(self._settings.kubernetes_ready_s)
            first = LastingChannel(lambda: cluster.attach(carrier.name), carrier.runs)
            try:
                await first.open()
                box = RemoteBox(carrier, first, sandbox.variables)
                await box.ready()
            except BaseException:
                await first.close()
                raise
        except BaseException:
            with contextlib.suppress(BoxError):
                await asyncio.shield(carrier.remove())
            raise
        self._sweep()
        return box

    async def close(self) -> None:
        """Close the connections to the cluster."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})
        if self._cluster is not None:
            await self._cluster.close()

    async def _opened(self) -> Cluster:
        """The cluster, found on the loop that uses it, and what it makes sandboxes of."""
        async with self._opening:
            if self._cluster is not None:
                return self._cluster
            cluster = await Cluster.open(self._settings.kubernetes_namespace)
            try:
                if self._settings.kubernetes_owner_uid and cluster.space != own_namespace():
                    # Kubernetes looks for it there, finds none, and removes what it owns.
                    raise BoxError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"WEFT_SANDBOXES_KUBERNETES_OWNER_UID: a sandbox's owner must be in the same namespace, {cluster.space}",
                    )
                self._version = await self._found_version(cluster)
            except BaseException:
                await cluster.close()
                raise
            self._cluster = cluster
            return cluster

    async def _found_version(self, cluster: Cluster) -> str:
        kind = self._settings.kubernetes_kind
        version = "" if kind == "pod" else await cluster.version()
        if kind == "sandbox" and not version:
            raise BoxError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the cluster has no resource Sandbox of {spec.GROUP}: install agent-sandbox, or set WEFT_SANDBOXES_KUBERNETES_KIND=pod",
            )
        return version

    def _sweep(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + _SWEEP_S
            self._sweeping = asyncio.ensure_future(self._remove_left())

    async def _remove_left(self) -> None:
        """Remove what agents have made that are gone."""
        assert self._cluster is not None
        try:
            await remove_left(self._cluster, self._version, self._settings.kubernetes_ready_s)
        except BoxError as error:
            _log.warning("sandbox.left_not_removed", error=repr(error))


async def remove_left(cluster: Cluster, version: str, ready_s: float) -> None:
    """Remove the sandboxes of one kind that nobody holds any more."""
    pods = await cluster.pods()
    if version:
        made = spec.made_at(await cluster.resources(version))
    else:
        made = {each.metadata.name: each.metadata.creation_timestamp for each in pods}
    for name in spec.left_over(made, pods, _now(), ready_s + LEASE_S):
        await cluster.delete(name, version)


class PodCarrier:
    """A pod, and what is done with it.

    Args:
        version: of its resource; empty: it has none.
    """

    held_by: Mapping[str, str] = spec.HELD_BY

    def __init__(self, cluster: Cluster, name: str, version: str) -> None:
        self.name = name
        self._cluster = cluster
        self._version = version
        self._channels: set[PodChannel] = set()
        self._removed = False

    async def up(self, within_s: float) -> None:
        """Wait until its process 1 runs.

        Raises:
            BoxError: it will not, or takes too long.
        """
        loop = asyncio.get_running_loop()
        ends_at_s, pause_s = loop.time() + within_s, 0.05
        while not spec.is_up(pod := await self._cluster.pod(self.name)):
            if loop.time() >= ends_at_s:
                raise BoxError(
                    grpc.StatusCode.UNAVAILABLE,
                    f"a sandbox was not ready within {within_s:g} s (WEFT_SANDBOXES_KUBERNETES_READY_S): {spec.waits_for(pod)}",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)

    async def runs(self) -> bool:
        """It has not ended."""
        return spec.runs(await self._cluster.pod(self.name))

    async def run(self, argv: Sequence[str]) -> PodChannel:
        channel = await self._cluster.run(self.name, argv)
        if self._removed:
            await channel.close()
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox has ended")
        self._channels = {each for each in self._channels if not each.closed} | {channel}
        return channel

    # Kubernetes has no pause: its programs are stopped by a signal that they cannot ignore.
    async def pause(self) -> None:
        await do_once(self, "still")

    async def resume(self) -> None:
        await do_once(self, "go")

    async def remove(self) -> None:
        self._removed = True
        try:
            async with asyncio.timeout(_GONE_S):
                await self._cluster.delete(self.name, self._version)
                while True:
                    if await self._cluster.pod(self.name) is None:
                        return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise BoxError(
                grpc.StatusCode.UNAVAILABLE, f"the pod {self.name} was not gone within {_GONE_S:g} s"
            ) from None
        finally:
            # The cluster may be out of reach, and then ends none of them.
            await asyncio.gather(*(each.close() for each in self._channels), return_exceptions=True)

    async def ended_for(self) -> str:
        try:
            return spec.ending(await self._cluster.pod(self.name))
        except BoxError:
            return "the connection to its process 1 was lost"


async def _check_policy(cluster: Cluster) -> None:
    """Raises BoxError unless the policy that keeps a sandbox from the network is there. Whether the cluster enforces it cannot be seen."""
    policy = await cluster.policy(spec.POLICY)
    if policy is None or not spec.forbids_network(policy):
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the namespace {cluster.space} has no NetworkPolicy {spec.POLICY} that keeps sandboxes from the network: apply deploy/kubernetes/sandboxes.yaml",
        )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
