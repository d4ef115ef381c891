"""The Redis store: any number of coordinators, all active, none a leader. `store.RedisStore` is the way in."""
