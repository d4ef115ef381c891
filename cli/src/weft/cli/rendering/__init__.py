"""Tasks, agents and queues as JSON documents and as text for people."""
