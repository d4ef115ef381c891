"""The parts that weft's clients and servers share: errors, refusals, channels, metadata, call context, balancing, logs, times."""

from weft.rpc.process import fork_support

fork_support.settle()
