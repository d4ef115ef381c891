"""Sticky sessions: calls with one key go to one agent."""
