"""`weft events`: messages that are published to all who subscribe."""
