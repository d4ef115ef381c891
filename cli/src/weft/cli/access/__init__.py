"""Commands about who may call what."""
