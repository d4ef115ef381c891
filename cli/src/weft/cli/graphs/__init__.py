"""Graphs of the planner: read from files, run, followed and shown."""
