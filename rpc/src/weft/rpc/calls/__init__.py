"""Parts of a single call: metadata, call keys, call context, relay, admission."""
