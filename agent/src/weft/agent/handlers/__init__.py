"""Running handlers: slots, contexts, the ways to run a handler, isolation, and outcomes."""
