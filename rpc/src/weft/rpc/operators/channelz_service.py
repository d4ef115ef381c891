"""grpc.channelz.v1: what gRPC knows of this process' servers, channels and connections.

The stock servicer refuses every answer that has a field which it does not know, so that a newer grpcio than grpcio-channelz breaks
it; and it works on the event loop. Here unknown fields are left out, and one thread answers, one request after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

# gRPC offers its core's channelz nowhere else; grpcio-channelz takes it from here, too.
from grpc._cython import cygrpc as _cygrpc  # type: ignore[attr-defined, unused-ignore]
from grpc_channelz.v1 import channelz_pb2 as pb

from weft.rpc.process.logs import get_logger

SERVICE = "grpc.channelz.v1.Channelz"
# Requests that wait for the thread; more are refused.
MAX_WAITING = 64
# gRPC's own bound on a page of sockets.
_MAX_SOCKETS = 500

_core: Any = _cygrpc
_log = get_logger("weft.channelz")


class _Question(NamedTuple):
    """One RPC: its messages, and how gRPC's core is asked."""

    request: type[Message]
    response: type[Message]
    # Returns JSON. Raises ValueError: there is no such thing.
    ask: Callable[[Any], str | bytes]


_QUESTIONS: dict[str, _Question] = {
    f"/{SERVICE}/{name}": question
    for name, question in {
        "GetTopChannels": _Question(
            pb.GetTopChannelsRequest,
            pb.GetTopChannelsResponse,
            lambda asked: _core.channelz_get_top_channels(asked.start_channel_id),
        ),
        "GetServers": _Question(
            pb.GetServersRequest,
            pb.GetServersResponse,
            lambda asked: _core.channelz_get_servers(asked.start_server_id),
        ),
        "GetServer": _Question(
            pb.GetServerRequest,
            pb.GetServerResponse,
            lambda asked: _core.channelz_get_server(asked.server_id),
        ),
        "GetServerSockets": _Question(
            pb.GetServerSocketsRequest,
            pb.GetServerSocketsResponse,
            lambda asked: _core.channelz_get_server_sockets(
                asked.server_id, asked.start_socket_id, min(max(asked.max_results, 0), _MAX_SOCKETS)
            ),
        ),
        "GetChannel": _Question(
            pb.GetChannelRequest,
            pb.GetChannelResponse,
            lambda asked: _core.channelz_get_channel(asked.channel_id),
        ),
        "GetSubchannel": _Question(
            pb.GetSubchannelRequest,
            pb.GetSubchannelResponse,
            lambda asked: _core.channelz_get_subchannel(asked.subchannel_id),
        ),
        "GetSocket": _Question(
            pb.GetSocketRequest,
            pb.GetSocketResponse,
            lambda asked: _core.channelz_get_socket(asked.socket_id),
        ),
    }.items()
}


class ChannelzService(grpc.GenericRpcHandler):
    """The service; for `server.add_generic_rpc_handlers`. `close` ends its thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-channelz")
        self._waiting = 0
        self._handlers: dict[str, Any] = {
            path: grpc.unary_unary_rpc_method_handler(self._answering(question))
            for path, question in _QUESTIONS.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answering(self, question: _Question) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            if self._waiting >= MAX_WAITING:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{MAX_WAITING} requests wait for channelz already: ask again later",
                )
            self._waiting += 1
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, _answer, question, request)
            except _Refused as refused:
                return await context.abort(refused.code, str(refused))  # type: ignore[no-any-return]
            except Exception:
                _log.exception("channelz.failed")
                return await context.abort(  # type: ignore[no-any-return]
                    grpc.StatusCode.INTERNAL, "gRPC's answer cannot be read: see the log of this process"
                )
            finally:
                self._waiting -= 1

        return answer


class _Refused(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def _answer(question: _Question, request: bytes) -> bytes:
    """The serialized response to a serialized request.

    Raises:
        _Refused: the request is no message of this RPC, or asks for something that is not there.
    """
    asked = question.request()
    try:
        asked.ParseFromString(request)
    except DecodeError:
        name = asked.DESCRIPTOR.full_name
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {name}") from None
    try:
        found = question.ask(asked)
    except ValueError as error:
        raise _Refused(grpc.StatusCode.NOT_FOUND, str(error)) from None
    return json_format.Parse(found, question.response(), ignore_unknown_fields=True).SerializeToString()
