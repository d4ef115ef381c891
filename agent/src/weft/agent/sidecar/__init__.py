"""The sidecar: an agent beside a stock gRPC server in any language, whose methods it hosts and whose calls it balances.

    weft agent --app 127.0.0.1:50051

`Sidecar` the agent; `SidecarSettings`, by `sidecar_settings(...)`, are its special settings.
"""

from weft.agent.sidecar.sidecar import Sidecar
from weft.agent.sidecar.sidecar_settings import SidecarSettings, sidecar_settings

__all__ = ["Sidecar", "SidecarSettings", "sidecar_settings"]
