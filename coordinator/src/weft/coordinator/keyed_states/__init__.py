"""Keyed states: what locks keep, for operators and for handlers that save before their end."""
