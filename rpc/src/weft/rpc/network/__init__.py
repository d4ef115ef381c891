"""Addresses and connections: targets, binding, and the module that makes all channels and servers."""
