"""The admin: writes the settings, tells the workers, and shows who joins. `python -m examples.fleet.admin TARGET FILE JSON`"""

import sys
from pathlib import Path

from weft.client.sync import connect
from weft.v1.lifecycle_pb2 import AgentJoined

if __name__ == "__main__":
    target, file, text = sys.argv[1:]
    Path(file).write_text(text)
    with connect(target) as mesh:
        for outcome in mesh.broadcast({"settings": file}):
            print(outcome.agent_id, outcome.error or "has the settings", flush=True)
        for event in mesh.events.subscribe(AgentJoined, on_start=lambda _: print("listens", flush=True)):
            print(event.message.member.agent_id, "has joined", flush=True)
