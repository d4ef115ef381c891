"""Ports for operators, beside the public one. Each is off unless it is asked for."""
