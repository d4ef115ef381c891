"""Wrong uses of `weft.agent`."""

from __future__ import annotations

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent, MethodOptions, RunLimit, current_task

agent = Agent("a", slots="4")  # wrong
agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server)  # wrong
agent.add_service(probe_pb2_grpc.add_ProbeServiceServicer_to_server, object())  # wrong


@agent.method("acme.v1.Shouter/Whisper", isolated=True)  # wrong
def whisper(request: probe_pb2.Payload) -> probe_pb2.Payload:
    return request


@agent.method("acme.v1.Shouter/Echo", isolate=True)
def echo(request: probe_pb2.Payload) -> probe_pb2.Payload:
    print(current_task().identifier)  # wrong
    return request


print(echo(3))  # wrong


MethodOptions(start_to_close=30)  # wrong
MethodOptions(mode="fast")  # wrong
RunLimit(max_running=1, at_limit="drop")  # wrong


@agent.method("acme.v1.Shouter/Loud", priority="high")  # wrong
def loud(request: probe_pb2.Payload) -> probe_pb2.Payload:
    return request
