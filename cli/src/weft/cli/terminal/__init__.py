"""Terminals: tables, output, failures in plain words."""
