"""Who calls and who may: callers, the scopes of their tokens, the edge in front of a server's doors."""
