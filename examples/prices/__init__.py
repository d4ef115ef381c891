"""An agent with functions beside its handlers."""
