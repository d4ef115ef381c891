"""Client-side balancing: a channel that chooses an agent for each direct call.

    balancer = Balancer("least_connections")
    balancer.update(agents)                       # from weft.rpc.discovery, or a coordinator's own fleet
    stub = AnalystStub(BalancedChannel(balancer))
    reply = await stub.Analyze(request, timeout=5)
    balancer.explain("acme.v1.Analyst/Analyze")   # which endpoint the next call would get, and why
    await balancer.close()

The rules are pure, one in each file. `balancer.py` applies them, `balanced_calls.py` and `balanced_shapes.py` make the calls,
and `balanced_channel.py` has the channel for stubs.
"""

from weft.rpc.balancing.balanced_channel import BalancedChannel
from weft.rpc.balancing.balancer import POLICIES, Balancer, BalancerLimits
from weft.rpc.balancing.explanation import Candidate, Explanation
from weft.rpc.balancing.outliers import OutlierRules
from weft.rpc.balancing.stats import Stats

__all__ = [
    "POLICIES",
    "BalancedChannel",
    "Balancer",
    "BalancerLimits",
    "Candidate",
    "Explanation",
    "OutlierRules",
    "Stats",
]
