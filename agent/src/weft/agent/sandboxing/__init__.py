"""Processes in sandboxes: what code may use and see, and the process that runs so."""
