"""Trust between processes: certificates, and the connections and ports that use them; callers, their tokens and scopes."""
