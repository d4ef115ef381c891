"""An agent for one question: launched for it, and gone with the answer.

WEFT_POOL_PROVIDERS=process weft coordinator
python -m examples.research.ephemeral 127.0.0.1:7700 $PWD/docs 'How are tasks retried?'
"""

import asyncio
import sys

from weft.client import PoolTemplate, call_options, connect
from weft.services.research.v1 import research_pb2 as pb
from weft.services.research.v1 import research_pb2_grpc


async def main(target: str, folder: str, question: str) -> None:
    template = PoolTemplate(
        program="weft.services.research:agent", environment={"WEFT_RESEARCH_FOLDER": folder}
    )
    async with connect(target) as mesh:
        launched = await mesh.pools.launch(template, ttl_s=300)
        try:
            await mesh.pools.wait_ready(launched.name)
            research = research_pb2_grpc.ResearchServiceStub(mesh.channel())
            # This agent alone has the folder.
            at = call_options(require={"weft.pool": launched.name})
            ask = pb.AskRequest(session_id=launched.name, question=question, forget=True)
            answer = (await research.AskOnce(pb.AskOnceRequest(ask=ask), timeout=300, metadata=at)).answer
        finally:
            await mesh.pools.delete(launched.name)
    print(answer.text)
    for number, each in enumerate(answer.citations, 1):
        print(f"[{number}] {each.source}:{each.first_line}-{each.last_line}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
