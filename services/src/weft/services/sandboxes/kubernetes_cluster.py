"""The Kubernetes cluster of sandboxes: the agent's own, or that of KUBECONFIG. Each call has a deadline, and raises `BoxError`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from kubernetes_asyncio import client, config
from kubernetes_asyncio.stream import WsApiClient

from weft.rpc import bounded_json
from weft.services.sandboxes.kubernetes_channel import PodChannel
from weft.services.sandboxes.kubernetes_spec import CONTAINER, GROUP, PLURAL, SANDBOX_LABEL, VERSIONS
from weft.services.sandboxes.sandbox_provider import BoxError

_CALL_S = 15.0
# A connection to process 1 that is dead is seen within this time. Those of programs have none: they answer no question while their input is not taken.
_HEARTBEAT_S = 20.0
_PAGE = 500
_MOST_WORDS = 300
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_RETRIED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)


class Cluster:
    """The calls, on the running loop.

    Args:
        space: the namespace of Kubernetes; empty: the agent's own.
    """

    def __init__(self, configuration: Any, space: str) -> None:
        self.space = space or own_namespace()
        self._client = client.ApiClient(configuration)
        self._programs = WsApiClient(configuration)
        self._first = WsApiClient(configuration, heartbeat=_HEARTBEAT_S)
        self._core = client.CoreV1Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)

    @classmethod
    async def open(cls, space: str) -> Cluster:
        """Find the cluster.

        Raises:
            BoxError: there is none.
        """
        # An own one: the program may have clients of its own.
        configuration = client.Configuration()
        try:
            if os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=configuration)
            else:
                await config.load_kube_config(client_configuration=configuration)
        except Exception as error:
            raise BoxError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the agent is in no cluster, and KUBECONFIG leads to none: {error}",
            ) from error
        # Each program has a connection; how many there may be is bound elsewhere.
        configuration.connection_pool_maxsize = 0
        return cls(configuration, space)

    async def close(self) -> None:
        """Close all connections."""
        for each in (self._programs, self._first, self._client):
            await each.close()

    async def version(self) -> str:
        """The version of the resource `Sandbox` that the cluster has; empty: none."""
        for version in VERSIONS:
            async with told(HTTPStatus.NOT_FOUND):
                found = await self._custom.get_api_resources(GROUP, version, _request_timeout=_CALL_S)
                if any(each.name == PLURAL for each in found.resources):
                    return version
        return ""

    async def policy(self, name: str) -> Any:
        """A network policy; None: there is none."""
        async with told(HTTPStatus.NOT_FOUND):
            policies = client.NetworkingV1Api(self._client)
            return await policies.read_namespaced_network_policy(name, self.space, _request_timeout=_CALL_S)
        return None

    async def create(self, manifest: Any, version: str) -> None:
        """Make a pod, or a resource of this version."""
        async with told():
            if version:
                await self._custom.create_namespaced_custom_object(
                    GROUP, version, self.space, PLURAL, manifest, _request_timeout=_CALL_S
                )
            else:
                await self._core.create_namespaced_pod(self.space, manifest, _request_timeout=_CALL_S)

    async def delete(self, name: str, version: str) -> None:
        """Delete one. Harmless if it is gone."""
        # CONFLICT: it is being deleted.
        async with told(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            if version:
                await self._custom.delete_namespaced_custom_object(
                    GROUP, version, self.space, PLURAL, name, _request_timeout=_CALL_S
                )
            else:
                await self._core.delete_namespaced_pod(
                    name, self.space, grace_period_seconds=0, _request_timeout=_CALL_S
                )

    async def pod(self, name: str) -> Any:
        """A pod; None: there is none."""
        async with told(HTTPStatus.NOT_FOUND):
            return await self._core.read_namespaced_pod(name, self.space, _request_timeout=_CALL_S)
        return None

    async def pods(self) -> list[Any]:
        """The pods of all sandboxes."""
        found: list[Any] = []
        after = ""
        while True:
            async with told():
                page = await self._core.list_namespaced_pod(
                    self.space,
                    label_selector=f"{SANDBOX_LABEL}=true",
                    limit=_PAGE,
                    _continue=after,
                    _request_timeout=_CALL_S,
                )
                found += page.items
            after = page.metadata._continue or ""  # the library's name for it
            if not after:
                return found

    async def resources(self, version: str) -> dict[str, str]:
        """When each sandbox's resource was made, by its name."""
        async with told():
            page = await self._custom.list_namespaced_custom_object(
                GROUP,
                version,
                self.space,
                PLURAL,
                label_selector=f"{SANDBOX_LABEL}=true",
                _request_timeout=_CALL_S,
            )
            told_of = [each["metadata"] for each in page["items"]]
        return {each["name"]: each["creationTimestamp"] for each in told_of}

    async def run(self, name: str, argv: Sequence[str]) -> PodChannel:
        """Start a program in a pod."""
        return await self._joined(
            client.CoreV1Api(self._programs).connect_get_namespaced_pod_exec, name, command=list(argv)
        )

    async def attach(self, name: str) -> PodChannel:
        """The connection to a pod's process 1."""
        return await self._joined(client.CoreV1Api(self._first).connect_get_namespaced_pod_attach, name)

    async def _joined(self, call: Any, name: str, **what: Any) -> PodChannel:
        async with told(), asyncio.timeout(_CALL_S):
            made = await call(
                name,
                self.space,
                container=CONTAINER,
                stdin=True,
                stdout=True,
                stderr=True,
                tty=False,
                _preload_content=False,
                **what,
            )
            return PodChannel(await made)
        raise AssertionError


@contextlib.asynccontextmanager
async def told(*harmless: int) -> AsyncIterator[None]:
    """What the cluster refuses, as an error that a caller gets."""
    try:
        yield
    except (client.ApiException, aiohttp.WSServerHandshakeError) as error:
        status = int(error.status or 0)
        if status not in harmless:
            raise _refusal(status, error) from error
    except TimeoutError as error:
        raise BoxError(grpc.StatusCode.UNAVAILABLE, "the Kubernetes API does not answer in time") from error
    except BoxError:
        raise
    except Exception as error:
        raise BoxError(
            grpc.StatusCode.UNAVAILABLE, f"the Kubernetes API cannot be reached: {error!r}"
        ) from error


def _refusal(status: int, error: Any) -> BoxError:
    words = _message(error)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and "exceeded quota" not in words:
        advice = "the agent's service account needs the rights of deploy/kubernetes/sandboxes.yaml, and a valid token"
        return BoxError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the Kubernetes API refuses it ({status}): {words}. {advice}",
        )
    code = grpc.StatusCode.FAILED_PRECONDITION
    if status == HTTPStatus.FORBIDDEN:
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
    elif status in _RETRIED or not status or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code = grpc.StatusCode.UNAVAILABLE
    return BoxError(code, f"the Kubernetes API answers {status}: {words}")


def _message(error: Any) -> str:
    try:
        words = bounded_json.loads(error.body)["message"]
    except (AttributeError, ValueError, TypeError, KeyError):
        words = getattr(error, "reason", None) or getattr(error, "message", None)
    return str(words or "no reason is told")[:_MOST_WORDS]


def own_namespace() -> str:
    """That of the agent's pod; without one: "default"."""
    try:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"
