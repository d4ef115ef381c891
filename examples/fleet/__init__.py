"""Members of a fleet that hear each other, and an admin who writes their settings."""
