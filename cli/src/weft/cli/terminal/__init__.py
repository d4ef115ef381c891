"""The terminal: output, tables, times and sizes, failures in plain words."""
