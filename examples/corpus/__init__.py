"""A typed service that measures Python source files, made durable without a change.

    corpus.proto        the contract               corpus_service.py   an ordinary gRPC servicer
    analysis.py         the work itself            agent.py            the two lines that are weft

From a checkout: `weft up`, or `weft agent examples.corpus.agent:agent` beside a coordinator.
"""

import sys
from pathlib import Path

# Generated modules import one another by their proto package, so their root has to be importable.
_GEN = str(Path(__file__).parent / "gen")
if _GEN not in sys.path:
    sys.path.append(_GEN)
