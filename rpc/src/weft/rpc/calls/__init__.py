"""One call on its way: metadata, call context, relay, admission."""
