"""Commands of operators to agents: who is selected, how a command gets there, and what becomes of it."""
