"""The truth: where tasks, results, leases and wishes are kept. `base.Store` is the Protocol that each store fills."""
