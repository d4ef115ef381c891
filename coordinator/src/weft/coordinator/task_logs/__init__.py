"""Logs of tasks: asked of the agents that keep them, wherever their sessions are."""
