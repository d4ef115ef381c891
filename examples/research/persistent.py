"""An agent that stays, and a session that it keeps: each line of the input is a question, and the next one knows what came before.

    WEFT_RESEARCH_FOLDER=$PWD/docs weft up --with research --agents 1
    python -m examples.research.persistent 127.0.0.1:7700 monday

Come back tomorrow with the same session, or from another machine: it is the mesh that keeps it.
"""

import asyncio
import sys

from weft.client import connect
from weft.services.research.v1 import research_pb2, research_pb2_grpc


async def main(target: str, session_id: str) -> None:
    async with connect(target) as mesh:
        research = research_pb2_grpc.ResearchServiceStub(mesh.channel())
        for line in map(str.strip, sys.stdin):
            if not line:
                continue
            request = research_pb2.AskRequest(session_id=session_id, question=line)
            async for event in research.Ask(request, timeout=300):
                if event.HasField("progress"):
                    activity = research_pb2.Activity.Name(event.progress.activity)
                    print(
                        f"  {activity.removeprefix('ACTIVITY_').lower()} {event.progress.detail}", flush=True
                    )
                for number, each in enumerate(event.answer.citations, 1):
                    print(f"[{number}] {each.source}:{each.first_line}-{each.last_line}")
                print(event.answer.text)
        kept = await research.GetSession(research_pb2.GetSessionRequest(session_id=session_id))
        print(f"The session {session_id} has {len(kept.session.turns)} questions.")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
