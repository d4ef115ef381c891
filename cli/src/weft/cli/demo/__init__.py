"""`weft demo`: real work goes through a mesh on this machine, survives two crashes, and is checked.

    command.py  the options, and the order of things        report.py   the verdict, the table, the line of JSON
    story.py    submission, crashes, results                direct.py   the computation to check against
    agent.py    the agents: the example, with a ledger      ledger.py   what really ran, outside the mesh
    corpus.py   the files, and where the example is         stage.py    what is shown meanwhile

Every process belongs to `weft.cli.process.children`, and is gone when the demo is.
"""

from weft.cli.demo.demo_command import demo

__all__ = ["demo"]
