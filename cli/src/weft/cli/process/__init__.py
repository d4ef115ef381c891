"""Processes that the command starts or is."""
