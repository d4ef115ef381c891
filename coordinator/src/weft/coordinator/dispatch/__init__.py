"""Dispatch: which agent gets which task; and sweeps, the changes that are due by time."""
