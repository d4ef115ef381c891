"""Client-side balancing: a channel that chooses an agent for each direct call.

    balancer = Balancer("least_connections")
    balancer.update(agents)                       # from weft.rpc.discovery, or a coordinator's own fleet
    stub = AnalystStub(balancer.channel())
    reply = await stub.Analyze(request, timeout=5)
    balancer.explain("acme.v1.Analyst/Analyze")   # what the next call would get, and why
    await balancer.close()

The rules are pure, a file each; `balancer.py` applies them, `calls.py` has what a call does, `channel.py` what a stub sees.
"""

from weft.rpc.balancing.balancer import POLICIES, Balancer, BalancerLimits
from weft.rpc.balancing.explanation import Candidate, Explanation
from weft.rpc.balancing.outliers import OutlierRules
from weft.rpc.balancing.stats import Stats

__all__ = ["POLICIES", "Balancer", "BalancerLimits", "Candidate", "Explanation", "OutlierRules", "Stats"]
