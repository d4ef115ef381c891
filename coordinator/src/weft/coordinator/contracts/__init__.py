"""Contracts that agents register: which is in force, and whether a new one is compatible."""
