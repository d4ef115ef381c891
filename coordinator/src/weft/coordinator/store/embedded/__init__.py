"""The embedded store: one coordinator, one machine, one SQLite file. `embedded_store` is the way in."""
