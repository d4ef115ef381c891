"""An agent whose service has task policies in its own .proto, and which knows nothing of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from billing.v1 import billing_pb2, billing_pb2_grpc
from weft.agent import Agent, current_task
from weft.rpc.process.logs import get_logger

_log = get_logger("billing")


class Billing(billing_pb2_grpc.BillingServiceServicer):
    async def Charge(self, request: billing_pb2.ChargeRequest, context: Any) -> billing_pb2.ChargeReply:
        task = current_task()
        if request.card_code:
            _log.warning("charging", card_code=request.card_code, asked=str(request))
            logging.getLogger("billing").warning("charging %s", request)
        if request.card_code and task.attempt <= request.fail_attempts:
            raise ValueError(f"no such card: {request}")
        if task.agent_id in request.broken_agents:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{task.agent_id} is broken")
        if task.attempt <= request.fail_attempts:
            await context.abort(grpc.StatusCode.INTERNAL, f"attempt {task.attempt} fails")
        return billing_pb2.ChargeReply(
            agent_id=task.agent_id, attempt=task.attempt, task_id=task.id, card_code=request.card_code
        )

    Quote = Refund = Preview = Settle = Audit = Charge

    async def Watch(
        self, request: billing_pb2.ChargeRequest, context: Any
    ) -> AsyncIterator[billing_pb2.ChargeReply]:
        yield await self.Charge(request, context)

    async def Import(
        self, requests: AsyncIterator[billing_pb2.ChargeRequest], context: Any
    ) -> billing_pb2.ChargeReply:
        reply = billing_pb2.ChargeReply()
        async for request in requests:
            reply = await self.Charge(request, context)
        return reply


agent = Agent()
agent.add_servicer(billing_pb2_grpc.add_BillingServiceServicer_to_server, Billing())
