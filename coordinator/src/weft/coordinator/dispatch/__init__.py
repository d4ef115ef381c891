"""Which agent gets which task, and what time brings."""
