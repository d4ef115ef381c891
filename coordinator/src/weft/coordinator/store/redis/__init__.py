"""The Redis store: any number of coordinators, all active, none a leader. `redis_store.RedisStore` is the way in."""
