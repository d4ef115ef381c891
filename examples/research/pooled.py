"""As many agents as there are questions: a pool that grows with the queue, and is gone when all are answered.

WEFT_POOL_PROVIDERS=process weft coordinator
python -m examples.research.pooled 127.0.0.1:7700 $PWD/docs 'How are tasks retried?' 'What is a lock?' 'Who may read the audit?'
"""

import asyncio
import sys
import uuid

from weft.client import Autoscale, PoolTemplate, connect
from weft.services.research.v1 import research_pb2 as pb
from weft.services.research.v1 import research_pb2_grpc


async def main(target: str, folder: str, *questions: str) -> None:
    template = PoolTemplate(
        program="weft.services.research:agent", slots=1, environment={"WEFT_RESEARCH_FOLDER": folder}
    )
    async with connect(target) as mesh:
        name = f"research-{uuid.uuid4().hex[:8]}"
        # If this program is lost, the pool is gone after ten minutes.
        await mesh.pools.create(name, template, autoscale=Autoscale(min=1, max=4), ttl_s=600)
        try:
            await mesh.pools.wait_ready(name)
            research = research_pb2_grpc.ResearchServiceStub(mesh.channel())

            async def answer(number: int, question: str) -> str:
                # A session each, that nobody keeps: so they are answered at the same time.
                ask = pb.AskRequest(session_id=f"{name}-{number}", question=question, forget=True)
                answered = (await research.AskOnce(pb.AskOnceRequest(ask=ask), timeout=300)).answer
                places = ", ".join(f"{each.source}:{each.first_line}" for each in answered.citations)
                return f"{question}\n{answered.text}\n({places or 'nothing is cited'})\n"

            for each in asyncio.as_completed([answer(*each) for each in enumerate(questions)]):
                print(await each, flush=True)
        finally:
            await mesh.pools.delete(name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
