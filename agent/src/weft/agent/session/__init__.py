"""The agent's session with a coordinator: its stream, its attempts, and the agent's description of itself."""
