"""The command line: groups of commands, shared options and inputs, completion at Tab."""
