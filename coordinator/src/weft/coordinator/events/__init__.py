"""Events: messages that are published to topics, kept for a while, and read by subscribers."""
