"""Statistics by method of the last minutes."""
