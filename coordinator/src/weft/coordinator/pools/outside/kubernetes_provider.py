"""`kubernetes`: members are pods of a cluster: the coordinator's own, when it runs in one, or that of KUBECONFIG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from weft.coordinator.pools.provider import (
    ListedMember,
    MemberSpec,
    ProviderSetting,
    check_reach,
    command_of,
)
from weft.rpc import refusals
from weft.v1 import pool_pb2

MESH, POOL, MEMBER = "weft.dev/mesh", "weft.dev/pool", "weft.dev/member"
SETTINGS = {"cpu", "memory", "service_account", "image_pull_policy"}
_ENDED = ("Succeeded", "Failed")
_OWN_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_PAGE = 500


class KubernetesProvider:
    """Makes and deletes pods, in the namespace of Kubernetes that WEFT_POOL_NAMESPACE names, or the coordinator's own. A pod's name is the member's id
    and the mark of the mesh, so that there is one. A pod that is being deleted runs until it is gone."""

    name = "kubernetes"
    description = "A pod of a Kubernetes cluster, by the extra weft[pools]."

    def __init__(self, setting: ProviderSetting) -> None:
        import kubernetes_asyncio

        self._library = kubernetes_asyncio
        self._mesh = setting.mesh
        self._space = os.environ.get("WEFT_POOL_NAMESPACE") or _own_namespace()
        host = os.environ.get("KUBERNETES_SERVICE_HOST") or os.environ.get("KUBECONFIG") or "~/.kube/config"
        self.place = f"kubernetes:{host}/{self._space}"
        self._api: Any = None
        self._client: Any = None

    async def _pods(self) -> Any:
        """The API of pods, made on the loop that uses it."""
        if self._api is None:
            config = self._library.config
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config()
            else:
                await config.load_kube_config()
            self._client = self._library.client.ApiClient()
            self._api = self._library.client.CoreV1Api(self._client)
        return self._api

    def check(self, template: pool_pb2.PoolTemplate) -> None:
        field = "spec.template"
        if not template.image:
            raise refusals.invalid_field("a pod needs an image", field=f"{field}.image")
        if unknown := template.settings.keys() - SETTINGS:
            raise refusals.invalid_field(
                f"kubernetes has no setting {min(unknown)!r}; there are {', '.join(sorted(SETTINGS))}",
                field=f"{field}.settings",
            )

    def _name(self, member_id: str) -> str:
        # 40 characters of the pool's name, 7 and 12: a DNS label.
        return f"{member_id}-{self._mesh}"

    async def list(self) -> Mapping[str, ListedMember]:
        pods, found, after = await self._pods(), {}, None
        while True:
            page = await pods.list_namespaced_pod(
                self._space, label_selector=f"{MESH}={self._mesh}", limit=_PAGE, _continue=after or ""
            )
            for pod in page.items:
                ended = pod.status.phase in _ENDED
                found[pod.metadata.labels[MEMBER]] = ListedMember(
                    "", not ended, _ending(pod) if ended else ""
                )
            after = page.metadata._continue
            if not after:
                return found

    async def start(self, member: MemberSpec) -> None:
        check_reach(member)
        pods = await self._pods()
        try:
            await pods.create_namespaced_pod(self._space, self._manifest(member))
        except self._library.client.ApiException as error:
            if error.status != HTTPStatus.CONFLICT:
                raise _fault(error) from None

    def _manifest(self, member: MemberSpec) -> dict[str, Any]:
        template = member.template
        settings = template.settings
        limits = {name: settings[name] for name in ("cpu", "memory") if settings.get(name)}
        container: dict[str, Any] = {
            "name": "agent",
            "image": template.image,
            "env": [{"name": name, "value": text} for name, text in member.variables.items()],
            "resources": {"limits": limits, "requests": limits},
        }
        if words := command_of(template, ["weft"]):
            container |= {"command": words[:1], "args": words[1:]}
        if template.folder:
            container["workingDir"] = template.folder
        if policy := settings.get("image_pull_policy"):
            container["imagePullPolicy"] = policy
        spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
        if account := settings.get("service_account"):
            spec["serviceAccountName"] = account
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self._name(member.id),
                "labels": {MESH: self._mesh, POOL: member.pool, MEMBER: member.id},
            },
            "spec": spec,
        }

    async def stop(self, member_id: str, grace_s: float) -> None:
        await self._delete(member_id, grace_s)

    async def forget(self, member_id: str) -> None:
        await self._delete(member_id, 0)

    async def _delete(self, member_id: str, grace_s: float) -> None:
        pods = await self._pods()
        try:
            await pods.delete_namespaced_pod(
                self._name(member_id), self._space, grace_period_seconds=int(grace_s)
            )
        except self._library.client.ApiException as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise _fault(error) from None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _ending(pod: Any) -> str:
    """How a pod has ended."""
    states = [each.state.terminated for each in pod.status.container_statuses or () if each.state.terminated]
    found = [f"{each.reason}, status {each.exit_code}: {each.message or ''}".rstrip(": ") for each in states]
    return "; ".join(found) or pod.status.message or pod.status.reason or pod.status.phase


def _fault(error: Any) -> RuntimeError:
    """What the cluster has refused, in a line."""
    return RuntimeError(f"Kubernetes answered {error.status} {error.reason}: {(error.body or '')[:200]}")


def _own_namespace() -> str:
    try:
        with open(_OWN_NAMESPACE) as file:  # noqa: PTH123
            return file.read().strip() or "default"
    except OSError:
        return "default"
