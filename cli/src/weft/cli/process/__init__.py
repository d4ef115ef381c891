"""Processes: child processes of the command, and the command as a process."""
