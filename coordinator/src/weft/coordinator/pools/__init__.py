"""Pools: agents that coordinators start, keep at their number, replace and stop. See docs/how-to/pools.md.

A package that adds a provider needs `provider` alone.
"""
