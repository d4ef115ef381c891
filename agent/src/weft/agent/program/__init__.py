"""The user's program: found, loaded, refused if it cannot run, and loaded again when it changes."""
