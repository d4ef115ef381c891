"""The control plane: takes tasks in, keeps them in its store, and hands them to agents."""

from weft.rpc.process.extras import require

require("coordinator")
