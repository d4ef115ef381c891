"""Running handlers: slots, the ways to run them, isolation, and what becomes of each."""
