"""The pods of a Kubernetes cluster, as the cluster tells them. Never their variables, commands or annotations, which may have secrets."""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from typing import Any

import grpc

from weft.services.hardware.outside import OutsideError
from weft.services.hardware.v1 import hardware_pb2

DEFAULT_PAGE = 100
_ANSWER_S = 20.0
_CODES: dict[int, grpc.StatusCode] = {
    HTTPStatus.UNAUTHORIZED: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    # The page before is too old.
    HTTPStatus.GONE: grpc.StatusCode.INVALID_ARGUMENT,
}


async def list_pods(request: hardware_pb2.ListPodsRequest) -> hardware_pb2.ListPodsResponse:
    """A page of pods.

    Raises:
        OutsideError: the package or a configuration is missing, or the cluster refuses or does not answer.
    """
    try:
        from kubernetes_asyncio import client, config
    except ImportError:
        raise OutsideError.missing("kubernetes-asyncio") from None
    # An own one: the program may have clients of its own.
    configuration = client.Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
    except Exception as error:
        raise OutsideError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the agent is in no cluster, and KUBECONFIG leads to none: {error}",
        ) from error
    try:
        async with asyncio.timeout(_ANSWER_S), client.ApiClient(configuration) as api:
            page = await _page(client.CoreV1Api(api), request)
    except client.ApiException as error:
        status = error.status if isinstance(error.status, int) else 0
        code = _CODES.get(status, grpc.StatusCode.FAILED_PRECONDITION)
        raise OutsideError(code, f"the cluster answered {error.status} {error.reason}") from error
    except Exception as error:
        raise OutsideError.silent("the Kubernetes cluster", error) from error
    return hardware_pb2.ListPodsResponse(
        pods=[pod_of(each) for each in page.items],
        next_page_token=page.metadata._continue or "",  # the library's name for it
    )


async def _page(api: Any, request: hardware_pb2.ListPodsRequest) -> Any:
    asked: dict[str, Any] = {"limit": request.page_size or DEFAULT_PAGE}
    if request.page_token:
        asked["_continue"] = request.page_token
    if request.node:
        asked["field_selector"] = f"spec.nodeName={request.node}"
    if request.namespace:
        return await api.list_namespaced_pod(request.namespace, **asked)
    return await api.list_pod_for_all_namespaces(**asked)


def pod_of(told: Any) -> hardware_pb2.Pod:
    """A pod, as the library reads it."""
    status, spec = told.status, told.spec
    pod = hardware_pb2.Pod(
        namespace=told.metadata.namespace or "",
        name=told.metadata.name or "",
        node=spec.node_name or "",
        phase=status.phase or "",
        reason=status.reason or "",
    )
    if status.start_time is not None:
        pod.started_at.FromDatetime(status.start_time)
    states = {each.name: each for each in status.container_statuses or ()}
    for each in spec.containers or ():
        limits = (each.resources.limits if each.resources is not None else None) or {}
        container = pod.containers.add(
            name=each.name,
            image=each.image or "",
            cpu_limit=str(limits.get("cpu", "")),
            memory_limit=str(limits.get("memory", "")),
        )
        if (state := states.get(each.name)) is not None:
            container.ready, container.restarts = bool(state.ready), state.restart_count or 0
            container.state, container.reason = _state(state)
    return pod


def _state(status: Any) -> tuple[str, str]:
    for name in ("running", "waiting", "terminated"):
        found = getattr(status.state, name, None)
        if found is not None:
            return name, getattr(found, "reason", None) or ""
    return "", ""
