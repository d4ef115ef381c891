"""The store: tasks, results, leases and desired states. `base.Store` is the Protocol of every store."""
