"""Schedules: tasks that the mesh submits by itself, at times."""
