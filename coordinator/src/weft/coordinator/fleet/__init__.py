"""The fleet: agents, queues, discovery, health."""
