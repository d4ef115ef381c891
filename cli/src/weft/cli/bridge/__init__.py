"""Bridges: what another system queues becomes tasks."""
