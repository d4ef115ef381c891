"""Callers: transparent calls, the task API's submissions and waits, bulk streams."""
