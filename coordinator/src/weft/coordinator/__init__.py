"""The control plane: accepts tasks, keeps them in its store, and assigns them to agents."""

from weft.rpc.process.extras import require

require("coordinator")
