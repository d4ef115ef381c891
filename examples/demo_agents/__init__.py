"""`make demo-agents`: the ready services together on one job of this machine, a study of Python's standard library.

__main__.py       the command, and the order of steps    study.yaml        the graph: which service does what, and when
demo_mesh.py      the processes, and what is here        study.py          the agents' own methods
local_git.py      a git server with the files            measure_files.py  the program that runs in sandboxes
run_watch.py      follows the run, kills an agent        outcome.py        the verdict and the lines of each service
picture.py        the run as SVG
"""

# First: it settles how gRPC forks, which gRPC reads when it is loaded.
import weft.client as _client

__all__: list[str] = []
del _client
