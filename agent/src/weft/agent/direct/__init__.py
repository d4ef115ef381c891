"""The agent's own port: direct calls, and `AgentService`."""
