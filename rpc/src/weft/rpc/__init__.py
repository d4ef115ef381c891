"""What every gRPC end of weft shares: errors, channel options, metadata, trace context, times."""

from weft.rpc.process import fork_support

fork_support.settle()
