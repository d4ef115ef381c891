"""Addresses and channels: targets, binding, and the one place where channels are dialled."""
